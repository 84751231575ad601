"""Backups: made beside working servers, whole or not there, and restored they answer as the home did."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from backup_toys import (
    Load,
    backed_up,
    command,
    elsewhere,
    finished,
    has_forecast,
    home_id,
    restored,
    without_places,
)
from bit_flips import flip
from conftest import ENDED, Desk
from postgres_server import PostgresServer

from mcp_forecast.home.sealing import origin_of
from mcp_forecast.home.signing_key import signer_of
from mcp_forecast.settings import Settings
from mcp_forecast.upkeep.backup import take_backup
from mcp_forecast.upkeep.collecting import collect_home
from mcp_forecast.upkeep.manifest import PlaceTaken
from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.artifacts import ArtifactStore

SECRETS = {"token", "tokens.json", "audit.key", "logs", "home.id", "wal.lock"}


@pytest.fixture
def load(desk: Desk) -> Iterator[Load]:
    made = Load(desk)
    made.start()
    yield made
    made.over.set()
    made.join(timeout=60)


@pytest.mark.parametrize("database_address", ["sqlite", "postgresql"], indirect=True)
def test_a_backup_under_load_restored_elsewhere_answers_as_before(
    load: Load, desk: Desk, open_desk: Callable[[Settings], Desk], settings: Settings, tmp_path: Path
) -> None:
    while not has_forecast(load) or len(load.answered) < 8:
        assert load.is_alive()
        time.sleep(0.02)
    before = list(load.answered)
    manifest = backed_up(settings, tmp_path / "backup")
    load.over.set()
    load.join()
    assert len(load.answered) > len(before)  # nobody waited for it
    new = elsewhere(settings, tmp_path)
    assert restored(new, tmp_path / "backup") == manifest
    assert manifest.damaged == []
    other = open_desk(new)
    for tool, request, _ in before:
        old, again = desk.call(tool, request), other.call(tool, request)
        assert again["replayed"], (tool, again)
        assert again["replay_of"] == old["replay_of"]
        if tool != "register_dataset":
            ended = [d.finish(again["result"]["run_id"])["result"] for d in (desk, other)]
            assert ended[0]["state"] in ENDED
            assert ended[0]["result"]["artifacts"][0]["digest"] == ended[1]["result"]["artifacts"][0]["digest"]
        else:
            assert without_places(old["result"]) == without_places(again["result"])
    for file in ArtifactStore(new.home / "artifacts").files():
        assert file.digest is not None
        ArtifactStore(new.home / "artifacts").get(file.digest)
    codes = [entry["code"] for entry in other.log(last="OK")]
    assert codes.count("RESTORED") == 1


def test_finished_runs_read_the_same_and_work_goes_on(
    desk: Desk, open_desk: Callable[[Settings], Desk], settings: Settings, tmp_path: Path
) -> None:
    run_id = finished(desk)
    backed_up(settings, tmp_path / "backup")
    new = elsewhere(settings, tmp_path)
    restored(new, tmp_path / "backup")
    other = open_desk(new)
    for tool, request in (("get_run_status", {"run_id": run_id}), ("list_runs", {})):
        assert without_places(other.call(tool, request)["result"]) == without_places(desk.call(tool, request)["result"])
    assert other.call("run_inference", {"run_id": run_id})["ok"]
    assert home_id(new) == home_id(settings)


@pytest.mark.parametrize("database_address", ["sqlite", "postgresql"], indirect=True)
def test_a_home_moves_to_postgresql_and_only_into_an_empty_database(
    desk: Desk,
    open_desk: Callable[[Settings], Desk],
    settings: Settings,
    tmp_path: Path,
    postgres: PostgresServer,
) -> None:
    run_id = finished(desk)
    manifest = backed_up(settings, tmp_path / "backup")
    address = postgres.fresh()
    try:
        new = replace(elsewhere(settings, tmp_path), database=address)
        restored(new, tmp_path / "backup")
        other = open_desk(new)
        old, again = (d.call("get_run_status", {"run_id": run_id})["result"] for d in (desk, other))
        assert without_places(old) == without_places(again)
        assert other.call("run_inference", {"run_id": run_id})["ok"]
        assert manifest.home_id == home_id(new)
        with pytest.raises(PlaceTaken, match="not empty"):
            restored(replace(new, home=tmp_path / "third"), tmp_path / "backup")
        assert [path.name for path in (tmp_path / "third").iterdir()] == ["migrate.lock"]
        other.app.close()
    finally:
        postgres.drop(address)


def test_no_secret_and_no_log_is_in_a_backup(desk: Desk, settings: Settings, tmp_path: Path) -> None:
    finished(desk)
    for name in ("token", "tokens.json"):
        (settings.home / name).write_text("a secret")
    signer_of(settings.home, origin_of(home_id(settings)))
    backed_up(settings, tmp_path / "backup")
    names = {path.name for path in (tmp_path / "backup").rglob("*")}
    assert not names & SECRETS
    assert not any(
        re.search(b"a secret|PRIVATE KEY", path.read_bytes())
        for path in (tmp_path / "backup").rglob("*")
        if path.is_file()
    )


def test_what_nothing_refers_to_is_not_copied(desk: Desk, settings: Settings, tmp_path: Path) -> None:
    finished(desk)
    stray = desk.app.engine.artifacts.put(b"nobody names this")
    backed_up(settings, tmp_path / "backup")
    copied = {file.digest for file in ArtifactStore(tmp_path / "backup" / "artifacts").files()}
    assert copied
    assert stray not in copied


def test_an_existing_target_and_a_used_home_are_refused_and_stay_as_they_are(
    desk: Desk, settings: Settings, tmp_path: Path
) -> None:
    backed_up(settings, tmp_path / "backup")
    with pytest.raises(PlaceTaken, match="exists"):
        backed_up(settings, tmp_path / "backup")
    with pytest.raises((PlaceTaken, StoreUnavailable), match="not empty"):
        restored(settings, tmp_path / "backup")
    assert desk.call("list_runs")["ok"]
    assert not list(tmp_path.glob(".backup.unfinished*"))


def test_a_damaged_artifact_of_the_home_is_named_and_the_rest_is_saved(
    desk: Desk, open_desk: Callable[[Settings], Desk], settings: Settings, tmp_path: Path
) -> None:
    run_id, other_run = finished(desk), finished(desk, horizon=6)
    with desk.app.database.read() as connection:
        result = desk.app.engine.run(connection, run_id).result
    assert result is not None
    flip(desk.app.engine.artifacts.path(result))
    manifest = backed_up(settings, tmp_path / "backup")
    assert manifest.damaged == [result]
    new = elsewhere(settings, tmp_path)
    restored(new, tmp_path / "backup")
    other = open_desk(new)
    assert other.call("get_run_status", {"run_id": run_id})["error"]["code"] == "ARTIFACT_CORRUPT"
    assert other.call("get_run_status", {"run_id": other_run})["ok"]


def test_a_backup_inside_the_home_is_refused(desk: Desk, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(settings.home)
    for target in (settings.home / "backup", settings.home / "backups" / "of today", tmp_path / "link" / "backup"):
        with pytest.raises(PlaceTaken, match="inside the home"):
            backed_up(settings, target)
        assert not target.parent.joinpath("backup").exists()


def test_what_is_done_to_a_home_is_entered_at_its_databases_time(
    open_desk: Callable[[Settings], Desk],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = open_desk(settings)
    monkeypatch.setattr(type(desk.app.database), "clock", lambda database: 5e9)
    made = take_backup(settings, tmp_path / "backup")
    collect_home(settings, older_than_s=86_400.0, dry_run=False, clock=time.time)
    entries = {entry["code"]: entry["at"] for entry in desk.log(last="GC")}
    assert (made.made_at, entries["BACKED_UP"], entries["GC"]) == (5e9, 5e9, 5e9)


def test_the_commands_say_what_they_did_and_refuse_what_they_must(
    desk: Desk, settings: Settings, tmp_path: Path
) -> None:
    finished(desk)
    code, text = command(settings, "backup", str(tmp_path / "backup"))
    assert (code, "1 datasets, 1 runs" in text) == (0, True), text
    code, text = command(settings, "backup", str(tmp_path / "backup"))
    assert (code, "exists" in text) == (2, True), text
    code, text = command(elsewhere(settings, tmp_path), "restore", str(tmp_path / "backup"))
    assert (code, "verified" in text, "add the new line of" in text) == (0, True, True), text
    for name in ("gc", "backup"):
        code, text = command(replace(settings, home=tmp_path / "nowhere"), name, *[str(tmp_path / "b")][: name != "gc"])
        assert (code, "no home" in text) == (2, True), text
        assert not (tmp_path / "nowhere").exists()
    code, text = command(settings, "gc", "--older-than", "1")
    assert (code, "at least 24" in text) == (2, True), text
    code, text = command(settings, "gc")
    assert (code, "removed 0 files" in text) == (0, True), text
    log = desk.log(last="GC")
    assert [entry["code"] for entry in log if entry["caller"] == "system:operator"] == ["BACKED_UP", "GC"]
    assert log[-1]["refs"] == {"removed": "0", "bytes": "0"}
    json.dumps(log)
