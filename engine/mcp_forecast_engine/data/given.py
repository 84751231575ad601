"""Where a panel's covariates were given, and where preprocessing filled them; futures that look filled as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Frame, Panel
from mcp_forecast_engine.data.frequency import parse_frequency

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Stretches of the past, a horizon long each, that are looked at; fewer are no evidence, and of these at most this part
# may have had one value only.
MOST_STRETCHES, FEWEST_STRETCHES, SELDOM = 100, 8, 0.02
UNCOUNTED: Final = (
    "the measured error, the share of outcomes within the intervals and the trust verdict are of covariates as they "
    "were: they do not count for this forecast"
)


def given_steps(frame: Frame, panel: Panel, name: str) -> Mask:
    """At which steps of the panel a covariate of its frame had a value, bool (N); a step may hold several rows.

    What all series share is given where one of them gives it.
    """
    step = parse_frequency(panel.axis.freq)
    ends = step.at_end or "W-" in step.alias  # the stamp of a month's end and of a week is the last of its days
    series = {series: i for i, series in enumerate(frame.unique_id)}
    found = np.zeros(len(panel.y), bool)
    for i, unique_id in enumerate(panel.unique_id):
        rows = slice(*frame.offsets[series[unique_id] : series[unique_id] + 2])
        low, high = panel.offsets[i : i + 2]
        at = frame.ds[rows][~np.isnan(frame.covariates[name][rows])]
        stamps = panel.ds[low:high]
        place = np.searchsorted(stamps, at) if ends else np.searchsorted(stamps, at, side="right") - 1
        found[low + place[(place >= 0) & (place < high - low)]] = True
    return _shared(panel, panel.covariates[name], found) if len(panel.unique_id) > 1 else found


def frozen_future(panel: Panel, names: Sequence[str], horizon: int) -> list[str]:
    """A warning per known-future column with one value in the whole future, where the past hardly ever had that.

    names: columns of the panel; one that is not given over all `horizon` steps is refused elsewhere.
    """
    if horizon < 2:
        return []
    found = []
    for name in names:
        ahead = panel.future[name][:, :horizon]
        whole = ahead.shape[1] == horizon
        if whole and np.all(ahead == ahead[:, :1]) and _varies(panel, panel.covariates[name], horizon):
            told = panel.categories[name][int(ahead[0, 0])] if name in panel.categories else f"{ahead[0, 0]:.6g}"
            of = "" if len(ahead) == 1 else " in each series"
            found.append(
                f"known-future covariate {name!r} has one value ({told}) at all {horizon} future steps{of}, as hardly "
                "ever in the history: it looks filled, not known ahead"
            )
    return found


def _varies(panel: Panel, values: Floats, horizon: int) -> bool:
    """Whether stretches of a horizon, counted back from the end of each series, nearly always had several values."""
    stretches, still = 0, 0
    for low, high in zip(panel.offsets[:-1], panel.offsets[1:], strict=True):
        count = min((high - low) // horizon, MOST_STRETCHES)
        parts = values[high - count * horizon : high].reshape(count, horizon)
        stretches += count
        still += int(np.sum(np.all(parts == parts[:, :1], axis=1)))
    return stretches >= FEWEST_STRETCHES and still <= SELDOM * stretches


def _shared(panel: Panel, values: Floats, given: Mask) -> Mask:
    """Given in all series, of a column that never differs between series where it is given."""
    times, at = np.unique(panel.ds, return_inverse=True)
    low, high = np.full(len(times), np.inf), np.full(len(times), -np.inf)
    np.minimum.at(low, at[given], values[given])
    np.maximum.at(high, at[given], values[given])
    return np.asarray((low <= high)[at], bool) if np.all((low == high) | (low > high)) else given
