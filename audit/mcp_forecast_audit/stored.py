"""The tree and its checkpoints as the tables hold them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.exc import OperationalError

from mcp_forecast_audit.tables import CheckpointRow, EntryRow, NodeRow

_ENTRY = EntryRow.__table__  # type: ignore[attr-defined]
_NODE = NodeRow.__table__  # type: ignore[attr-defined]
_CHECKPOINT = CheckpointRow.__table__  # type: ignore[attr-defined]
_LEAVES = (
    select(_ENTRY.c.leaf_hash)
    .where(_ENTRY.c.seq > bindparam("first"), _ENTRY.c.seq <= bindparam("last"))
    .order_by(_ENTRY.c.seq)
)
_NODES = (
    select(_NODE.c.hash)
    .where(_NODE.c.level == bindparam("level"))
    .where(_NODE.c.position >= bindparam("first"), _NODE.c.position < bindparam("last"))
    .order_by(_NODE.c.position)
)
_NEWEST = select(_CHECKPOINT.c.size, _CHECKPOINT.c.at).order_by(_CHECKPOINT.c.size.desc()).limit(1)
_NOTE = select(_CHECKPOINT.c.note).where(_CHECKPOINT.c.size == bindparam("size"))
_OLDEST = select(_ENTRY.c.at).where(_ENTRY.c.seq == bindparam("seq"))
_COUNT = select(func.max(_ENTRY.c.seq))


class LogBroken(Exception):
    """The stored log contradicts itself or its checkpoints: says where, what was found and what was expected."""


class StoredTree:
    """The tree of one log, read a few rows at a time; what was read is kept, so use it for one answer only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._read: dict[tuple[int, int, int], list[bytes]] = {}

    def __call__(self, level: int, first: int, last: int) -> Sequence[bytes]:
        """The hashes at positions first … last - 1 of a level, 0 being the leaves. Raises LogBroken."""
        wanted = (level, first, last)
        if wanted not in self._read:
            values = {"first": first, "last": last} | ({"level": level} if level else {})
            found = [bytes(hash) for hash in self._connection.execute(_NODES if level else _LEAVES, values).scalars()]
            if len(found) != last - first:
                raise LogBroken(f"level {level} of the tree has {len(found)} of the hashes {first} to {last - 1}")
            self._read[wanted] = found
        return self._read[wanted]


@dataclass(frozen=True)
class Standing:
    """How far the log is sealed. oldest_at: when the first unsealed entry was made; note: the newest checkpoint."""

    entries: int
    sealed: int
    at: float | None
    oldest_at: float | None
    note: str | None

    @property
    def unsealed(self) -> int:
        """Entries after the newest checkpoint; less than nothing where sealed entries are gone."""
        return self.entries - self.sealed


def standing(connection: Connection) -> Standing:
    """How far the log is sealed now, from look-ups by key."""
    newest = connection.execute(_NEWEST).first()
    sealed, at, note = (0, None, None) if newest is None else (newest.size, newest.at, note_at(connection, newest.size))
    entries = int(connection.execute(_COUNT).scalar() or 0)
    oldest = connection.execute(_OLDEST, {"seq": sealed + 1}).scalar() if entries > sealed else None
    return Standing(entries, sealed, at, oldest, note)


def note_at(connection: Connection, size: int) -> str | None:
    """The stored checkpoint over the first `size` entries, if there is one; what is no text any more reads as such."""
    try:
        found = connection.execute(_NOTE, {"size": size}).scalar()
    except (OperationalError, sqlite3.OperationalError) as error:
        if "decode to UTF-8" not in str(error):
            raise
        return "no text: the stored checkpoint was changed"
    return None if found is None else str(found)
