"""How long work reports truthfully and is stopped: the caller passes two functions, nothing is timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mcp_forecast_engine.errors import EngineError

OnProgress = Callable[[int, int, str], None]
ShouldStop = Callable[[], bool]


class Stopped(EngineError):
    """The caller asked for the work to stop; nothing was produced."""


@dataclass
class Progress:
    """Counts finished pieces of work; each `step` is a place where the work can be stopped."""

    total: int
    report: OnProgress | None = None
    should_stop: ShouldStop | None = None
    done: int = 0

    def step(self, text: str) -> None:
        """Tell that one more piece is finished; raises Stopped where the caller wants to stop."""
        self.done += 1
        if self.report is not None:
            self.report(self.done, self.total, text)
        self.check(text)

    def check(self, text: str) -> None:
        """Raise Stopped where the caller wants to stop."""
        if self.should_stop is not None and self.should_stop():
            raise Stopped(f"stopped on request after {self.done} of {self.total} steps ({text})")
