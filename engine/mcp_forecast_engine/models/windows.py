"""Which windows of a panel a model learns from: every origin, or only those at the phase it will be asked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.models.features import phase_of
from mcp_forecast_engine.models.spec import ForecastSpec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_WINDOWS = 40_000
# Windows times products of columns with columns and with steps ahead: what one fit may cost, a third of a second.
_MOST_PRODUCTS = 4e9
# Numbers that the regressors and targets of a fit may hold in memory: 400 MB.
_MOST_NUMBERS = 5e7
_SOME_LOOKBACKS = 1_000
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


def no_window(spec: ForecastSpec, until: Integers) -> HistoryTooShort:
    """The refusal where no training window of a question ends before `until` (S)."""
    rows = spec.horizon + spec.season
    return HistoryTooShort(
        f"no training window fits into the history: the longest series has {int(until.max(initial=0))} rows to learn "
        f"from, for a horizon of {spec.horizon} and a season of {spec.season} steps",
        field="horizon",
        allowed={"rows": rows},
        next_step=f"send {rows} rows per series or more, or shorten the horizon",
    )


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


def earlier_targets(panel: Panel, lookback: int, until: Integers) -> Floats:
    """Up to a thousand lookbacks that lie before `until` (S), taken evenly, (n, lookback).

    Where no series is as long, as many steps as the longest has.
    """
    steps = int(min(lookback, until.max(initial=0)))
    counts = np.maximum(until - steps + 1, 0) if steps > 0 else np.zeros(len(until), np.int64)
    ends = np.cumsum(counts)
    total = int(counts.sum())
    at = np.unique(np.linspace(0, max(total - 1, 0), min(_SOME_LOOKBACKS, total)).astype(np.int64))
    series = np.searchsorted(ends, at, side="right")
    first = panel.offsets[series] + at - (ends - counts)[series]
    return np.asarray(panel.y[first[:, None] + np.arange(max(steps, 1))], np.float64)


def before(panel: Panel, until: Integers) -> Panel:
    """The panel cut at `until` (S) steps of history: what may be learned from at that time."""
    if np.all(until >= panel.lengths):
        return panel
    keep = np.flatnonzero(panel.steps < np.repeat(until, panel.lengths))
    return replace(
        panel,
        offsets=np.concatenate([[0], np.cumsum(np.clip(until, 0, panel.lengths))]).astype(np.int64),
        ds=panel.ds[keep],
        y=panel.y[keep],
        observed=panel.observed[keep],
        covariates={name: values[keep] for name, values in panel.covariates.items()},
    )


def learnt(panel: Panel, origins: Sequence[Integers]) -> Integers:
    """Steps before the first of some origins of each series, (S); of series that have none (-1), all of them."""
    table = np.stack(origins)
    return np.asarray(np.where(table >= 0, table, panel.lengths).min(axis=0), np.int64)


def seasonal_change(panel: Panel, season_length: int, until: Integers) -> Floats:
    """Mean absolute seasonal difference of each series before `until`, (S); NaN where none is observed.

    The scale of MASE (Hyndman and Koehler 2006): mean of |y[t] - y[t - m]| over steps that were both observed.
    """
    step, m = panel.steps, season_length
    at = np.flatnonzero((step >= m) & (step < np.repeat(until, panel.lengths)))
    at = at[panel.observed[at] & panel.observed[at - m]]
    count = len(panel.unique_id)
    series = np.repeat(np.arange(count), panel.lengths)[at]
    total = np.bincount(series, weights=np.abs(panel.y[at] - panel.y[at - m]), minlength=count)
    steps = np.bincount(series, minlength=count)
    return np.asarray(np.where(steps > 0, total / np.maximum(steps, 1), np.nan), np.float64)


def usual_change(panel: Panel, season_length: int, until: Integers) -> Floats:
    """What errors of each series are divided by, (S): its seasonal change before `until` (S), in the series' units.

    A series that has none, or never changed, takes the median of the others; 1 where no series has any.
    """
    change = seasonal_change(panel, season_length, until)
    usual = float(np.nanmedian(change)) if np.isfinite(change).any() else 1.0
    return np.asarray(np.where(np.nan_to_num(change) > 0, change, usual or 1.0), np.float64)
