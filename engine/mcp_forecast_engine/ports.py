"""What the engine needs from outside; `mcp_forecast/app.py` fills it in."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Seconds since 1970-01-01 UTC; for leases and records, never for meaning."""

    def __call__(self) -> float: ...


class Milestone(Protocol):
    """Told the name of each point a run or a command has passed; tests use it to end the process exactly there."""

    def __call__(self, name: str) -> None: ...
