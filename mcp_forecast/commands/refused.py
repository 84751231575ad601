"""How a command says that it refuses: what was found on one line, what is allowed and what helps on the next ones."""

from __future__ import annotations

import sys

from mcp_forecast.errors import texts_of
from mcp_forecast_engine.errors import EngineError


def refused(error: Exception | str) -> int:
    """Print an error for a person, with what is allowed and its next step, where it has them; returns exit code 2."""
    lines = [f"error: {error}"]
    if isinstance(error, EngineError):
        lines += [] if error.allowed is None else [f"  allowed: {', '.join(texts_of(error.allowed))}"]
        lines += [f"  {error.next_step}"] if error.next_step else []
    print("\n".join(lines), file=sys.stderr)
    return 2
