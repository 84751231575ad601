"""Which windows of a panel a model learns from: every origin, or only those at the phase it will be asked at."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.features import phase_of
from mcp_forecast_engine.models.spec import ForecastSpec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_WINDOWS = 40_000
# Windows times products of columns with columns and with steps ahead: what one fit may cost, a third of a second.
_MOST_PRODUCTS = 4e9
# Numbers that the regressors and targets of a fit may hold in memory: 400 MB.
_MOST_NUMBERS = 5e7
# Windows per column that a series' own weights want.
_OWN_WINDOWS = 2
_GOLDEN = (np.sqrt(5.0) - 1) / 2


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


def training_windows(
    panel: Panel,
    spec: ForecastSpec,
    *,
    until: Integers,
    by_season: bool,
    phases: Integers | None = None,
    by_series: bool = False,
    thin: float = 1.0,
) -> TrainingWindows:
    """List the windows whose last step lies before `until` (S), thinned to a bounded number.

    Thinning keeps the newest and skips evenly: whole seasons where phases are fitted apart (`by_season`), single
    origins otherwise, by multiples of the golden ratio, so that every phase keeps its part. phases: only
    those are needed. by_series: every series has weights of its own, which need windows of its own. thin: the part of
    the usual number.
    """
    m = max(spec.season_length, 1)
    last = until - spec.horizon
    first = np.where(last >= spec.lookback, spec.lookback, np.maximum(np.minimum(m, last), 1))
    counts = np.maximum(last - first + 1, 0)
    series = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    back = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    if by_season and phases is not None:
        stamps = panel.ds[panel.offsets[series] + last[series] - back]
        asked = np.isin(phase_of(stamps, panel.axis, m), phases)
        series, back = series[asked], back[asked]
    most = max(
        int(thin * most_windows(spec, by_season=by_season, by_series=int((counts > 0).sum()) if by_series else 0)), 1
    )
    if by_season:
        keep = (back // m) % (-(-len(series) // most) or 1) == 0
    else:
        keep = (back * _GOLDEN) % 1.0 <= most / max(len(series), 1)
    series, back = series[keep], back[keep]
    origin = last[series] - back
    phase = phase_of(panel.ds[panel.offsets[series] + origin], panel.axis, m)
    return TrainingWindows(series=series, origin=origin, phase=phase, age=back / np.maximum(counts[series], 1))


def most_windows(spec: ForecastSpec, *, by_season: bool, by_series: int = 0) -> int:
    """How many windows a fit may read, given roughly how many columns they have; by_series: series with own weights."""
    columns = columns_of(spec)
    work = _MOST_PRODUCTS / (columns * (columns + 2 * spec.horizon))
    # Where phases or series are fitted apart, each reads few of the windows, and needs what it can get.
    if by_season:
        return int(min(5 * MOST_WINDOWS, max(8 * work, 2_000), _MOST_NUMBERS / (columns + spec.horizon)))
    usual = min(MOST_WINDOWS, max(work, 2_000), _MOST_NUMBERS / (columns + spec.horizon))
    wanted = min(_OWN_WINDOWS * by_series * columns, 2 * work, _MOST_NUMBERS / (columns + spec.horizon))
    return int(max(usual, wanted))


def own_want_more(spec: ForecastSpec, series: int) -> bool:
    """Whether weights of so many series' own are fitted on more windows than weights that all share."""
    return most_windows(spec, by_season=False, by_series=series) > most_windows(spec, by_season=False)


def columns_of(spec: ForecastSpec) -> int:
    """Roughly how many columns a window has, from the question alone."""
    return spec.lookback + min(4 * spec.horizon * len(spec.known_future), 900) + 50 * len(spec.covariates)


def before(panel: Panel, until: Integers) -> Panel:
    """The panel cut at `until` (S) steps of history: what may be learned from at that time."""
    step = np.arange(len(panel.ds)) - np.repeat(panel.offsets[:-1], panel.lengths)
    keep = step < np.repeat(until, panel.lengths)
    return replace(
        panel,
        offsets=np.concatenate([[0], np.cumsum(np.clip(until, 0, panel.lengths))]).astype(np.int64),
        ds=panel.ds[keep],
        y=panel.y[keep],
        observed=panel.observed[keep],
        covariates={name: values[keep] for name, values in panel.covariates.items()},
    )


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
