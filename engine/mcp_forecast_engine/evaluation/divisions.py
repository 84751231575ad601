"""How a test is divided: by steps ahead, by place in the season, and by groups of series."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.metrics import Scored
from mcp_forecast_engine.evaluation.plan import MANY_SERIES, BacktestPlan

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

MOST_PARTS: Final = 8
HORIZON: Final = "horizon"
SEASON: Final = "season"
REST: Final = "(all others)"
QUARTERS: Final = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Division:
    """One part of a test: mask, (R, horizon), says which steps are in it.

    by: "horizon", "season", the name of a static covariate, or, where none groups the series, "level" (mean |y|) or
    "history" (steps), both before the first test window. label: steps ahead "1-6", places in the season "0-3", the
    value of the covariate, "(all others)" for the values that few series have, or a range "2.1 to 8.4".
    """

    by: str
    label: str
    mask: Mask


def is_group(by: str) -> bool:
    """Whether these parts are groups of series."""
    return by not in (HORIZON, SEASON)


def divisions(
    scored: Scored, panel: Panel, plan: BacktestPlan, phase: Integers, origins: Sequence[Integers]
) -> Iterator[Division]:
    """Every part; those of the same `by` share no step, and together they are the whole test.

    phase: int64 (R), place of each row's first step within the season. origins: of the test windows, as in
    `origins_of`.
    """
    shape, m = scored.y.shape, max(plan.season_length, 1)
    step = np.arange(plan.horizon)
    for first, last in _ranges(plan.horizon):
        mask = np.broadcast_to((step >= first) & (step <= last), shape)
        yield Division(HORIZON, _label(first + 1, last + 1), mask)
    if m > 1:
        place = (phase[:, None] + step) % m
        for first, last in _ranges(m):
            yield Division(SEASON, _label(first, last), (place >= first) & (place <= last))
    for by, labels, codes in _groupings(panel, origins):
        of_rows = codes[scored.series]
        for code, label in enumerate(labels):
            yield Division(by, label, np.broadcast_to((of_rows == code)[:, None], shape))


def _groupings(panel: Panel, origins: Sequence[Integers]) -> list[tuple[str, tuple[str, ...], Integers]]:
    """by, labels, and the place of every series' label, (S): of static columns, else of levels and lengths."""
    static = sorted(name for name, role in panel.roles.items() if role == "static")
    found = [made for name in static if (made := _by_static(name, panel)) is not None]
    if found or len(panel.unique_id) < MANY_SERIES:
        return found
    table = np.stack(origins)
    # Before the first test window of each series: no group may be made from what it is tested on.
    steps = np.where(table >= 0, table, panel.lengths).min(axis=0)
    series = np.repeat(np.arange(len(steps)), panel.lengths)
    early = panel.steps < np.repeat(steps, panel.lengths)
    # Every series by itself: in one running sum a small one drowns in a large one.
    total = np.bincount(series[early], weights=np.abs(panel.y[early]), minlength=len(steps))
    level = total / np.maximum(steps, 1)
    quarters = (_quarters("level", level), _quarters("history", steps.astype(np.float64)))
    return [made for made in quarters if made is not None]


def _by_static(name: str, panel: Panel) -> tuple[str, tuple[str, ...], Integers] | None:
    """The values that most series have, and the rest; None where no two series share a value."""
    values = panel.covariates[name][panel.offsets[:-1]]
    kinds, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    # A category's code below 0 stands for none.
    named = (kinds >= 0) if name in panel.categories else np.ones(len(kinds), bool)
    if not (counts[named] > 1).any():
        return None
    by = f"static {name}" if name in (HORIZON, SEASON) else name
    if name not in panel.categories and len(kinds) > MOST_PARTS:
        return _quarters(by, values)
    common = [k for k in np.argsort(-counts, kind="stable") if named[k]][:MOST_PARTS]
    code = np.full(len(kinds), len(common), np.int64)
    code[common] = np.arange(len(common))
    words = panel.categories.get(name)
    if words is None:
        labels = _told_apart(lambda digits: [_number(kinds[k], digits) for k in common])
    else:
        labels = tuple(str(words[int(kinds[k])]) for k in common)
    return by, (*labels, REST)[: int(code.max()) + 1], code[place]


def _quarters(by: str, values: Floats) -> tuple[str, tuple[str, ...], Integers] | None:
    """Four ranges with as many series each, as far as equal values allow; None where all are in one."""
    edges = np.quantile(values, QUARTERS)
    kinds, place = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)
    if len(kinds) < 2:
        return None
    ends = [(values[place == k].min(), values[place == k].max()) for k in range(len(kinds))]
    return by, _told_apart(lambda digits: [_between(*end, digits) for end in ends]), place.astype(np.int64)


def _ranges(count: int) -> list[tuple[int, int]]:
    """At most MOST_PARTS ranges of neighbours that cover 0 .. count - 1."""
    edges = np.unique(np.linspace(0, count, min(count, MOST_PARTS) + 1).round().astype(int))
    return [(int(a), int(b) - 1) for a, b in pairwise(edges)]


def _label(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _told_apart(write: Callable[[int], Sequence[str]]) -> tuple[str, ...]:
    """Labels with as few digits as tell them apart, four at least. write: the labels, given how many digits."""
    found: Sequence[str] = ()
    for digits in range(4, 18):  # seventeen tell any two numbers apart
        found = write(digits)
        if len(set(found)) == len(found):
            break
    return tuple(found)


def _between(low: float, high: float, digits: int) -> str:
    return _number(low, digits) if low == high else f"{_number(low, digits)} to {_number(high, digits)}"


def _number(value: float, digits: int) -> str:
    """Whole numbers in full: many are the name of something. Beyond 2^53 their last digits mean nothing."""
    whole = float(value).is_integer() and abs(value) < 2**53
    return str(int(value)) if whole else f"{value:.{digits}g}"
