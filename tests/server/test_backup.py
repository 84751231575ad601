"""Backup and restore: made beside working servers, whole or not there, and the new home answers as the old one did."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer, Desk
from postgres_server import PostgresServer

from mcp_forecast.backup import take_backup
from mcp_forecast.manifest import BackupInvalid, Manifest, PlaceTaken, file_digest
from mcp_forecast.processes import begin
from mcp_forecast.restore import restore_home
from mcp_forecast.sealing import checkpoint_file, origin_of
from mcp_forecast.settings import Settings, child_environment
from mcp_forecast.signing_key import signer_of
from mcp_forecast.upkeep import collect_home
from mcp_forecast_audit.checkpoint import keys_of, verified_note
from mcp_forecast_audit.seal import seal
from mcp_forecast_audit.stored import standing
from mcp_forecast_audit.verify import verify
from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.runtime import lease
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.database import open_database

ROWS = [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d + 3 * m)} for m in range(1, 13) for d in range(1, 29)]
SECRETS = {"token", "tokens.json", "audit.key", "logs", "home.id", "wal.lock"}


class Load(threading.Thread):
    """A caller that registers, trains and forecasts without end, each call under a key of its own."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(daemon=True)
        self.desk, self.over = desk, threading.Event()
        self.answered: list[tuple[str, dict[str, Any], Answer]] = []

    def run(self) -> None:
        number = 0
        while not self.over.is_set():
            rows = [{**row, "y": row["y"] + number % 7} for row in ROWS]
            dataset = self.ask("register_dataset", {"rows": rows, "freq": "D"}, number)["dataset_id"]
            run = self.ask("run_training", {"dataset_id": dataset, "horizon": 3 + number % 5}, number)
            if number % 3 == 0 and self.desk.finish(run["run_id"])["result"]["state"] == "SUCCEEDED":
                self.ask("run_inference", {"run_id": run["run_id"]}, number)
            number += 1

    def ask(self, tool: str, request: dict[str, Any], number: int) -> dict[str, Any]:
        request = {**request, "idempotency_key": f"k{number}"}
        answer = self.desk.call(tool, request)
        assert answer["ok"], answer
        self.answered.append((tool, request, answer))
        result: dict[str, Any] = answer["result"]
        return result


@pytest.fixture
def load(desk: Desk) -> Iterator[Load]:
    made = Load(desk)
    made.start()
    yield made
    made.over.set()
    made.join(timeout=60)


def has_forecast(load: Load) -> bool:
    return any(tool == "run_inference" for tool, _, _ in load.answered)


def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    return replace(settings, home=tmp_path / "new" / "home", database="")


def without_places(value: Any) -> Any:
    """An answer without where its artifacts lie: that is the home's."""
    if isinstance(value, dict):
        return {name: without_places(inner) for name, inner in value.items() if name not in ("uri", "links")}
    return [without_places(inner) for inner in value] if isinstance(value, list) else value


def backed_up(settings: Settings, target: Path) -> Manifest:
    return take_backup(settings, target)


def restored(settings: Settings, source: Path) -> Manifest:
    return restore_home(settings, source)


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
            assert ended[0]["state"] == "SUCCEEDED"
            assert ended[0]["result"]["artifacts"][0]["digest"] == ended[1]["result"]["artifacts"][0]["digest"]
        else:
            assert without_places(old["result"]) == without_places(again["result"])
    for file in ArtifactStore(new.home / "artifacts").files():
        assert file.digest is not None
        ArtifactStore(new.home / "artifacts").get(file.digest)
    codes = [entry["code"] for entry in other.log(last="OK")]
    assert codes.count("RESTORED") == 1


def finished(desk: Desk, horizon: int = 5) -> str:
    dataset = desk.call("register_dataset", {"rows": ROWS, "freq": "D"})["result"]["dataset_id"]
    run_id: str = desk.call("run_training", {"dataset_id": dataset, "horizon": horizon})["result"]["run_id"]
    assert desk.finish(run_id)["result"]["state"] == "SUCCEEDED"
    return run_id


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


def home_id(settings: Settings) -> str:
    return (settings.home / "home.id").read_text().strip()


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


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def any_artifact(folder: Path) -> Path:
    return next(file.path for file in ArtifactStore(folder / "artifacts").files())


