"""Columns that give the target away: copies of it under any curve, parts that add up to it, factors of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.likeness import Evidence, alike, evidence, told

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SAMPLE_ROWS = 256
TOLERANCE = 1e-9
# A copy that was rounded for print is a copy still: the largest gap, as a part of the target's usual range.
ROUNDING = 1e-3
# Of what the past does not say about the target, a column that says this much is made of it; one that says the lesser
# part may be a very good forecast. Honest columns of public data say less than half (a day-ahead load forecast of the
# load itself, 0.8); a target cut to whole numbers says 0.998.
CERTAIN, PROBABLE = 0.995, 0.98
# Parts together leave at most this much of what the better one of them leaves.
TOGETHER = 0.2
# How far a sum of rounded parts may lie from the target, in units of its spread, to be looked at on all rows.
ROUGHLY = 0.15
# A column has to be there on this part of the rows to say anything about the target.
SHARED = 0.9
# Products of two are tried up to this many columns.
MAX_FACTORS = 12
# Sums of three are tried up to this many columns (2,024 triples); larger sums are found by least squares.
MAX_TRIPLE_COLUMNS = 24
# Wide targets looked at one by one; what gives one of them away is usually a column beside it.
MOST_WIDE = 8


def leaking_columns(
    y: Floats, columns: Mapping[str, Floats], offsets: Integers | None = None, season_length: int = 1
) -> dict[str, str]:
    """Name the columns from which the target can be computed on every row, with the reason.

    y: float64 (N), NaN where absent; columns: name → float64 (N). offsets: series i at offsets[i]:offsets[i + 1]; None:
    one series. Finds copies (scaled, shifted, rounded, bent by a monotone curve, with a little noise, of a part of the
    rows), sums and differences of two or three columns, products and ratios of two, and larger exact sums. A column
    that does so only by accident on a few rows is left.
    """
    known = np.flatnonzero(np.isfinite(y))
    if len(known) < 8 or np.ptp(y[known]) == 0:
        return {}
    shown = evidence(y, np.array([0, len(y)]) if offsets is None else offsets, season_length)
    usable = {name: values for name, values in columns.items() if _speaks(values[known])}
    names = sorted(usable)
    found = {name: "is a copy of the target" for name in names if _explains(y, [usable[name]], known, scaled=True)}
    alone = {name: told(shown, values) for name, values in sorted(columns.items()) if name not in found}
    found |= {name: _FOLLOWS for name, said in alone.items() if said >= CERTAIN}
    rest, rows = _whole_rows(known, usable, [name for name in names if name not in found])
    sample = np.array([usable[name][rows] for name in rest]).reshape(len(rest), len(rows))
    sums: list[tuple[str, ...]] = []
    for parts in _sums(y[rows], sample, rest):
        if any(set(fewer) < set(parts) for fewer in sums):  # another column beside a whole sum adds nothing
            continue
        exact = _explains(y, [usable[name] for name in parts], known, scaled=False)
        if exact or _add_up(shown, y, usable, alone, parts):
            sums.append(parts)
            found |= {name: f"adds up to the target ({' and '.join(parts)})" for name in parts if name not in found}
    return found | _factors(shown, usable, alone, [name for name in rest if name not in found][:MAX_FACTORS])


def suspects(y: Floats, columns: Mapping[str, Floats], offsets: Integers, season_length: int) -> dict[str, str]:
    """Columns so close to the target of their own step that a person should make sure they are known ahead, and why.

    Arguments as for `leaking_columns`, which finds what is certain.
    """
    shown = evidence(y, offsets, season_length)
    said = {name: told(shown, values) for name, values in sorted(columns.items())}
    return {
        name: f"explains {min(share, 0.999):.1%} of what the past leaves open of the target at the same step: make "
        "sure that it is known ahead"
        for name, share in said.items()
        if share >= PROBABLE
    }  # fmt: skip


_FOLLOWS = "follows the target at every step, but for a curve, rounding or a little noise"


def _add_up(
    shown: Evidence, y: Floats, columns: Mapping[str, Floats], alone: Mapping[str, float], parts: tuple[str, ...]
) -> bool:
    """Whether two or three parts, each rounded, leave next to nothing of the target together, and more one by one."""
    if len(parts) > 3:
        return False
    values = np.stack([columns[name] for name in parts], axis=1)
    rows = np.flatnonzero(np.isfinite(y) & np.isfinite(values).all(axis=1))
    factors, *_ = np.linalg.lstsq(values[rows], y[rows], rcond=None)
    said = told(shown, values @ np.round(factors))
    return said >= CERTAIN and 1 - said <= TOGETHER * (1 - max(alone[name] for name in parts))


def _factors(
    shown: Evidence, columns: Mapping[str, Floats], alone: Mapping[str, float], names: list[str]
) -> dict[str, str]:
    """Of two columns whose product or ratio is the target, the one that was measured rather than set.

    That has more distinct values, as a revenue or a quantity beside a price; of two alike, the one that goes with the
    target.
    """
    found: dict[str, str] = {}
    for one, other in combinations(names, 2):
        for text, made in _products(one, columns[one], other, columns[other]):
            said = told(shown, made)
            if said >= CERTAIN and 1 - said <= TOGETHER * (1 - max(alone[one], alone[other])):
                found.setdefault(
                    _measured(shown, columns, one, other), f"makes the target with another column ({text})"
                )
    return found


def _measured(shown: Evidence, columns: Mapping[str, Floats], one: str, other: str) -> str:
    fewer, more = sorted((one, other), key=lambda name: len(np.unique(columns[name])))
    if len(np.unique(columns[more])) >= 2 * len(np.unique(columns[fewer])):
        return more
    return max(one, other, key=lambda name: alike(shown, columns[name]))


def _products(one: str, a: Floats, other: str, b: Floats) -> list[tuple[str, Floats]]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        made = [(f"{one} × {other}", a * b), (f"{one} / {other}", a / b), (f"{other} / {one}", b / a)]
    return [(text, np.where(np.isfinite(values), values, np.nan)) for text, values in made]


def leaking_wide(
    y: Floats, offsets: Integers, columns: Mapping[str, Floats], *, total: bool, season_length: int = 1
) -> dict[str, str]:
    """The same for wide targets, which share their covariates: each of the first few, and their total where asked."""
    parts = [slice(int(low), int(high)) for low, high in pairwise(offsets)]
    found: dict[str, str] = {}
    for part in parts[:MOST_WIDE]:
        own = {name: values[part] for name, values in columns.items()}
        found |= leaking_columns(y[part], own, season_length=season_length)
    if total:
        whole = np.sum([y[part] for part in parts], axis=0)
        first = {name: values[parts[0]] for name, values in columns.items()}
        leaks = leaking_columns(whole, first, season_length=season_length)
        found |= {name: f"{why} (all of them together)" for name, why in leaks.items()}
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
    """Sets of columns that sum to y on the sample, up to signs: nearly for two and three, exactly for more."""
    close = TOLERANCE * max(1.0, float(np.max(np.abs(y))))
    # Squares of what a file may hold do not fit into a float.
    unit = float(np.std(y)) or 1.0
    near = close / unit + ROUGHLY
    y, columns = y / unit, columns / unit
    found: list[tuple[str, ...]] = []
    for i in range(len(names)):
        for sign in (1, -1):
            gap = y - sign * columns[i]
            for other in (1, -1):
                hits = np.flatnonzero(_size(gap - other * columns[i + 1 :]) <= near)
                found += [(names[i], names[i + 1 + int(j)]) for j in hits]
    if len(names) <= MAX_TRIPLE_COLUMNS:
        for i, j in combinations(range(len(names)), 2):
            hits = np.flatnonzero(_size(y - columns[i] - columns[j] - columns[j + 1 :]) <= near)
            found += [(names[i], names[j], names[j + 1 + int(k)]) for k in hits]
    if len(names) > 3 and len(y) > 2 * len(names):
        factors, *_ = np.linalg.lstsq(columns.T, y, rcond=None)
        whole = np.flatnonzero(np.abs(factors) > 0.5)
        rounded = float(np.max(np.abs(np.round(factors) @ columns - y)))
        if rounded <= close / unit and np.all(np.abs(np.round(factors[whole])) == 1):
            found.append(tuple(names[i] for i in whole))
    return sorted(set(found), key=len)


def _size(gaps: Floats) -> Floats:
    """The middle size of each row of gaps, which no outlier moves: (n, R) → (n)."""
    return np.asarray(np.median(np.abs(gaps), axis=1), np.float64) if len(gaps) else np.zeros(0)
