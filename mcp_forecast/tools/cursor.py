"""Cursors: opaque to callers, made and read here; a foreign one is refused by name."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from mcp_forecast.errors import Refusal


def make_cursor(kind: str, position: Any) -> str:
    """An opaque cursor for a position (any JSON value) in a listing of this kind."""
    return base64.urlsafe_b64encode(json.dumps([kind, position]).encode()).decode().rstrip("=")


def read_cursor(kind: str, cursor: str | None) -> Any:
    """The position a cursor of this kind stands for; None without one. Raises Refusal CURSOR_INVALID."""
    if cursor is None:
        return None
    try:
        made_for, position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, TypeError, UnicodeDecodeError) as error:
        raise _foreign(kind) from error
    if made_for != kind:
        raise _foreign(kind)
    return position


def _foreign(kind: str) -> Refusal:
    return Refusal("CURSOR_INVALID", f"this cursor was not made by a page of {kind}", field="cursor")
