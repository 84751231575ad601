"""Columns that are sums of several steps of the target: centred means, trailing means, differences.

For registration, which knows no horizon: it asks how new the newest step is, so that a role follows. Whether a column
tells more than is known by a horizon is another question, with wider and smoother sums: `data.smoothed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Steps of the target ahead that a column may be computed from, and twice as many before it; a day of hours. Fewer where
# there are fewer than sixteen times as many rows.
REACH, PART, FEWEST_ROWS = 24, 16, 80
MOST_SERIES, MOST_ROWS = 8, 400
# What rounding leaves of a column that is computed, and how much more its newest step must have said of it: a very good
# forecast leaves a hundredth of that.
LEFT, SAID, LITTLE = 3e-3, 200.0, 1e-5
# A column that is the cause of most of the target is known from it as well, but not the target's own noise from the
# column; of few distinct values none is.
NEWS, DISTINCT = 0.07, 10


def newest_target(y: Floats, offsets: Integers, columns: Mapping[str, Floats]) -> dict[str, int]:
    """Columns that are sums of the target's own steps, with how many steps later the newest of these is, 0 or more.

    y: float64 (N), NaN where absent, series at offsets[i]:offsets[i + 1]; columns: name → float64 (N). Each column is
    regressed on the steps around its own, oldest first: the newest is the one after which nothing is left. What the
    steps before its own say already is no news of the target and is left out.
    """
    around, rows, scale = _windows(y, offsets)
    found = {}
    for name, values in columns.items():
        there = np.isfinite(values[rows])
        if there.sum() < 3 * around.shape[1]:
            continue
        x = values[rows][there] / scale[there]
        if len(np.unique(x)) >= DISTINCT and (ahead := _newest(around[there], x)) >= 0:
            found[name] = ahead
    return found


def _windows(y: Floats, offsets: Integers) -> tuple[Floats, Integers, Floats]:
    """Targets around rows of some series, (R, 3 K + 1) in units of the series' spread; the rows, and that unit (R)."""
    draw = np.random.default_rng(0)
    spans = [(int(low), int(high)) for low, high in pairwise(offsets) if high - low >= FEWEST_ROWS]
    reach = min([REACH, *(((high - low) // PART) for low, high in spans)])
    found = []
    for low, high in spans[:: -(-len(spans) // MOST_SERIES) or 1]:
        own = y[low:high][np.isfinite(y[low:high])]
        unit = float(own.std()) if len(own) else 0.0
        if unit > 0:
            places = np.sort(draw.permutation(np.arange(low + 2 * reach, high - reach))[:MOST_ROWS])
            found.append((places, np.full(len(places), unit)))
    if not found:
        return np.zeros((0, 1)), np.zeros(0, np.int64), np.zeros(0)
    rows, scale = (np.concatenate(parts) for parts in zip(*found, strict=True))
    around = y[rows[:, None] + np.arange(-2 * reach, reach + 1)] / scale[:, None]
    whole = np.isfinite(around).all(axis=1)
    return around[whole], rows[whole], scale[whole]


def _newest(around: Floats, x: Floats) -> int:
    """Steps after its own of the newest target that a column holds, −1 for none."""
    own = around.shape[1] // 3 * 2  # the place of the row's own step
    axes, triangle = np.linalg.qr(np.column_stack([np.ones(len(x)), around]))
    axes, sides, x = axes[:, 1:], np.abs(np.diag(triangle))[1:], x - x.mean()
    said = axes.T @ x
    left = 1.0 - np.cumsum(said**2) / float(x @ x)  # after each step, oldest first
    end = max(float(left[-1]), 0.0)
    if end > LEFT:
        return -1
    place = int(np.flatnonzero(left <= 3 * end + 1e-9)[0])
    before = float(left[place - 1]) if place else 1.0
    if place < own or before < max(SAID * end, LITTLE):
        return -1
    # In the target's units: what the column leaves of that step against what the steps before leave of it.
    rest, news = x - axes[:, : place + 1] @ said[: place + 1], axes[:, place] * sides[place]
    return place - own if _middle(rest) * sides[place] <= abs(said[place]) * NEWS * _middle(news) else -1


def _middle(values: Floats) -> float:
    """The middle distance from the middle value: of what is mostly alike the size of what is alike, not of the rest."""
    return float(np.median(np.abs(values - np.median(values))))
