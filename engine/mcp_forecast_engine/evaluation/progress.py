"""How long work reports truthfully and is stopped: the caller passes one function, nothing is timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# Pieces done, pieces in all, a sentence. What it raises ends the work there.
OnProgress = Callable[[int, int, str], None]


@dataclass
class Progress:
    """Counts finished pieces of work; each call is a place where the caller can end the work by raising."""

    total: int
    report: OnProgress | None = None
    done: int = 0

    def step(self, text: str) -> None:
        """One more piece is finished."""
        self.done += 1
        if self.report is not None:
            self.report(self.done, self.total, text)