SPOILS: dict[str, Callable[[Path], object]] = {
    "a bit of an artifact": lambda folder: flip(any_artifact(folder)),
    "an artifact gone": lambda folder: any_artifact(folder).unlink(),
    "a stray artifact": lambda folder: ArtifactStore(folder / "artifacts").put(b"stray"),
    "a bit of the database": lambda folder: flip(folder / "forecast.db"),
    "the database gone": lambda folder: (folder / "forecast.db").unlink(),
    "the manifest gone": lambda folder: (folder / "manifest.json").unlink(),
    "a number in the manifest": lambda folder: (folder / "manifest.json").write_text(
        (folder / "manifest.json").read_text().replace('"entries":', '"entries":9')
    ),
    "half a manifest": lambda folder: (folder / "manifest.json").write_text('{"format": 1'),
    "a format of later": lambda folder: (folder / "manifest.json").write_text('{"format": 99}'),
}


def test_a_changed_backup_is_refused_and_leaves_nothing(desk: Desk, settings: Settings, tmp_path: Path) -> None:
    finished(desk)
    whole = tmp_path / "backup"
    backed_up(settings, whole)
    for what, spoil in SPOILS.items():
        changed = tmp_path / what
        shutil.copytree(whole, changed)
        spoil(changed)
        new = replace(settings, home=tmp_path / f"home of {what}")
        with pytest.raises(BackupInvalid):
            restored(new, changed)
        left = {path.name for path in new.home.glob("*")} if new.home.exists() else set()
        assert left <= {"migrate.lock"}, what
    restored(replace(settings, home=tmp_path / "home of what is missing"), whole)


def test_the_newest_checkpoint_comes_along_and_a_shortened_log_is_refused(
    desk: Desk, settings: Settings, tmp_path: Path
) -> None:
    finished(desk)
    signer = signer_of(settings.home, origin_of(home_id(settings)))
    with desk.app.database.command() as connection:
        seal(connection, standing(connection), signer, now=time.time())
    backup = tmp_path / "backup"
    assert backed_up(settings, backup).sealed > 2
    note = (backup / "checkpoints" / f"{home_id(settings)}.checkpoint").read_text()
    assert verified_note(note, keys_of((backup / "audit.pub").read_text().splitlines()))[0].size > 2
    new = elsewhere(settings, tmp_path)
    restored(new, backup)
    assert (new.home / "audit.pub").read_text() == (settings.home / "audit.pub").read_text()
    assert not (new.home / "audit.key").exists()
    rows = sqlite3.connect(backup / "forecast.db")
    rows.executescript("DROP TRIGGER audit_entry_no_delete; DELETE FROM audit_entry WHERE seq > 2")
    rows.close()
    manifest = json.loads((backup / "manifest.json").read_text())
    manifest["entries"], manifest["files"]["forecast.db"] = 2, file_digest(backup / "forecast.db")
    (backup / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BackupInvalid, match="does not verify"):
        restored(replace(settings, home=tmp_path / "shortened"), backup)


