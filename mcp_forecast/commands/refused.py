"""How a command says that it refuses: what was found on one line, what helps on the next."""

from __future__ import annotations

import sys

from mcp_forecast_engine.errors import EngineError


def refused(error: Exception | str) -> int:
    """Print an error for a person, with its next step where it has one; returns the exit code, 2."""
    helps = error.next_step if isinstance(error, EngineError) else None
    print(f"error: {error}" + (f"\n  {helps}" if helps else ""), file=sys.stderr)
    return 2
