"""Read the log in pages, newest first, by what entries say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, func, literal_column, select

from mcp_forecast_audit.stored import LogBroken, raw, stored_bytes
from mcp_forecast_audit.tables import EntryRow, RefRow

_TABLE = EntryRow.__table__  # type: ignore[attr-defined]
_REF = RefRow.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Filter:
    """Which entries; what is None is not asked for. ref: an id or digest; since, until: seconds since 1970, both in."""

    caller: str | None = None
    tool: str | None = None
    code: str | None = None
    ref: str | None = None
    request_id: str | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True)
class StoredEntry:
    """One entry as it is stored; the bytes of `body` are what was hashed. None: changed into what is no bytes."""

    seq: int
    body: bytes | None
    leaf_hash: bytes | None


def entries_page(connection: Connection, wanted: Filter, *, before: int | None, limit: int) -> Sequence[StoredEntry]:
    """At most `limit` entries below the sequence number `before`, newest first."""
    query = _filtered(select(_TABLE.c.seq, raw(_TABLE.c.body), raw(_TABLE.c.leaf_hash)), wanted)
    query = query.order_by(_TABLE.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(_TABLE.c.seq < before)
    return [_entry(row) for row in connection.execute(query)]


def first_entry(connection: Connection, wanted: Filter) -> StoredEntry | None:
    """The oldest entry of these, or None."""
    query = _filtered(select(_TABLE.c.seq, raw(_TABLE.c.body), raw(_TABLE.c.leaf_hash)), wanted)
    row = connection.execute(query.order_by(_TABLE.c.seq).limit(1)).first()
    return None if row is None else _entry(row)


def entries_count(connection: Connection, wanted: Filter) -> int:
    """How many entries there are of these."""
    return int(connection.execute(_filtered(select(func.count()).select_from(_TABLE), wanted)).scalar_one())


def _filtered(query: Select[Any], wanted: Filter) -> Select[Any]:
    for name in ("caller", "tool", "code", "request_id"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(_TABLE.c[name] == value)
    if wanted.code not in (None, "OK"):
        query = query.where(_TABLE.c.code != literal_column("'OK'"))  # as the index of those has it
    if wanted.ref is not None:
        query = query.where(exists().where(_REF.c.ref == wanted.ref, _REF.c.seq == _TABLE.c.seq))
    if wanted.since is not None:
        query = query.where(_TABLE.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(_TABLE.c.at <= wanted.until)
    return query


def _entry(row: Row[Any]) -> StoredEntry:
    return StoredEntry(row.seq, _bytes(row.body), _bytes(row.leaf_hash))


def _bytes(value: object) -> bytes | None:
    try:
        return stored_bytes(value, "a column")
    except LogBroken:
        return None
