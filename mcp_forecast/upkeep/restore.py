"""Restoring a backup into a new home: everything is verified first, and it is there whole or not at all."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Table, bindparam, delete, inspect, select, update

from mcp_forecast.home.processes import end_all
from mcp_forecast.home.schema import REVISION, migrate, revision_of, upgrade
from mcp_forecast.home.sealing import checkpoint_file, home_id_of, origin_of
from mcp_forecast.home.tables import HomeRow
from mcp_forecast.migrations.metadata import METADATA
from mcp_forecast.settings import Settings
from mcp_forecast.upkeep.backup import make_one_file
from mcp_forecast.upkeep.entry import enter
from mcp_forecast.upkeep.manifest import (
    ARTIFACTS,
    CHECKPOINTS,
    DATABASE,
    BackupInvalid,
    Manifest,
    PlaceTaken,
    list_digest,
    read_manifest,
)
from mcp_forecast.upkeep.staging import empty_home, moved_in
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.checkpoint import NoteInvalid, read_note
from mcp_forecast_audit.tables import EntryRow, RefRow
from mcp_forecast_audit.verify import verify
from mcp_forecast_engine.errors import ArtifactCorrupt, StoreUnavailable
from mcp_forecast_engine.ports import Milestone
from mcp_forecast_engine.runtime.run import HELD
from mcp_forecast_engine.store.address import Address, is_postgres
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.database import Database, open_database
from mcp_forecast_engine.store.durable import sync
from mcp_forecast_engine.store.identity import digest_of_bytes
from mcp_forecast_engine.store.snapshot import artifacts_named, copy_rows, one_view
from mcp_forecast_engine.store.tables import RunRow

_RUN: Final = RunRow.__table__  # type: ignore[attr-defined]
_HOME: Final = HomeRow.__table__  # type: ignore[attr-defined]
# Its worker is not ours to end, and belongs to the home the backup was made of: the run is free, and its time begins
# anew. The claim that takes it counts one worker as lost, which with a loss from before would be one too many.
_LET_GO: Final = (
    update(_RUN)
    .where(_RUN.c.state.in_(HELD))
    .values(losses=0, lease_owner=None, lease_until=0.0, worker_pid=None, worker_started=None, started_at=None)
)
_ENTRY: Final = EntryRow.__table__  # type: ignore[attr-defined]
_REF: Final = RefRow.__table__  # type: ignore[attr-defined]
_RESTORED: Final = (
    select(_ENTRY.c.seq)
    .join(_REF, _REF.c.seq == _ENTRY.c.seq)
    .where(_REF.c.ref == bindparam("digest"), _REF.c.name == "manifest", _ENTRY.c.code == "RESTORED")
    .limit(1)
)


def restore_home(
    settings: Settings,
    source: Path,
    *,
    clock: Callable[[], float] | None = None,
    milestone: Milestone = lambda name: None,
) -> Manifest:
    """Make the home that the settings name out of a backup; one that was cut off is begun anew.

    The time is the database's, unless a test has another. Raises BackupInvalid, PlaceTaken, StoreUnavailable.
    """
    manifest = read_manifest(source)
    try:
        _require_sealable(source, settings, manifest)
        with empty_home(settings.home, manifest, is_restored=partial(_is_restored, settings)) as staging:
            _copy_artifacts(source, staging, manifest)
            _copy_database(source, staging, manifest)
            _settle(staging, manifest, now=clock() if clock else _time_at(settings.address))
            with moved_in(staging, settings.home):
                milestone("restore:moved")
                _publish(staging / DATABASE, settings)
            milestone("restore:published")
            sync(settings.home)
    except OSError as error:
        raise StoreUnavailable(
            f"the home cannot be restored: {error.strerror}", next_step="free space or fix the rights, then retry"
        ) from error
    return manifest


def _require_sealable(source: Path, settings: Settings, manifest: Manifest) -> None:
    """Refuse before the work where the checkpoint outside says more than the backup: its home could seal no more.

    Raises PlaceTaken, OSError.
    """
    file = checkpoint_file(settings.checkpoint_folder, manifest.home_id)
    own = checkpoint_file(source / CHECKPOINTS, manifest.home_id)
    try:
        kept = file.read_bytes()
        size = read_note(kept.decode()).size
    except FileNotFoundError:
        return
    except (NoteInvalid, UnicodeDecodeError):
        found = "is no checkpoint"
    else:
        if size < manifest.sealed or (size == manifest.sealed and kept == own.read_bytes()):
            return
        found = f"seals {size} entries of this home's log, and the backup's log is sealed over {manifest.sealed}"
    raise PlaceTaken(
        f"{file} {found}: the log of the restored home would be sealed no more. Move this file elsewhere and keep it "
        "(it shows what was entered after the backup), then restore again"
    )


def _is_restored(settings: Settings, digest: str) -> bool:
    """Whether the database of the settings was restored from the backup whose manifest has this digest."""
    if not is_postgres(settings.address) and not Path(settings.address).exists():
        return False
    with closing(open_database(settings.address)) as database, database.read() as connection:
        if not inspect(connection).has_table(_REF.name):
            return False
        return connection.execute(_RESTORED, {"digest": digest}).first() is not None


def _copy_artifacts(source: Path, staging: Path, manifest: Manifest) -> None:
    kept, new = ArtifactStore(source / ARTIFACTS), ArtifactStore(staging / ARTIFACTS)
    digests = tuple(file.digest for file in kept.files() if file.digest is not None)
    if list_digest(digests) != manifest.artifact_list:
        raise BackupInvalid(f"the backup has {len(digests)} artifacts, not the {manifest.artifacts} of its manifest")
    new.make()
    for digest in digests:
        try:
            new.put(kept.get(digest))
        except ArtifactCorrupt as error:
            raise BackupInvalid(error.message) from error


def _copy_database(source: Path, staging: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        (staging / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, staging / name)
    path = staging / DATABASE
    connection = sqlite3.connect(path)
    try:
        faults = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    finally:
        connection.close()
    if faults != ["ok"]:
        raise BackupInvalid(f"the database of the backup is damaged: {'; '.join(faults)}")
    if revision_of(path) != REVISION:
        upgrade(path)


def _settle(staging: Path, manifest: Manifest, *, now: float) -> None:
    """Verify the rows against the rest, let go of what other processes held, and enter the restore."""
    database = open_database(staging / DATABASE, schema=REVISION)
    try:
        _require_log(database, staging, manifest)
        with database.command() as connection:
            _require_whole(connection, ArtifactStore(staging / ARTIFACTS), manifest)
            connection.execute(_LET_GO)
            end_all(connection, now=now)
            refs = {"manifest": digest_of_bytes(manifest.body()), "entries": str(manifest.entries)}
            enter(connection, "RESTORED", refs, now=now)
    finally:
        database.close()
    make_one_file(staging / DATABASE)
    sync(staging / DATABASE)


def _time_at(address: Address) -> float:
    """The time as everyone reads it who will share the restored database."""
    if not is_postgres(address):
        return time.time()
    with closing(open_database(address)) as target:
        return target.clock()


def _require_whole(connection: Connection, artifacts: ArtifactStore, manifest: Manifest) -> None:
    lost = [digest for digest in artifacts_named(connection) if not artifacts.path(digest).exists()]
    if unforeseen := sorted(set(lost) - set(manifest.damaged)):
        raise BackupInvalid(f"rows name artifacts that the backup does not have: {', '.join(unforeseen[:3])}")
    home_id, entries = home_id_of(connection), audit_log.count(connection)
    if (home_id, entries) != (manifest.home_id, manifest.entries):
        raise BackupInvalid(f"the rows are of {home_id} with {entries} entries, the manifest says otherwise")


def _require_log(database: Database, staging: Path, manifest: Manifest) -> None:
    """The whole log over its stored bytes, against the checkpoints that were signed in the old home."""
    file = checkpoint_file(staging / CHECKPOINTS, manifest.home_id)
    kept = file.read_text(encoding="utf-8") if file.exists() else None
    report = verify(database.read, origin=origin_of(manifest.home_id), outside=kept)
    if not report.intact:
        raise BackupInvalid(f"the log does not verify ({report.problem_count} problems): {report.problems[0]}")
    if report.sealed != manifest.sealed:
        raise BackupInvalid(f"the log is sealed over {report.sealed} entries, the manifest says {manifest.sealed}")


def _publish(rows: Path, settings: Settings) -> None:
    """The last step, which makes it a home: the file in its place, or the rows in PostgreSQL."""
    if not is_postgres(settings.address):
        os.rename(rows, Path(settings.address))
        return
    migrate(settings.home, settings.address, owner=settings.database_owner)
    target = open_database(settings.address, schema=REVISION)
    try:
        _fill(target, rows)
    finally:
        target.close()


def _fill(target: Database, rows: Path) -> None:
    """Copy all rows into an empty database, in one transaction."""
    source = open_database(rows, schema=REVISION)
    try:
        with one_view(source) as view, target.command() as connection:
            used = [table.name for table in METADATA.sorted_tables if _is_used(connection, table)]
            if used:
                raise PlaceTaken(f"the database is not empty: it has rows in {', '.join(used)}; name an empty one")
            connection.execute(delete(_HOME))  # the migration has named this new database; it is the backup's
            copy_rows(view, connection, METADATA.sorted_tables)
    finally:
        source.close()


def _is_used(connection: Connection, table: Table) -> bool:
    return table.name != _HOME.name and connection.execute(select(table).limit(1)).first() is not None
