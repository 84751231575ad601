"""Append entries inside the transaction of the call they record, and read them back."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, func, insert, select

from mcp_forecast_audit.entry import Entry
from mcp_forecast_audit.tables import EntryRow, RefRow
from mcp_forecast_audit.tree import leaf_hash

_TABLE = EntryRow.__table__  # type: ignore[attr-defined]
_INSERT = insert(_TABLE)
_INSERT_REFS = insert(RefRow.__table__)  # type: ignore[attr-defined]
_COUNT = select(func.max(_TABLE.c.seq))
_PRESENT = select(_TABLE.c.request_id).where(_TABLE.c.request_id.in_(bindparam("requests", expanding=True)))


def append(connection: Connection, entries: Sequence[Entry]) -> None:
    """Add entries in order; the caller's transaction commits them with everything else, or not at all.

    Commands are one at a time in a home, so that the next number can be read here and no gap is left.
    """
    numbered = list(enumerate(entries, count(connection) + 1))
    connection.execute(_INSERT, [_row(seq, entry) for seq, entry in numbered])
    refs = [{"seq": seq, "name": name, "ref": ref} for seq, entry in numbered for name, ref in entry.refs.items()]
    if refs:
        connection.execute(_INSERT_REFS, refs)


def append_missing(connection: Connection, entries: Sequence[Entry]) -> None:
    """Add those entries whose request has none yet: a commit whose end nobody heard may have stored some already.

    Such a request keeps the entry of the commit that stands.
    """
    present = set(connection.execute(_PRESENT, {"requests": [entry.request_id for entry in entries]}).scalars())
    missing = [entry for entry in entries if entry.request_id not in present]
    if missing:
        append(connection, missing)


def count(connection: Connection) -> int:
    """How many entries are stored (the highest sequence number)."""
    return int(connection.execute(_COUNT).scalar() or 0)


def _row(seq: int, entry: Entry) -> dict[str, object]:
    body = entry.body()
    return {
        "seq": seq,
        "request_id": entry.request_id,
        "at": round(entry.at, 6),
        "tool": entry.tool,
        "caller": entry.caller,
        "code": entry.code,
        "body": body,
        "leaf_hash": leaf_hash(body),
    }
