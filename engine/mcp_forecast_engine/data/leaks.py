"""Columns that give the target away: copies of it, and parts that add up to it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SAMPLE_ROWS = 256
TOLERANCE = 1e-9
# Sums of three are tried up to this many columns (2,024 triples); larger sums are found by least squares.
MAX_TRIPLE_COLUMNS = 24


def leaking_columns(y: Floats, columns: Mapping[str, Floats]) -> dict[str, str]:
    """Name the columns from which the target can be computed on every row, with the reason.

    y: float64 (N), NaN where absent; columns: name → float64 (N). Finds exact copies (also scaled or shifted), sums and
    differences of two or three columns, and larger sums. A column that does so only by accident on a few rows is left.
    """
    known = np.flatnonzero(np.isfinite(y))
    if len(known) < 8 or np.ptp(y[known]) == 0:
        return {}
    rows = known[np.unique(np.linspace(0, len(known) - 1, SAMPLE_ROWS).astype(np.int64))]
    usable = {
        name: values for name, values in columns.items() if np.isfinite(values[rows]).all() and np.ptp(values[rows]) > 0
    }
    names = sorted(usable)
    found = {name: "is a copy of the target" for name in names if _explains(y, [usable[name]], known, scaled=True)}
    rest = [name for name in names if name not in found]
    for parts in _sums(y[rows], np.array([usable[name][rows] for name in rest]).reshape(len(rest), len(rows)), rest):
        if _explains(y, [usable[name] for name in parts], known, scaled=False):
            found |= {name: f"adds up to the target ({' and '.join(parts)})" for name in parts if name not in found}
    return found


def _explains(y: Floats, parts: list[Floats], known: NDArray[np.int64], *, scaled: bool) -> bool:
    """Whether parts (each with factor ±1, or with any factor and shift when scaled) give y on all rows they share."""
    rows = known[np.isfinite(sum(part[known] for part in parts))]
    if len(rows) < 0.9 * len(known):
        return False
    design = np.stack([part[rows] for part in parts] + ([np.ones(len(rows))] if scaled else []), axis=1)
    factors, *_ = np.linalg.lstsq(design, y[rows], rcond=None)
    if not scaled:
        factors = np.round(factors)
    gap = float(np.max(np.abs(design @ factors - y[rows])))
    return bool(gap <= TOLERANCE * float(np.max(np.abs(y[rows]))) and np.all(factors[: len(parts)] != 0))


def _sums(y: Floats, columns: Floats, names: list[str]) -> list[tuple[str, ...]]:
    """Sets of columns that sum to y, up to signs, on the sample."""
    close = TOLERANCE * max(1.0, float(np.max(np.abs(y))))
    found: list[tuple[str, ...]] = []
    for i in range(len(names)):
        for sign in (1, -1):
            gap = y - sign * columns[i]
            for other in (1, -1):
                hits = np.flatnonzero(np.max(np.abs(gap - other * columns[i + 1 :]), axis=1, initial=0) <= close)
                found += [(names[i], names[i + 1 + int(j)]) for j in hits]
    if len(names) <= MAX_TRIPLE_COLUMNS:
        for i, j in combinations(range(len(names)), 2):
            gaps = np.abs(y - columns[i] - columns[j] - columns[j + 1 :])
            hits = np.flatnonzero(np.max(gaps, axis=1, initial=0) <= close)
            found += [(names[i], names[j], names[j + 1 + int(k)]) for k in hits]
    if len(names) > 3 and len(y) > 2 * len(names):
        factors, *_ = np.linalg.lstsq(columns.T, y, rcond=None)
        whole = np.flatnonzero(np.abs(factors) > 0.5)
        if np.max(np.abs(np.round(factors) @ columns - y)) <= close and np.all(np.abs(np.round(factors[whole])) == 1):
            found.append(tuple(names[i] for i in whole))
    return sorted(set(found), key=len)
