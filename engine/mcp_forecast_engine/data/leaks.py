"""Columns that give the target away: copies of it, copies of another step of it, and parts that add up to it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SAMPLE_ROWS = 256
TOLERANCE = 1e-9
# A copy that was rounded for print is a copy still: the largest gap, as a part of the target's usual range.
ROUNDING = 1e-3
# A column has to be there on this part of the rows to say anything about the target.
SHARED = 0.9
# Sums of three are tried up to this many columns (2,024 triples); larger sums are found by least squares.
MAX_TRIPLE_COLUMNS = 24
# Wide targets looked at one by one; what gives one of them away is usually a column beside it.
MOST_WIDE = 8


def leaking_columns(y: Floats, columns: Mapping[str, Floats]) -> dict[str, str]:
    """Name the columns from which the target can be computed on every row, with the reason.

    y: float64 (N), NaN where absent; columns: name → float64 (N). Finds copies (also scaled, shifted by a constant or
    rounded), sums and differences of two or three columns, and larger sums. Columns with a few absent values take part
    where they are there. A column that does so only by accident on a few rows is left.
    """
    known = np.flatnonzero(np.isfinite(y))
    if len(known) < 8 or np.ptp(y[known]) == 0:
        return {}
    usable = {name: values for name, values in columns.items() if _speaks(values[known])}
    names = sorted(usable)
    found = {name: "is a copy of the target" for name in names if _explains(y, [usable[name]], known, scaled=True)}
    rest, rows = _whole_rows(known, usable, [name for name in names if name not in found])
    for parts in _sums(y[rows], np.array([usable[name][rows] for name in rest]).reshape(len(rest), len(rows)), rest):
        if _explains(y, [usable[name] for name in parts], known, scaled=False):
            found |= {name: f"adds up to the target ({' and '.join(parts)})" for name in parts if name not in found}
    return found


def leaking_wide(y: Floats, offsets: Integers, columns: Mapping[str, Floats], *, total: bool) -> dict[str, str]:
    """The same for wide targets, which share their covariates: each of the first few, and their total where asked."""
    parts = [slice(int(low), int(high)) for low, high in pairwise(offsets)]
    found: dict[str, str] = {}
    for part in parts[:MOST_WIDE]:
        found |= leaking_columns(y[part], {name: values[part] for name, values in columns.items()})
    if total:
        whole = np.sum([y[part] for part in parts], axis=0)
        first = {name: values[parts[0]] for name, values in columns.items()}
        found |= {name: f"{why} (all of them together)" for name, why in leaking_columns(whole, first).items()}
    return found


def _speaks(values: Floats) -> bool:
    present = values[np.isfinite(values)]
    return len(present) >= SHARED * len(values) and bool(np.ptp(present) > 0)


def _whole_rows(known: Integers, usable: Mapping[str, Floats], names: list[str]) -> tuple[list[str], Integers]:
    """A sample of rows on which all columns are there; a column that leaves too few of them is not looked at."""
    names = list(names)
    there = {name: np.isfinite(usable[name][known]) for name in names}
    while True:
        whole = known[np.all([there[name] for name in names], axis=0)] if names else known
        if len(whole) >= min(SAMPLE_ROWS // 4, len(known) // 2) or not names:
            places = np.linspace(0, len(whole) - 1, SAMPLE_ROWS).astype(np.int64)
            return names, whole[np.unique(places)]
        names.remove(min(names, key=lambda name: int(there[name].sum())))


def _explains(y: Floats, parts: list[Floats], known: Integers, *, scaled: bool) -> bool:
    """Whether parts (each with factor ±1, or with any factor and shift when scaled) give y on all rows they share."""
    rows = known[np.isfinite(sum(part[known] for part in parts))]
    if len(rows) < SHARED * len(known):
        return False
    design = np.stack([part[rows] for part in parts] + ([np.ones(len(rows))] if scaled else []), axis=1)
    factors, *_ = np.linalg.lstsq(design, y[rows], rcond=None)
    if not scaled:
        factors = np.round(factors)
    gap = float(np.max(np.abs(design @ factors - y[rows])))
    return gap <= tolerance(y[rows], rounded=scaled) and bool(np.all(factors[: len(parts)] != 0))


def tolerance(y: Floats, *, rounded: bool) -> float:
    """The largest gap between a target and a copy of it; rounded: as much as a few digits in print would leave."""
    exact = TOLERANCE * float(np.max(np.abs(y)))
    low, high = np.quantile(y, [0.1, 0.9])
    return max(exact, ROUNDING * float(high - low)) if rounded else exact


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
