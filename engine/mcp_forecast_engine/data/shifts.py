"""Columns that repeat the target of another step: leads give the future away, lags are known for a few steps only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.leaks import tolerance

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SAMPLE_ROWS = 256
# Leads up to here are looked for: two weeks of hours, a year of days.
LONGEST_LEAD = 400
# Fewer distinct targets than this repeat themselves by chance; fewer pairs of rows are no evidence.
DISTINCT, PAIRS = 5, 16
# A copy made from rows before they were corrected differs here and there.
ALIKE = 0.99
MOSTLY = 0.8


def leading_columns(y: Floats, offsets: Integers, columns: Mapping[str, Floats]) -> dict[str, int]:
    """Columns that are the target of a later step (scaled or not), with how many steps later.

    y: float64 (N), NaN where absent, series at offsets[i]:offsets[i + 1]; columns: name → float64 (N). A column that an
    earlier target explains as well (both repeat themselves with the season) tells nothing new and is left.
    """
    longest = min(LONGEST_LEAD, int(np.diff(offsets).max()) // 2)
    leads = shifted_copies(y, offsets, columns, np.arange(1, longest + 1))
    lagged = shifted_copies(y, offsets, {name: columns[name] for name in leads}, np.arange(-1, -longest - 1, -1))
    return {name: lead for name, lead in leads.items() if name not in lagged}


def shifted_copies(y: Floats, offsets: Integers, columns: Mapping[str, Floats], shifts: Integers) -> dict[str, int]:
    """Columns whose value at a row is the target `shift` rows later of the same series; the first shift that fits."""
    finite = np.isfinite(y)
    if not columns or not len(shifts) or len(np.unique(y[finite])) < DISTINCT:
        return {}
    # Rows of any place, not of a regular one: a stride in step with the season would see one value of it only.
    rows = np.sort(np.random.default_rng(0).permutation(len(y))[:SAMPLE_ROWS])
    series = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    later = np.clip(rows[:, None] + shifts[None, :], 0, len(y) - 1)
    inside = (rows[:, None] + shifts == later) & (series[rows][:, None] == series[later]) & finite[later]
    target = np.where(inside, y[later], 0.0)
    found: dict[str, int] = {}
    for name, values in columns.items():
        for place in _alike(values[rows], target, inside):
            if _repeats(y, values, series, int(shifts[place])):
                found[name] = int(shifts[place])
                break
    return found


def _alike(x: Floats, target: Floats, inside: NDArray[np.bool_]) -> list[int]:
    """Which of K shifts the sample does not rule out: x (R) against target (R, K), where both are there."""
    both = inside & np.isfinite(x)[:, None]
    count = np.maximum(both.sum(axis=0), 1)
    clean = np.where(np.isfinite(x), x, 0.0)[:, None]
    same = np.sum(both & (clean == target), axis=0) >= ALIKE * 0.95 * count
    a, b = (
        (clean - np.sum(clean * both, axis=0) / count) * both,
        (target - np.sum(target * both, axis=0) / count) * both,
    )
    # Squares of what a file may hold do not fit into a float.
    a, b = a / np.max(np.abs(a), initial=1e-300), b / np.max(np.abs(b), initial=1e-300)
    product, left, right = np.sum(a * b, axis=0), np.sum(a * a, axis=0), np.sum(b * b, axis=0)
    straight = product**2 >= (1 - 1e-4) * left * right
    close = product**2 >= MOSTLY * left * right  # two sparse columns are equal nearly everywhere without being alike
    fits = (same & close | straight) & (left > 0) & (right > 0) & (both.sum(axis=0) >= PAIRS)
    return [int(place) for place in np.flatnonzero(fits)]


def _repeats(y: Floats, x: Floats, series: Integers, shift: int) -> bool:
    """The same on every row: equal nearly everywhere, or one straight line everywhere."""
    first, last = max(-shift, 0), len(y) - max(shift, 0)
    here = np.arange(first, last)
    there = here + shift
    both = (series[here] == series[there]) & np.isfinite(y[there]) & np.isfinite(x[here])
    left, right = x[here[both]], y[there[both]]
    if len(left) < PAIRS or len(np.unique(left)) < DISTINCT:
        return False
    if np.mean(left == right) >= ALIKE:
        return bool(np.corrcoef(left, right)[0, 1] ** 2 >= MOSTLY)
    design = np.stack([left, np.ones(len(left))], axis=1)
    factors, *_ = np.linalg.lstsq(design, right, rcond=None)
    return bool(factors[0] != 0 and np.max(np.abs(design @ factors - right)) <= tolerance(right, rounded=True))
