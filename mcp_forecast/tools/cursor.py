"""Cursors: opaque to callers, made and read here; a foreign one is refused by name."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, TypeAdapter

from mcp_forecast.errors import Refusal

P = TypeVar("P")
ROW: Final[TypeAdapter[int]] = TypeAdapter(Annotated[int, Field(strict=True, ge=0, lt=2**53)])
RUN_POSITION: Final[TypeAdapter[tuple[float, str]]] = TypeAdapter(tuple[float, str])


def listing_of(listing: str, /, **filters: object) -> str:
    """The name of a listing with what it is filtered by, as a refusal of another one's cursor tells it."""
    return " ".join([listing, *(f"{name}={value}" for name, value in filters.items() if value is not None)])


def make_cursor(kind: str, position: Any) -> str:
    """An opaque cursor for a position (any JSON value) in a listing of this kind."""
    return base64.urlsafe_b64encode(json.dumps([kind, position]).encode()).decode().rstrip("=")


def read_cursor(kind: str, cursor: str | None, shape: TypeAdapter[P]) -> P | None:
    """The position a cursor stands for; None without one. Raises Refusal CURSOR_INVALID.

    kind: the listing with what it lists (its id or filters), so that a cursor of another one is refused by name.
    """
    if cursor is None:
        return None
    try:
        made_for, position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if made_for == kind:
            return shape.validate_python(position)
    except (binascii.Error, ValueError, TypeError, RecursionError):
        pass  # not ours either: the same answer
    raise Refusal("CURSOR_INVALID", f"this cursor was not made by this listing: {kind}", field="cursor")
