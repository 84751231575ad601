"""Columns of few values: which levels they have, and how near a value has to be to count as one of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Whole numbers of up to this many values are levels (a kind of day), not a measure.
_FEW = 8
# Indicators that one column may have: a fit's cost grows with them.
_MOST = 64
# Rows that show a measure to be one, and whole numbers up to which counting is cheaper than sorting.
_SOME, _CODES = 1_000, 100_000


def levels_of(values: Floats, *, categorical: bool) -> tuple[Floats, float] | None:
    """The levels of a column (N) that get an indicator each, ascending, and their half gap; None: it is continuous.

    Of two levels only the larger: one indicator says it all. Of more than 64 those that are met most.
    """
    if not categorical and len(np.unique(values[:: len(values) // _SOME + 1])) > _FEW:
        return None  # as many already among some of the rows: the others need not be sorted
    found, counts = _counted(values)
    few = len(found) <= 2 or (len(found) <= _FEW and bool(np.all(found == np.round(found))))
    if not (few or categorical):
        return None
    kept = found[1:] if len(found) == 2 else np.sort(found[np.argsort(-counts, kind="stable")[:_MOST]])
    return kept, half_gap(found)


def _counted(values: Floats) -> tuple[Floats, Integers]:
    """The distinct values, ascending, and how often each is met; codes are counted, which is faster than sorting."""
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    if low >= 0 and high <= _CODES and np.all(values == np.floor(values)):
        counts = np.bincount(values.astype(np.int64))
        found = np.flatnonzero(counts)
        return found.astype(np.float64), counts[found]
    return np.unique(values, return_counts=True)


def half_gap(levels: Floats) -> float:
    """How far from a level a value may lie to be that level: half the least distance of two; levels: ascending."""
    return 0.5 * float(np.diff(levels).min()) if len(levels) > 1 else 0.5
