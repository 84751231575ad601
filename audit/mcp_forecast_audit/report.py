"""What a verification found: what contradicts what, and over how much of the log nothing does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MOST_SHOWN: Final = 100  # problems of a report


@dataclass(frozen=True)
class Problem:
    """One contradiction: where, what was found and what was expected."""

    where: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}; expected {self.expected}"


@dataclass
class Findings:
    """The contradictions found so far: the first MOST_SHOWN, and how many there are."""

    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def say(self, where: str, found: object, expected: object) -> None:
        """Note one contradiction."""
        self.count += 1
        if len(self.problems) < MOST_SHOWN:
            self.problems.append(Problem(where, str(found), str(expected)))


@dataclass(frozen=True)
class Report:
    """What was verified.

    sealed: entries under the newest checkpoint; root: that one's, base64, computed from the bytes. outside: entries
    under the checkpoint that was kept outside, None without one. keys: public keys whose signatures stand. problems:
    the first MOST_SHOWN of problem_count.
    """

    entries: int
    sealed: int
    checkpoints: int
    root: str | None
    outside: int | None
    keys: tuple[str, ...]
    problems: tuple[Problem, ...]
    problem_count: int

    @property
    def intact(self) -> bool:
        """Whether nothing contradicts anything."""
        return self.problem_count == 0

    @property
    def is_signed(self) -> bool:
        """Whether there was a signed checkpoint to verify anything against."""
        return self.sealed > 0 or self.outside is not None

    @property
    def ends_early(self) -> bool:
        """Whether an export that nothing contradicts ends before the checkpoint outside, which so proves nothing."""
        return self.intact and self.outside is not None and self.outside > self.entries
