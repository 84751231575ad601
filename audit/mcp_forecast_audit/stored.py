"""The tree and its checkpoints as the tables hold them."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Label, bindparam, func, select, type_coerce
from sqlalchemy.exc import OperationalError
from sqlalchemy.types import NullType

from mcp_forecast_audit.tables import CheckpointRow, EntryRow, NodeRow

_ENTRY = EntryRow.__table__  # type: ignore[attr-defined]
_NODE = NodeRow.__table__  # type: ignore[attr-defined]
_CHECKPOINT = CheckpointRow.__table__  # type: ignore[attr-defined]


def raw(column: Any) -> Label[Any]:
    """A column as the driver has it: SQLAlchemy would make bytes of whatever was put there, of a number that many."""
    return type_coerce(column, NullType()).label(column.name)


_LEAVES = (
    select(raw(_ENTRY.c.leaf_hash))
    .where(_ENTRY.c.seq > bindparam("first"), _ENTRY.c.seq <= bindparam("last"))
    .order_by(_ENTRY.c.seq)
)
_NODES = (
    select(raw(_NODE.c.hash))
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
            rows = self._connection.execute(_NODES if level else _LEAVES, values).scalars()
            found = [stored_bytes(hash, f"a hash of level {level}") for hash in rows]
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
    """How far the log is sealed now, from look-ups by key. Raises LogBroken."""
    newest = connection.execute(_NEWEST).first()
    sealed, at, note = (0, None, None) if newest is None else (newest.size, newest.at, note_at(connection, newest.size))
    entries = int(connection.execute(_COUNT).scalar() or 0)
    oldest = connection.execute(_OLDEST, {"seq": sealed + 1}).scalar() if entries > sealed else None
    return Standing(
        entries, sealed, stored_time(at, f"checkpoint {sealed}"), stored_time(oldest, f"entry {sealed + 1}"), note
    )


def note_at(connection: Connection, size: int) -> str | None:
    """The stored checkpoint over the first `size` entries, if there is one; what is no text any more reads as such."""
    try:
        found = connection.execute(_NOTE, {"size": size}).scalar()
    except (OperationalError, sqlite3.OperationalError) as error:
        if "decode to UTF-8" not in str(error):
            raise
        return "no text: the stored checkpoint was changed"
    return None if found is None else str(found)


def stored_bytes(value: object, where: str) -> bytes:
    """What a column of bytes holds, if it does: SQLite keeps what it is given. Raises LogBroken."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, memoryview):
        return value.tobytes()
    raise LogBroken(f"{where} is of type {type(value).__name__}, not bytes")


def stored_time(value: object, where: str) -> float | None:
    """What a column of seconds since 1970 holds; None where there is no row. Raises LogBroken."""
    if value is None or (isinstance(value, int | float) and math.isfinite(value)):
        return value
    raise LogBroken(f"the time of {where} is {value!a:.100}, no finite number")
