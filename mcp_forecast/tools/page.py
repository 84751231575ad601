"""A page of a listing: as many lines as fit, and the cursor of the next page where there are more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp_forecast.tools.cursor import make_cursor
from mcp_forecast.tools.length import fitting


def page_of(
    name: str, lines: Sequence[dict[str, Any]], *, listing: str, positions: Sequence[Any], room: int
) -> dict[str, Any]:
    """The lines under their name, as many as fit into `room` characters; has_more; next_cursor where that is true.

    positions: where in the listing each item stands that was found, one more than the lines if there are more.
    """
    shown = lines[: fitting(lines, room=room)]
    has_more = len(positions) > len(shown)
    cursor = {"next_cursor": make_cursor(listing, positions[len(shown) - 1])} if has_more else {}
    return {name: shown, "has_more": has_more, **cursor}
