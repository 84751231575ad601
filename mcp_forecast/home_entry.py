"""What is done to a whole home (collected, backed up, restored), on record in its log."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Literal

from sqlalchemy import Connection

from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.entry import Entry


def enter(
    connection: Connection, code: Literal["GC", "BACKED_UP", "RESTORED"], refs: Mapping[str, str], *, now: float
) -> None:
    """Enter it inside the caller's transaction; refs: what it came to, in figures and digests."""
    made = Entry(
        request_id=f"home_{secrets.token_hex(8)}", at=now, caller="system:operator", door="command", tool="server",
        contract="", arguments={}, decision={}, code=code, refs=refs,
    )  # fmt: skip
    audit_log.append(connection, [made])
