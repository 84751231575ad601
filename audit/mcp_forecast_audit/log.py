"""Append entries inside the transaction of the call they record, and read them back."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select

from mcp_forecast_audit.entry import Entry
from mcp_forecast_audit.tables import EntryRow, RefRow
from mcp_forecast_audit.tree import leaf_hash

_TABLE = EntryRow.__table__  # type: ignore[attr-defined]
_INSERT = insert(_TABLE)
_INSERT_REFS = insert(RefRow.__table__)  # type: ignore[attr-defined]
_COUNT = select(func.max(_TABLE.c.seq))


def append(connection: Connection, entries: Sequence[Entry]) -> None:
    """Add entries in order; the caller's transaction commits them with everything else, or not at all.

    Commands are one at a time in a home, so that the next number can be read here and no gap is left.
    """
    numbered = list(enumerate(entries, count(connection) + 1))
    connection.execute(_INSERT, [_row(seq, entry) for seq, entry in numbered])
    refs = [{"seq": seq, "name": name, "ref": ref} for seq, entry in numbered for name, ref in entry.refs.items()]
    if refs:
        connection.execute(_INSERT_REFS, refs)


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
