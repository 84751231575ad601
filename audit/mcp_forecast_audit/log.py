"""Append entries inside the transaction of the call they record, and read them back."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select

from mcp_forecast_audit.entry import Entry
from mcp_forecast_audit.tables import EntryRow
from mcp_forecast_audit.tree import leaf_hash

_TABLE = EntryRow.__table__  # type: ignore[attr-defined]
_INSERT = insert(_TABLE)
_COUNT = select(func.max(_TABLE.c.seq))


def append(connection: Connection, entries: Sequence[Entry]) -> None:
    """Add entries in order; the caller's transaction commits them with everything else, or not at all."""
    connection.execute(_INSERT, [_row(entry) for entry in entries])


def count(connection: Connection) -> int:
    """How many entries are stored (the highest sequence number)."""
    return int(connection.execute(_COUNT).scalar() or 0)


def _row(entry: Entry) -> dict[str, object]:
    body = entry.body()
    return {
        "request_id": entry.request_id,
        "tool": entry.tool,
        "caller": entry.caller,
        "code": entry.code,
        "body": body,
        "leaf_hash": leaf_hash(body),
    }
