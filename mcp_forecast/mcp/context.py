"""Two words that every handler of the door needs: its context, and compact JSON."""

from __future__ import annotations

import json
from typing import Any, Final

from mcp.server.context import ServerRequestContext

Context = ServerRequestContext[Any, Any]
_COMPACT: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def compact(value: object) -> str:
    """JSON text without spaces. Raises ValueError for what is no JSON: NaN, a lone surrogate."""
    text = _COMPACT.encode(value)
    text.encode()  # a lone surrogate would break the wire further on
    return text
