"""A backup: one folder with the rows, the artifacts they name, and the newest checkpoint of the log, as of one instant.

It is made beside working servers and is complete or not there at all; one that was killed leaves a hidden folder named
`.TARGET.unfinished-…`, which can go. No secret is in it: no token, no signing key, no password, no log file.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import delete

import mcp_forecast
from mcp_forecast.home.schema import REVISION, upgrade
from mcp_forecast.home.sealing import checkpoint_file, home_id_of
from mcp_forecast.home.signing_key import PUBLIC
from mcp_forecast.home.tables import HomeRow
from mcp_forecast.migrations.metadata import METADATA
from mcp_forecast.settings import Settings
from mcp_forecast.upkeep.collecting import open_existing
from mcp_forecast.upkeep.entry import enter
from mcp_forecast.upkeep.manifest import (
    ARTIFACTS,
    CHECKPOINTS,
    DATABASE,
    MANIFEST,
    Manifest,
    PlaceTaken,
    file_digest,
    list_digest,
)
from mcp_forecast_audit.stored import standing
from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.collection import digests_named, reachable
from mcp_forecast_engine.store.database import Database, open_database
from mcp_forecast_engine.store.durable import sync
from mcp_forecast_engine.store.identity import digest_of_bytes
from mcp_forecast_engine.store.snapshot import Copied, artifacts_named, copy_artifacts, copy_rows, one_view

_HOME: Final = HomeRow.__table__  # type: ignore[attr-defined]
COLLECTION_WAIT_S: Final = 60.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Facts:
    """What the copied rows say."""

    home_id: str
    entries: int
    needed: set[str]
    named: set[str]
    sealed: int  # entries under the newest checkpoint, which is `note`
    note: str | None


def take_backup(settings: Settings, target: Path, *, clock: Callable[[], float] | None = None) -> Manifest:
    """Back this home up into a new folder outside it. Raises PlaceTaken, StoreUnavailable, HomeNewer.

    The time is the database's, unless a test has another.
    Artifacts that were missing or changed are listed in the manifest as `damaged`; the rest is there.
    """
    target = target.absolute()
    if target.exists() or target.is_symlink():
        raise PlaceTaken(f"{target} exists; name a new folder")
    if settings.home.resolve() in target.resolve().parents:
        raise PlaceTaken(f"{target} is inside the home and would be lost with it; name a folder elsewhere")
    database = open_existing(settings)
    clock = clock or database.clock
    staging = target.with_name(f".{target.name}.unfinished-{secrets.token_hex(4)}")
    try:
        staging.mkdir(mode=0o700, parents=True)
        manifest = _fill(staging, settings.home, database, now=clock())
        os.rename(staging, target)
        sync(target.parent)
        _record(database, manifest, now=clock())
    except OSError as error:
        raise StoreUnavailable(
            f"the backup cannot be written: {error.strerror}", next_step="free space or name another folder"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        database.close()
    return manifest


def _fill(staging: Path, home: Path, database: Database, *, now: float) -> Manifest:
    artifacts, copy = ArtifactStore(home / ARTIFACTS), ArtifactStore(staging / ARTIFACTS)
    with artifacts.collecting(alone=False, within_s=COLLECTION_WAIT_S):
        rows, facts = _copy_database(database, staging / DATABASE)
        copy.make()
        copied = copy_artifacts(artifacts, copy, reachable(artifacts, facts.named), needed=facts.needed)
    checkpoint = _write_checkpoint(staging, facts)
    names = [DATABASE, *checkpoint]
    if (home / PUBLIC).exists():
        shutil.copyfile(home / PUBLIC, staging / PUBLIC)
        names.append(PUBLIC)
    manifest = _manifest(facts, rows, copied, {name: file_digest(staging / name) for name in names}, now)
    (staging / MANIFEST).write_bytes(manifest.body())
    for name in (*names, *([CHECKPOINTS] if checkpoint else []), MANIFEST, ARTIFACTS, "."):
        sync(staging / name)
    return manifest


def _manifest(facts: _Facts, rows: dict[str, int], copied: Copied, files: dict[str, str], now: float) -> Manifest:
    return Manifest(
        schema=REVISION, version=mcp_forecast.__version__, home_id=facts.home_id, made_at=round(now, 3),
        entries=facts.entries, sealed=facts.sealed, rows=rows, files=files, artifacts=len(copied.digests),
        artifact_bytes=copied.bytes, artifact_list=list_digest(copied.digests), damaged=list(copied.damaged),
    )  # fmt: skip


def _copy_database(database: Database, path: Path) -> tuple[dict[str, int], _Facts]:
    """All rows in a SQLite file of this schema, whatever the home's database is, and what they say."""
    upgrade(path)
    copy = open_database(path, schema=REVISION)
    try:
        with one_view(database) as view, copy.command() as connection:
            connection.execute(delete(_HOME))  # the migration has named this new database; it is the home's
            rows = copy_rows(view, connection, METADATA.sorted_tables)
        with copy.read() as connection:
            found = standing(connection)
            facts = _Facts(
                home_id=home_id_of(connection),
                entries=found.entries,
                sealed=found.sealed,
                note=found.note,
                needed=artifacts_named(connection),
                named=digests_named(connection, METADATA.sorted_tables),
            )
    finally:
        copy.close()
    make_one_file(path)
    return rows, facts


def make_one_file(path: Path) -> None:
    """Write the WAL back and leave it, so that the database is one file that can be read anywhere."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    finally:
        connection.close()
    path.with_name("wal.lock").unlink(missing_ok=True)


def _write_checkpoint(staging: Path, facts: _Facts) -> list[str]:
    """Write the newest checkpoint that the rows carry: the file beside the home may cover entries that came after."""
    if facts.note is None:
        return []
    file = checkpoint_file(staging / CHECKPOINTS, facts.home_id)
    file.parent.mkdir()
    file.write_text(facts.note, encoding="utf-8")
    return [f"{CHECKPOINTS}/{file.name}"]


def _record(database: Database, manifest: Manifest, *, now: float) -> None:
    refs = {"manifest": digest_of_bytes(manifest.body()), "entries": str(manifest.entries)}
    try:
        with database.command() as connection:
            enter(connection, "BACKED_UP", refs, now=now)
    except StoreUnavailable as error:
        log.warning("the backup is complete, but not on record in the log: %s", error.message)
