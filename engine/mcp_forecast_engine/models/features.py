"""What a model may read at one origin: past target, covariates, calendar and phase; the same code trains and serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.calendar import calendar_features
from mcp_forecast_engine.data.frame import Panel, TimeAxis
from mcp_forecast_engine.data.frequency import parse_frequency
from mcp_forecast_engine.data.grid import next_stamps, steps_since
from mcp_forecast_engine.errors import CovariatesMismatch, HistoryTooShort
from mcp_forecast_engine.models.spec import ForecastSpec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LONGEST_PAST = 48


@dataclass(frozen=True)
class Layout:
    """Which columns a model reads and in which order; travels inside the exported model.

    past: steps of every covariate before the origin (at most one season). calendar: derived columns of the first
    forecast step, which fix those of the others. static: one value per series.
    """

    horizon: int
    lookback: int
    season_length: int
    past: int
    axis: TimeAxis
    historical: tuple[str, ...]
    known_future: tuple[str, ...]
    calendar: tuple[str, ...]
    static: tuple[str, ...]

    @property
    def cov_hist(self) -> tuple[str, ...]:
        """Columns of the input `cov_hist`: historical, then the past of the known-future covariates."""
        return (*self.historical, *self.known_future)


@dataclass(frozen=True)
class Inputs:
    """What one batch of B origins hands to a model; the truth is never part of it.

    target: (B, lookback). cov_hist: (B, past, H). cov_future: (B, horizon, F), known-future
    covariates. calendar: (B, C), of the first forecast step. static: (B, G).
    phase: int64 (B), the place of the first forecast step within its season, 0 .. m - 1.
    """

    target: Floats
    cov_hist: Floats
    cov_future: Floats
    calendar: Floats
    static: Floats
    phase: Integers

    def __len__(self) -> int:
        return len(self.target)


def layout_for(spec: ForecastSpec, axis: TimeAxis) -> Layout:
    """Fix the columns of a specification on a time axis."""
    calendar, _ = calendar_features(np.zeros(1, np.int64), axis)
    return Layout(
        horizon=spec.horizon,
        lookback=spec.lookback,
        season_length=spec.season_length,
        past=max(min(spec.season_length, spec.lookback, _LONGEST_PAST), 1),
        axis=axis,
        historical=spec.historical,
        known_future=spec.known_future,
        calendar=calendar,
        static=spec.static,
    )


def phase_of(ds: Integers, axis: TimeAxis, season_length: int) -> Integers:
    """Place of a timestamp within its season, counted from 1970-01-01 (or from step 0), int64 of the same shape."""
    step = parse_frequency(axis.freq)
    start = np.zeros(1, np.int64)
    if step.unit == "business":
        start = np.full(1, 86_400 * 4, np.int64)  # Monday 1970-01-05: a business grid cannot start on a weekend.
    return np.asarray(steps_since(start, np.asarray(ds, np.int64), step) % max(season_length, 1), np.int64)


def inputs_at(panel: Panel, layout: Layout, series: Integers, origin: Integers) -> Inputs:
    """Gather the inputs of B windows that lie inside the panel.

    series: int64 (B) index into the panel. origin: int64 (B), steps of history; origin + horizon <= length.
    A history shorter than the lookback is continued backwards by its own first season.
    """
    base = panel.offsets[series]
    ahead = (base + origin)[:, None] + np.arange(layout.horizon)
    ds = panel.ds[ahead]
    future = {name: panel.covariates[name][ahead] for name in layout.known_future}
    return _assemble(panel, layout, series=series, origin=origin, ds=ds, future=future)


def tail_inputs(panel: Panel, layout: Layout) -> Inputs:
    """Gather the inputs for a forecast from the end of every series.

    Raises CovariatesMismatch, naming the columns, where the panel lacks covariates or their future rows;
    HistoryTooShort where a series is empty.
    """
    _require_columns(panel, layout)
    if np.any(panel.lengths < 1):
        raise HistoryTooShort("a series has no rows; at least one is needed", field="series")
    h = layout.horizon
    future = {name: panel.future[name][:, :h] for name in layout.known_future}
    series = np.arange(len(panel.unique_id), dtype=np.int64)
    return _assemble(panel, layout, series=series, origin=panel.lengths, ds=tail_stamps(panel, h), future=future)


def tail_stamps(panel: Panel, horizon: int) -> Integers:
    """The timestamps after the end of every series, int64 (S, horizon)."""
    return next_stamps(panel.ds[panel.offsets[1:] - 1], horizon, parse_frequency(panel.axis.freq))


def _assemble(
    panel: Panel,
    layout: Layout,
    *,
    series: Integers,
    origin: Integers,
    ds: Integers,
    future: Mapping[str, Floats],
) -> Inputs:
    base = panel.offsets[series]
    back = base[:, None] + _past_steps(origin, layout.lookback, layout.season_length)
    recent = back[:, -layout.past :]
    static = [panel.covariates[name][base] for name in layout.static]
    past = [panel.covariates[name][recent] for name in layout.cov_hist]
    ahead = [future[name] for name in layout.known_future]
    size, h = ds.shape
    return Inputs(
        target=panel.y[back],
        cov_hist=np.stack(past, axis=2) if past else np.zeros((size, layout.past, 0)),
        cov_future=np.stack(ahead, axis=2) if ahead else np.zeros((size, h, 0)),
        calendar=_calendar(ds[:, 0], layout),
        static=np.stack(static, axis=1) if static else np.zeros((size, 0)),
        phase=phase_of(ds[:, 0], layout.axis, layout.season_length),
    )


def _past_steps(origin: Integers, lookback: int, season_length: int) -> Integers:
    """Indices of the lookback within each series, (B, lookback)."""
    back = origin[:, None] + np.arange(-lookback, 0)
    if not np.any(back < 0):
        return np.asarray(back, np.int64)
    first = np.minimum(max(season_length, 1), origin)[:, None]
    return np.asarray(np.where(back < 0, back % first, back), np.int64)


def _calendar(ds: Integers, layout: Layout) -> Floats:
    """Calendar columns of B timestamps, (B, C); each distinct one is computed once."""
    if not layout.calendar:
        return np.zeros((len(ds), 0))
    stamps, place = np.unique(ds, return_inverse=True)
    _, columns = calendar_features(stamps, layout.axis)
    return columns[place]


def _require_columns(panel: Panel, layout: Layout) -> None:
    absent = [n for n in (*layout.cov_hist, *layout.static) if n not in panel.covariates]
    if absent:
        raise CovariatesMismatch(
            f"the model reads {', '.join(absent)}, which the data lacks",
            field="covariates",
            allowed=[*layout.cov_hist, *layout.static],
            next_step="add the columns, or forecast with a model trained without them",
        )
    rows = {n: panel.future[n].shape[1] if n in panel.future else 0 for n in layout.known_future}
    short = {n: found for n, found in rows.items() if found < layout.horizon}
    if short:
        found = ", ".join(f"{n} ({rows} of {layout.horizon} rows)" for n, rows in short.items())
        raise CovariatesMismatch(
            f"future values are missing for {found}; the model reads all {layout.horizon} steps it was trained for, "
            "also when fewer are forecast",
            field="future",
            allowed=list(layout.known_future),
            next_step=f"send {layout.horizon} future rows per series with these columns, or use the target-only model",
        )