@pytest.mark.parametrize("name", ["../outside", "checkpoints/../../outside", "/etc/passwd", "token"])
def test_a_manifest_naming_other_files_is_refused(desk: Desk, settings: Settings, tmp_path: Path, name: str) -> None:
    backed_up(settings, tmp_path / "backup")
    (tmp_path / "outside").write_text("outside")
    path = tmp_path / "backup" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = manifest["files"]["forecast.db"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(BackupInvalid, match="no backup has"):
        restored(elsewhere(settings, tmp_path), tmp_path / "backup")


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


def test_a_run_at_work_starts_again_in_the_new_home_and_the_old_worker_is_left_alone(
    open_desk: Callable[[Settings], Desk], settings: Settings, tmp_path: Path
) -> None:
    desk = open_desk(replace(settings, crash_at=""))
    dataset = desk.call("register_dataset", {"rows": ROWS, "freq": "D"})["result"]["dataset_id"]
    run_id = desk.call("run_training", {"dataset_id": dataset, "horizon": 4})["result"]["run_id"]
    while desk.call("get_run_status", {"run_id": run_id})["result"]["state"] != "RUNNING":
        time.sleep(0.005)
    backed_up(settings, tmp_path / "backup")
    new = elsewhere(settings, tmp_path)
    restored(new, tmp_path / "backup")
    other = open_desk(new)
    ended = [d.finish(run_id)["result"] for d in (desk, other)]
    assert [one["state"] for one in ended] == ["SUCCEEDED", "SUCCEEDED"]
    assert without_places(ended[0]["result"]) == without_places(ended[1]["result"])
    with desk.app.database.read() as connection:
        assert desk.app.engine.run(connection, run_id).losses == 0


def test_a_run_that_had_lost_a_worker_before_the_backup_starts_again(
    open_desk: Callable[[Settings], Desk], settings: Settings, tmp_path: Path
) -> None:
    desk = open_desk(replace(settings, workers=0))
    dataset = desk.call("register_dataset", {"rows": ROWS, "freq": "D"})["result"]["dataset_id"]
    run_id = desk.call("run_training", {"dataset_id": dataset, "horizon": 4})["result"]["run_id"]
    for now in (0.0, 100.0):  # the second finds the lease of the first over
        with desk.app.database.command() as connection:
            run = lease.claim(connection, owner="worker", lease_s=10.0, max_running=1, now=now)
    assert run is not None
    assert run.losses == 1
    backed_up(settings, tmp_path / "backup")
    new = elsewhere(settings, tmp_path)
    restored(new, tmp_path / "backup")
    assert open_desk(new).finish(run_id)["result"]["state"] == "SUCCEEDED"


@pytest.mark.parametrize("database_address", ["sqlite", "postgresql"], indirect=True)
def test_processes_of_the_old_home_have_ended_in_the_new_one(
    desk: Desk, open_desk: Callable[[Settings], Desk], settings: Settings, tmp_path: Path
) -> None:
    with desk.app.database.command() as connection:
        begin(connection, "srv_far", pid=1, pid_started=1.0, host="a host that never comes back", now=1.0)
    backed_up(settings, tmp_path / "backup")
    new = elsewhere(settings, tmp_path)
    restored(new, tmp_path / "backup")
    log = open_desk(new).log(last="STARTED")
    assert [entry["code"] for entry in log[-4:]] == ["UNCLEAN_END", "UNCLEAN_END", "RESTORED", "STARTED"]
    assert {entry["request_id"] for entry in log[-4:-2]} == {"srv_far", desk.app.process_id}


@pytest.mark.parametrize("target", ["postgresql", "sqlite"])
@pytest.mark.parametrize("point", ["restore:moved", "restore:published"])
def test_a_restore_that_is_killed_is_cleared_up_by_the_next_one(
    desk: Desk,
    open_desk: Callable[[Settings], Desk],
    settings: Settings,
    tmp_path: Path,
    postgres: PostgresServer,
    target: str,
    point: str,
) -> None:
    run_id = finished(desk)
    signer_of(settings.home, origin_of(home_id(settings)))
    backed_up(settings, tmp_path / "backup")
    address = postgres.fresh() if target == "postgresql" else ""
    new = replace(elsewhere(settings, tmp_path), database=address)
    try:
        code, text = command(replace(new, crash_at=point), "restore", str(tmp_path / "backup"))
        assert code == -9, text
        assert (new.home / ".restoring").exists()
        assert (new.home / "artifacts").exists()
        if point == "restore:moved":
            restored(new, tmp_path / "backup")
        else:
            with pytest.raises(PlaceTaken, match="restored already"):
                restored(new, tmp_path / "backup")
        assert not list(new.home.glob(".rest*"))
        other = open_desk(new)
        assert other.call("run_inference", {"run_id": run_id})["ok"]
        assert [entry["code"] for entry in other.log(last="OK")].count("RESTORED") == 1
        assert (new.home / "audit.pub").exists()
        other.app.close()
    finally:
        if address:
            postgres.drop(address)


def sealed(desk: Desk, settings: Settings) -> str:
    """Seal the log and write the checkpoint outside, as a server does; returns the checkpoint."""
    signer = signer_of(settings.home, origin_of(home_id(settings)))
    with desk.app.database.command() as connection:
        note: str = seal(connection, standing(connection), signer, now=time.time())
    return note


def test_a_newer_checkpoint_outside_has_to_be_moved_before_a_restore(
    desk: Desk, open_desk: Callable[[Settings], Desk], settings: Settings, tmp_path: Path
) -> None:
    finished(desk)
    note = sealed(desk, settings)
    backed_up(settings, tmp_path / "backup")
    new = replace(elsewhere(settings, tmp_path), checkpoints=str(tmp_path / "outside"))
    file = checkpoint_file(new.checkpoint_folder, home_id(settings))
    file.parent.mkdir()
    file.write_text(sealed(desk, settings))  # one entry more: the backup's
    for kept in (file.read_text(), "no checkpoint"):
        file.write_text(kept)
        code, text = command(new, "restore", str(tmp_path / "backup"))
        assert (code, str(file) in text, "Move this file" in text) == (2, True, True), text
        assert not new.home.exists()
    file.write_text(note)  # the backup's own is no hindrance
    restored(new, tmp_path / "backup")
    other = open_desk(new)
    with other.app.database.read() as connection:
        assert other.app.sealer.status(connection)["state"] == "sealing"
    other.app.close()
    assert file.read_text() != note  # and its sealing has gone on
    reopened = open_database(new.home / "forecast.db")
    log = verify(reopened.read, origin=origin_of(home_id(settings)), outside=file.read_text())
    assert log.intact
    reopened.close()


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


def command(settings: Settings, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "mcp_forecast.cli", *arguments],
        env=child_environment(settings), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


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
