"""What a model would usually have read: the reference that a forecast is explained against."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.calendar import calendar_features
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.features import Inputs, Layout, past_at

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Four weeks of hours, half a year of days, the years there are of months: long enough to be typical, short enough to
# know the time of the year.
RECENT_SEASONS = 28
# Histories that stand for the usual one: few, because each is forecast anew for every set of factors.
REFERENCES = 6


def usual_inputs(panel: Panel, layout: Layout, real: Inputs) -> tuple[Inputs, ...]:
    """The usual inputs at the end of every series of the panel, six times; `real` are what `tail_inputs` gathered.

    The past of target and covariates is what the model would have read at six earlier ends of the series
    (`usual_ends`): histories that did happen, so that the units of a window are usual too. A covariate that is known
    ahead takes, at each step, the middle one of its values at the same place of the season over the last 28 seasons of
    its series (a category its most frequent one), a static one the middle one over the series. The calendar is the mean
    over the forecasts that could have started at the same place of those seasons. The phase stays. A series too short
    to have had an earlier end keeps its own history.
    """
    cov_future, calendar = np.empty_like(real.cov_future), np.empty_like(real.calendar)
    ends = np.empty((REFERENCES, len(real)), np.int64)
    for i, (start, end) in enumerate(zip(panel.offsets[:-1], panel.offsets[1:], strict=True)):
        for place, name in enumerate(layout.known_future):
            profile = _profile(panel.covariates[name][start:end], layout.season_length, name in panel.categories)
            cov_future[i, :, place] = profile[np.arange(layout.horizon) % len(profile)]
        calendar[i] = _calendar(panel.ds[start:end], layout)
        ends[:, i] = usual_ends(panel.y[start:end], layout)
    usual = replace(real, cov_future=cov_future, calendar=calendar, static=_statics(panel, layout, real.static))
    pasts = [past_at(panel, layout, end) for end in ends]
    return tuple(
        replace(usual, target=target, cov_hist=cov_hist, known=np.minimum(end, layout.lookback))
        for end, (target, cov_hist) in zip(ends, pasts, strict=True)
    )


def usual_ends(y: Floats, layout: Layout) -> Integers:
    """At which earlier ends of a series (steps of history) the model reads what is usual, int64 (6), ascending.

    Whole seasons back, where the whole lookback is genuine, or half of the history where the lookback is longer; of
    the last 28, or as far back as two lookbacks where the season is short, the six whose mean and spread lie nearest
    to the middle ones. Fewer are repeated; none: the end itself.
    """
    m = max(layout.season_length, 1)
    least = min(layout.lookback, max(len(y) // 2, m, 1))
    most = min((len(y) - least) // m, max(RECENT_SEASONS, 2 * layout.lookback // m))
    if most < 1:
        return np.full(REFERENCES, len(y), np.int64)
    back = np.unique(np.linspace(1, most, min(most, RECENT_SEASONS)).astype(np.int64))
    ends = len(y) - m * back
    windows = [y[max(end - layout.lookback, 0) : end] for end in ends]
    level, spread = (np.array([float(measure(window)) for window in windows]) for measure in (np.mean, np.std))
    strange = _beside(level) + _beside(spread)
    chosen = np.sort(ends[np.argsort(strange, kind="stable")[:REFERENCES]])
    return np.asarray(chosen[np.arange(REFERENCES) * len(chosen) // REFERENCES], np.int64)


def _beside(values: Floats) -> Floats:
    """How far each value lies from the middle one, in units of how far they usually do."""
    far = np.abs(values - np.median(values))
    return far / (float(far.mean()) or 1.0)


def _profile(values: Floats, season_length: int, categorical: bool) -> Floats:
    """The typical value at each place of the season, counted from the end on; a single one where values are short."""
    return _typical(_recent_seasons(values, season_length), categorical)


def _typical(rows: Floats, categorical: bool) -> Floats:
    """The middle value of every column, (n, k) → (k), or the most frequent one; of two middle values the lower."""
    if not categorical:
        return np.asarray(np.sort(rows, axis=0)[(len(rows) - 1) // 2], np.float64)
    codes = np.unique(rows)
    return np.asarray(codes[np.argmax([(rows == code).sum(axis=0) for code in codes], axis=0)], np.float64)


def _recent_seasons(values: NDArray[np.float64], season_length: int) -> Floats:
    """The last whole seasons, (K, m), or every value, (K, 1), where there is no whole one."""
    m = max(season_length, 1)
    count = min(len(values) // m, RECENT_SEASONS)
    return values[len(values) - count * m :].reshape(count, m) if count else values[:, None]


def _calendar(ds: Integers, layout: Layout) -> Floats:
    """Mean calendar of the first steps of the last seasons, (C)."""
    m = max(layout.season_length, 1)
    stamps = ds[::-1][m - 1 :: m][:RECENT_SEASONS]  # as far from the end as a season, two, …
    _, columns = calendar_features(stamps if len(stamps) else ds, layout.axis)
    return np.asarray(columns.mean(axis=0), np.float64)


def _statics(panel: Panel, layout: Layout, real: Floats) -> Floats:
    usual = [_typical(real[:, [i]], name in panel.categories)[0] for i, name in enumerate(layout.static)]
    return np.broadcast_to(np.array(usual, np.float64), real.shape)
