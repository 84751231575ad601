"""How long work reports truthfully, is stopped, and what it cost: the caller passes functions, none of them decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

# Pieces done, pieces in all, a sentence. What it raises ends the work there.
OnProgress = Callable[[int, int, str], None]


class Stopped(Exception):
    """The work was ended from another thread, which knows why."""


@dataclass(frozen=True)
class Told:
    """A finished piece of work: what it was, what it belongs to, the CPU seconds it took (0 without a clock)."""

    text: str
    of: str
    cpu_s: float


@dataclass
class Progress:
    """Counts finished pieces of work; each call is a place where the caller can end the work by raising.

    cpu_clock: CPU seconds that the calling thread has used so far, as `time.thread_time` tells them; costs: by piece of
    work, what it used. They are reported and decide nothing.
    """

    total: int
    report: OnProgress | None = None
    cpu_clock: Callable[[], float] | None = None
    done: int = 0
    costs: dict[str, float] = field(default_factory=dict)
    _before: float = 0.0

    def __post_init__(self) -> None:
        """Costs count from here."""
        self._before = self.cpu_clock() if self.cpu_clock else 0.0

    def step(self, text: str, *, of: str = "") -> None:
        """One more piece is finished; `of` names what it belongs to."""
        now = self.cpu_clock() if self.cpu_clock else 0.0
        cost, self._before = now - self._before, now
        self.tell(Told(text, of, cost))

    def tell(self, step: Told) -> None:
        """Count a finished piece, here or on another thread, and report it."""
        self.done += 1
        if self.cpu_clock is not None:
            self.costs[step.of] = self.costs.get(step.of, 0.0) + step.cpu_s
        if self.report is not None:
            self.report(self.done, self.total, step.text)

    def skip(self, pieces: int) -> None:
        """Pieces that turned out not to be needed; the next report counts them as done."""
        self.done += pieces
