"""A restore verifies all of a backup first; the new home is there whole, or not at all."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from backup_toys import (
    ROWS,
    any_artifact,
    backed_up,
    command,
    elsewhere,
    finished,
    home_id,
    restored,
    sealed,
    without_places,
)
from bit_flips import flip
from conftest import ENDED, Desk
from postgres_server import PostgresServer

from mcp_forecast.home.processes import begin
from mcp_forecast.home.sealing import checkpoint_file, origin_of
from mcp_forecast.home.signing_key import signer_of
from mcp_forecast.settings import Settings
from mcp_forecast.upkeep.manifest import BackupInvalid, PlaceTaken, file_digest
from mcp_forecast_audit.checkpoint import keys_of, verified_note
from mcp_forecast_audit.seal import seal
from mcp_forecast_audit.stored import standing
from mcp_forecast_audit.verify import verify
from mcp_forecast_engine.runtime import lease
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.database import open_database

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
    assert all(one["state"] in ENDED for one in ended)
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
    assert open_desk(new).finish(run_id)["result"]["state"] in ENDED


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
