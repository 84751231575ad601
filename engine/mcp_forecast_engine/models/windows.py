"""Which windows of a panel a model learns from: every origin, or only those at the phase it will be asked at."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.features import phase_of
from mcp_forecast_engine.models.spec import ForecastSpec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_WINDOWS = 40_000
# Windows times columns squared: what one fit may cost, about a second.
_MOST_PRODUCTS = 2e10


@dataclass(frozen=True)
class TrainingWindows:
    """W windows that lie inside the history: series, origin (steps of history), phase of the first step, and age,
    the part of the series' usable history after the origin (0: the newest window)."""

    series: Integers
    origin: Integers
    phase: Integers
    age: Floats

    def __len__(self) -> int:
        return len(self.series)

    def where(self, keep: NDArray[np.bool_]) -> TrainingWindows:
        """The windows marked."""
        return TrainingWindows(self.series[keep], self.origin[keep], self.phase[keep], self.age[keep])


def training_windows(panel: Panel, spec: ForecastSpec, *, until: Integers, by_season: bool) -> TrainingWindows:
    """List the windows whose last step lies before `until` (S), thinned to a bounded number.

    Thinning keeps the newest and skips evenly: whole seasons where phases are fitted apart (`by_season`), single
    origins otherwise, with a stride that shares no factor with the season so that all phases stay in.
    """
    m = max(spec.season_length, 1)
    last = until - spec.horizon
    first = np.where(last >= spec.lookback, spec.lookback, np.maximum(np.minimum(m, last), 1))
    counts = np.maximum(last - first + 1, 0)
    series = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    back = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    # Where phases are fitted apart a fit reads few of the windows at a time, and each phase needs what it can get.
    most = _most(spec) * (4 if by_season else 1)
    stride = -(-int(counts.sum()) // most) or 1
    while not by_season and gcd(stride, m) > 1:
        stride += 1
    keep = (back // m if by_season else back) % stride == 0
    series, back = series[keep], back[keep]
    origin = last[series] - back
    phase = phase_of(panel.ds[panel.offsets[series] + origin], panel.axis, m)
    return TrainingWindows(series=series, origin=origin, phase=phase, age=back / np.maximum(counts[series], 1))


def _most(spec: ForecastSpec) -> int:
    """How many windows a fit may read, given roughly how many columns they have."""
    columns = spec.lookback + min(4 * spec.horizon * len(spec.known_future), 900) + 50 * len(spec.covariates)
    return min(MOST_WINDOWS, max(int(_MOST_PRODUCTS / columns**2), 2_000))


def seasonal_change(panel: Panel, season_length: int, until: Integers) -> Floats:
    """Mean absolute seasonal difference of each series before `until`, (S); NaN where none is observed.

    The scale of MASE (Hyndman and Koehler 2006): mean of |y[t] - y[t - m]| over steps that were both observed.
    """
    out = np.full(len(panel.unique_id), np.nan)
    for i, (start, steps) in enumerate(zip(panel.offsets[:-1], until, strict=True)):
        y, seen = panel.y[start : start + steps], panel.observed[start : start + steps]
        m = season_length
        both = seen[m:] & seen[:-m]
        if both.any():
            out[i] = np.abs(y[m:] - y[:-m])[both].mean()
    return out
