"""How much CPU a caller allows for choosing, testing and fitting: two sizes, the same for every kind of data."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal

BudgetName = Literal["small", "large"]


@dataclass(frozen=True)
class Budget:
    """cpu_s: planned CPU seconds, by the cost table, for models beyond the reference arms, which are always there.

    extras: optional packages that may be used; None: those that are installed. The same request plans the same work.
    """

    name: BudgetName
    cpu_s: float
    extras: tuple[str, ...] | None = None


BUDGETS: Final[dict[str, Budget]] = {"small": Budget("small", 5.0), "large": Budget("large", 50.0)}
# Packages without which some models cannot be tried.
EXTRAS: Final = ("lightgbm", "torch")


def installed_extras() -> tuple[str, ...]:
    """Which optional packages are at hand; looked up, not imported."""
    return tuple(name for name in EXTRAS if find_spec(name) is not None)
