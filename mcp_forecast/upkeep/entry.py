"""What operators do to a home (collected, backed up, restored, migrated, retries granted), on record in its log."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final, Literal

from sqlalchemy import Connection, insert

from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.entry import Entry
from mcp_forecast_audit.tables import EntryRow
from mcp_forecast_audit.tree import leaf_hash

Code = Literal["GC", "BACKED_UP", "RESTORED", "MIGRATED", "PUBLISH_RETRY_GRANTED"]
OPERATOR: Final = "system:operator"


def enter(connection: Connection, code: Code, refs: Mapping[str, str], *, now: float, caller: str = OPERATOR) -> None:
    """Enter it inside the caller's transaction; refs: what it came to, in ids, figures and digests."""
    audit_log.append(connection, [_entry(code, refs, now, caller)])


def enter_in_first_schema(connection: Connection, code: Code, refs: Mapping[str, str], *, now: float) -> None:
    """The same in a log of revision 0001, which has neither times nor refs beside the bodies.

    The migration to the next revision fills them in from there.
    """
    made = _entry(code, refs, now, OPERATOR)
    body = made.body()
    row = {
        "seq": audit_log.count(connection) + 1, "request_id": made.request_id, "tool": made.tool,
        "caller": made.caller, "code": made.code, "body": body, "leaf_hash": leaf_hash(body),
    }  # fmt: skip
    connection.execute(insert(EntryRow.__table__).values(row))  # type: ignore[attr-defined]


def _entry(code: Code, refs: Mapping[str, str], now: float, caller: str) -> Entry:
    return Entry(
        request_id=f"home_{secrets.token_hex(8)}", at=now, caller=caller, door="command", tool="server",
        code=code, refs=refs,
    )  # fmt: skip
