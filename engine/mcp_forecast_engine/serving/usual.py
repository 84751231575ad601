"""What a model would usually have read: the reference that a forecast is explained against."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.calendar import calendar_features
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.features import Inputs, Layout

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Four weeks of hours, half a year of days, the years there are of months: long enough to be typical, short enough to
# know the time of the year.
RECENT_SEASONS = 28


def usual_inputs(panel: Panel, layout: Layout, real: Inputs) -> Inputs:
    """The inputs of a usual season at the end of every series of the panel; `real` are what `tail_inputs` gathered.

    A covariate takes, at each step, the middle one of its values at the same place of the season over the last 28
    seasons of its series (a category its most frequent one), a static one the middle one over the series: values that
    did happen. The target repeats the lookback's own mean season, at its level. The calendar is the mean over the
    forecasts that could have started at the same place of those seasons. Phase and length of the history stay.
    """
    cov_hist, cov_future = np.empty_like(real.cov_hist), np.empty_like(real.cov_future)
    calendar = np.empty_like(real.calendar)
    for i, (start, end) in enumerate(zip(panel.offsets[:-1], panel.offsets[1:], strict=True)):
        for place, name in enumerate(layout.cov_hist):
            profile = _profile(panel.covariates[name][start:end], layout.season_length, name in panel.categories)
            cov_hist[i, :, place] = profile[np.arange(-layout.past, 0) % len(profile)]
            if name in layout.known_future:
                ahead = layout.known_future.index(name)
                cov_future[i, :, ahead] = profile[np.arange(layout.horizon) % len(profile)]
        calendar[i] = _calendar(panel.ds[start:end], layout)
    return replace(
        real,
        target=usual_target(real.target, layout.season_length),
        cov_hist=cov_hist,
        cov_future=cov_future,
        calendar=calendar,
        static=_statics(panel, layout, real.static),
    )


def usual_target(target: Floats, season_length: int) -> Floats:
    """The mean season of each window, repeated through its lookback: (B, lookback) → (B, lookback).

    Below two seasons a window cannot tell what is usual of one: it is its mean.
    """
    size, lookback = target.shape
    m = max(season_length, 1)
    if lookback < 2 * m:
        return np.repeat(target.mean(axis=1, keepdims=True), lookback, axis=1)
    whole = lookback // m
    season = target[:, lookback - whole * m :].reshape(size, whole, m).mean(axis=1)
    return np.asarray(season[:, np.arange(-lookback, 0) % m], np.float64)


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
