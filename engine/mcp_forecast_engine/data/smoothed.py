"""Columns made of the target around them, where no target that is known at the origin gives them as well."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.revisions import series_of
from mcp_forecast_engine.data.shifts import DISTINCT

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Steps on either side that an average is looked for over, the widest first; narrow ones need fewer rows, and no gaps.
HALF_WIDTHS: Final = (200, 100, 48, 24, 12, 5, 2)
# Rows for each weight that is fitted; the weights of one half must give the other half.
ROWS_PER_WEIGHT: Final = 4
# What the weights may leave of a column's spread, as rounding for print does, and of what known targets leave of it.
LEFT, NEWS = 0.01, 0.1
# Less than this is what arithmetic leaves.
NOTHING: Final = 1e-6
# An average that was made before some rows were corrected differs near these.
ALIKE: Final = 0.99
# Series looked at one by one, for columns that were made of one of them only, or scaled by series.
MOST_SERIES: Final = 8


def target_averages(
    y: Floats, offsets: Integers, columns: Mapping[str, Floats], latest: Mapping[str, int]
) -> dict[str, str]:
    """Name the columns that are a weighted sum of the target around them which no known target gives, with the reason.

    y: float64 (N), NaN where not measured, series i at offsets[i]:offsets[i + 1]; columns: name → float64 (N). latest:
    per column the step, relative to a row, up to which the target is known when that row is read: 0 for the past, minus
    the horizon for a column known ahead. A column that targets up to there give as well (both repeat themselves) tells
    nothing new. An average is found where its window lies within 200 steps on either side and the data is long enough.
    Registration looks for the same without a horizon (`data.composed`), and so cannot see smooth ones.
    """
    found = _averages(y, offsets, columns, latest)
    parts = list(pairwise(offsets.tolist()))
    for low, high in parts[:MOST_SERIES] if len(parts) > 1 else ():
        rest = {name: values[low:high] for name, values in columns.items() if name not in found}
        found |= _averages(y[low:high], np.array([0, high - low]), rest, latest)
    return found


def _averages(y: Floats, offsets: Integers, columns: Mapping[str, Floats], latest: Mapping[str, int]) -> dict[str, str]:
    found: dict[str, str] = {}
    for half in HALF_WIDTHS:
        rest = {name: values for name, values in sorted(columns.items()) if name not in found}
        left = _left(y, offsets, rest, np.arange(-half, half + 1))
        for name in [name for name, share in left.items() if share <= LEFT]:
            known = _left(y, offsets, {name: columns[name]}, np.arange(latest[name] - 2 * half, latest[name] + 1))
            if known.get(name, 0.0) > NOTHING and left[name] <= NEWS * known[name]:
                found[name] = f"is made of the target up to {half} steps around it, of which not all are known by then"
    return found


def _left(y: Floats, offsets: Integers, columns: Mapping[str, Floats], shifts: Integers) -> dict[str, float]:
    """What one weighted sum of the target at these shifts leaves of each column, as a part of its spread.

    Measured on rows that the weights were not fitted on. A column is absent where that cannot be told.
    """
    rows = _whole_rows(y, offsets, shifts)
    enough = ROWS_PER_WEIGHT * (len(shifts) + 1)
    if not columns or len(rows) < enough:
        return {}
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:enough])
    told = {name: values[rows] for name, values in columns.items()}
    told = {name: x for name, x in told.items() if np.isfinite(x).all() and len(np.unique(x)) >= DISTINCT}
    if not told:
        return {}
    around = y[rows[:, None] + shifts]
    around = (around - around.mean()) / (around.std() or 1.0)
    design, wanted = np.column_stack([around, np.ones(len(rows))]), np.stack(list(told.values()), axis=1)
    fitted, checked = np.arange(len(rows)) % 2 == 0, np.arange(len(rows)) % 2 == 1
    weights, *_ = np.linalg.lstsq(design[fitted], wanted[fitted], rcond=None)
    gaps = np.sort((design[checked] @ weights - wanted[checked]) ** 2, axis=0)[: int(ALIKE * checked.sum())]
    spread = wanted[checked].std(axis=0)
    return {
        name: float(np.sqrt(gaps[:, place].mean()) / spread[place])
        for place, name in enumerate(told)
        if spread[place] > 0
    }


def _whole_rows(y: Floats, offsets: Integers, shifts: Integers) -> Integers:
    """Rows for which the target was measured at every shift, within their series."""
    low, high = int(shifts[0]), int(shifts[-1])
    rows = np.arange(max(-low, 0), len(y) - max(high, 0))
    if not len(rows):
        return rows
    absent = np.concatenate([[0], np.cumsum(np.isnan(y))])
    series = series_of(offsets)
    within = (series[rows + low] == series[rows + high]) & (series[rows] == series[rows + low])
    return np.asarray(rows[within & (absent[rows + high + 1] == absent[rows + low])], np.int64)
