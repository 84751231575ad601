"""How much of the target a column of the same step gives away, whatever curve or noise lies between the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Series and rows of each that are looked at; fewer rows, or fewer distinct values, are no evidence.
MOST_SERIES, MOST_ROWS = 8, 256
FEWEST_ROWS, DISTINCT = 30, 10
SAID = 1e-3


@dataclass(frozen=True)
class Evidence:
    """Rows of some series on which columns are held against the target.

    rows: per series int64, ascending. ranks: of the target among these rows, in units of their spread. unknown: the
    part of that spread, per series, which the series' own past does not say.
    """

    rows: tuple[Integers, ...]
    ranks: tuple[Floats, ...]
    unknown: tuple[float, ...]


def evidence(y: Floats, offsets: Integers, season_length: int) -> Evidence:
    """Draw the rows: of up to eight series, up to 256 with a target each, always the same ones.

    y: float64 (N), NaN where absent; series i at offsets[i]:offsets[i + 1]. season_length: m.
    """
    draw, found = np.random.default_rng(0), []
    spans = [(int(low), int(high)) for low, high in pairwise(offsets)]
    known = [low + np.flatnonzero(np.isfinite(y[low:high])) for low, high in spans]
    usable = [i for i, rows in enumerate(known) if len(rows) >= FEWEST_ROWS and len(np.unique(y[rows])) >= DISTINCT]
    for i in usable[:: -(-len(usable) // MOST_SERIES) or 1]:
        rows = np.sort(draw.permutation(known[i])[:MOST_ROWS])
        ranks = standard(ranked(y[rows]))
        found.append((rows, ranks, _unsaid(y[slice(*spans[i])], season_length)))
    return Evidence(*(tuple(parts) for parts in zip(*found, strict=True))) if found else Evidence((), (), ())


def told(shown: Evidence, column: Floats) -> float:
    """The part of what the past does not say about the target that a column says: 1 all of it, 0 or less nothing.

    column: float64 (N), NaN where absent. The target's ranks are walked through in the order of the column; what two
    neighbours do not say about the rank between them is left (Gasser, Sroka and Jennen-Steinmetz 1986). So neither a
    monotone curve nor a scale of each series matters, and no outlier decides.
    """
    left, whole, count = 0.0, 0.0, 0
    for rows, ranks, unknown in zip(shown.rows, shown.ranks, shown.unknown, strict=True):
        values = column[rows]
        there = np.isfinite(values)
        if there.sum() < FEWEST_ROWS or len(np.unique(values[there])) < DISTINCT:
            continue
        left += _rough(values[there], ranks[there]) * there.sum()
        whole += unknown * float(ranks[there].var()) * there.sum()
        count += int(there.sum())
    # What the past says all of has nothing left to give away.
    return 1.0 - left / whole if whole > SAID * count else 0.0


def alike(shown: Evidence, column: Floats) -> float:
    """The mean squared rank correlation of a column with the target, 0 to 1."""
    found = [0.0]
    for rows, ranks in zip(shown.rows, shown.ranks, strict=True):
        there = np.isfinite(column[rows])
        if there.any():
            found.append(float(np.mean(standard(ranked(column[rows][there])) * standard(ranks[there]))) ** 2)
    return float(np.mean(found))


def ranked(values: Floats) -> Floats:
    """Ranks of values, equal ones sharing their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place], np.float64)


def standard(values: Floats) -> Floats:
    """Values less their mean, in units of their spread."""
    return np.asarray((values - values.mean()) / (values.std() or 1.0), np.float64)


def lagged(values: Floats, lags: Sequence[int]) -> tuple[Floats, Floats]:
    """The values that have all of these lags and a value themselves, and those lags: (n), (n, lags)."""
    longest = max(lags)
    here = np.arange(longest, len(values))
    before = np.stack([values[here - lag] for lag in lags], axis=1)
    whole = np.isfinite(values[here]) & np.isfinite(before).all(axis=1)
    return values[here][whole], before[whole]


def _rough(order: Floats, ranks: Floats) -> float:
    """Variance that is left in ranks between neighbours in an order."""
    places = np.lexsort((np.arange(len(order)), order))
    x, r = ranked(order)[places], ranks[places]
    step = x[2:] - x[:-2]
    share = np.where(step > 0, (x[1:-1] - x[:-2]) / np.where(step > 0, step, 1.0), 0.5)
    gap = r[1:-1] - (1 - share) * r[:-2] - share * r[2:]
    return float(np.mean(gap**2 / (1 + share**2 + (1 - share) ** 2)))


def _unsaid(y: Floats, season_length: int) -> float:
    """The part of the spread of a series' ranks that its last step and its last season do not say."""
    finite = np.isfinite(y)
    ranks = np.full(len(y), np.nan)
    ranks[finite] = standard(ranked(y[finite]))
    lags = sorted({1, *({season_length, season_length + 1} if season_length > 1 else set())})
    lags = [lag for lag in lags if lag <= len(y) // 3]
    if not lags:
        return 1.0
    target, before = lagged(ranks, lags)
    if len(target) < FEWEST_ROWS:
        return 1.0
    design = np.column_stack([before, np.ones(len(before))])
    factors, *_ = np.linalg.lstsq(design, target, rcond=None)
    left = float(np.mean((target - design @ factors) ** 2))
    return min(left, 1.0)
