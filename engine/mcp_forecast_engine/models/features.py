"""What a model may read at one origin: past target, covariates, calendar and phase; the same code trains and serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
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
_SEVERAL = 8  # from so many windows on, copying whole runs is faster than an index of every step


@dataclass(frozen=True)
class Layout:
    """Which columns a model reads and in which order; travels inside the exported model.

    past: steps of every covariate before the origin (at most one season). calendar: derived columns of the first
    forecast step, which fix those of the others. static: one value per series. series: names of the training series,
    where the model has weights of their own for them.
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
    series: tuple[str, ...] = ()

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
    known: int64 (B), how many of the last steps of target are genuine; the others continue a short history backwards.
    series: int64 (B), place among the layout's series; -1 for one that the model was not trained on.
    """

    target: Floats
    cov_hist: Floats
    cov_future: Floats
    calendar: Floats
    static: Floats
    phase: Integers
    known: Integers
    series: Integers

    def __len__(self) -> int:
        return len(self.target)

    def take(self, part: slice | Integers | NDArray[np.bool_]) -> Inputs:
        """Some of the windows."""
        return Inputs(**{name: getattr(self, name)[part] for name in self.__dataclass_fields__})

    def narrow(self, whole: Layout, own: Layout) -> Inputs:
        """What a member of a combination reads of the inputs that were gathered for all of them."""
        if whole == own:
            return self
        hist = [whole.cov_hist.index(name) for name in own.cov_hist]
        ahead = [whole.known_future.index(name) for name in own.known_future]
        fixed = [whole.static.index(name) for name in own.static]
        return Inputs(
            target=self.target[:, whole.lookback - own.lookback :],
            cov_hist=self.cov_hist[:, whole.past - own.past :, hist],
            cov_future=self.cov_future[:, :, ahead],
            calendar=self.calendar,
            static=self.static[:, fixed],
            phase=self.phase,
            known=np.minimum(self.known, own.lookback),
            series=self.series,
        )


def joined(parts: Sequence[Inputs]) -> Inputs:
    """The windows of several batches, one after the other."""
    return Inputs(
        **{name: np.concatenate([getattr(one, name) for one in parts]) for name in Inputs.__dataclass_fields__}
    )


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


def widest(layouts: Sequence[Layout]) -> Layout:
    """One layout that holds what each of several reads; they share horizon, season and time axis."""
    return replace(
        layouts[0],
        lookback=max(layout.lookback for layout in layouts),
        past=max(layout.past for layout in layouts),
        historical=tuple(sorted({name for layout in layouts for name in layout.historical})),
        known_future=tuple(sorted({name for layout in layouts for name in layout.known_future})),
        static=tuple(sorted({name for layout in layouts for name in layout.static})),
        # Members are fitted on one panel: those that know series know the same ones.
        series=max((layout.series for layout in layouts), key=len),
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
    return tail_of(panel, layout)[0]


def tail_of(panel: Panel, layout: Layout) -> tuple[Inputs, Integers]:
    """`tail_inputs`, and the timestamps they are for, `tail_stamps`."""
    _require_columns(panel, layout)
    lengths, h = panel.lengths, layout.horizon
    if np.any(lengths < 1):
        raise HistoryTooShort(
            "a series has no rows; at least one is needed", field="dataset_id", allowed="one row per series, at least",
            next_step="leave that series out, or add its history",
        )  # fmt: skip
    future = {name: panel.future[name][:, :h] for name in layout.known_future}
    series, ds = np.arange(len(lengths), dtype=np.int64), tail_stamps(panel, h)
    return _assemble(panel, layout, series=series, origin=lengths, ds=ds, future=future), ds


def past_at(panel: Panel, layout: Layout, origin: Integers) -> tuple[Floats, Floats]:
    """What is read before one origin of every series: target (S, lookback) and covariates (S, past, H).

    origin: int64 (S), steps of history, at least 1.
    """
    columns = (panel.y, *(panel.covariates[name] for name in layout.cov_hist))
    target, *past = _past_of(columns, panel.offsets[:-1], origin, layout)
    return target, _side_by_side(past, (len(origin), layout.past))


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
    target, *past = _past_of((panel.y, *(panel.covariates[name] for name in layout.cov_hist)), base, origin, layout)
    static = [panel.covariates[name][base] for name in layout.static]
    ahead = [future[name] for name in layout.known_future]
    return Inputs(
        target=target,
        cov_hist=_side_by_side(past, (len(base), layout.past)),
        cov_future=_side_by_side(ahead, ds.shape),
        calendar=_calendar(ds[:, 0], layout),
        static=_side_by_side(static, base.shape),
        phase=phase_of(ds[:, 0], layout.axis, layout.season_length),
        known=np.minimum(origin, layout.lookback).astype(np.int64),
        series=_places(panel.unique_id, layout.series)[series],
    )


def _side_by_side(columns: Sequence[Floats], shape: tuple[int, ...]) -> Floats:
    """Columns of one shape along a new last axis: `np.stack` without its checks, which cost as much as a forecast."""
    found = np.empty((*shape, len(columns)))
    for i, column in enumerate(columns):
        found[..., i] = column
    return found


def _places(names: tuple[str, ...], known: tuple[str, ...]) -> Integers:
    """Where each series of a panel stands among those a model knows, -1 where it does not."""
    if not known:
        return np.full(len(names), -1, np.int64)
    if names == known:
        return np.arange(len(names), dtype=np.int64)
    place = {name: i for i, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in names], np.int64)


def _past_of(columns: Sequence[Floats], base: Integers, origin: Integers, layout: Layout) -> list[Floats]:
    """The lookback of the first column, the recent past of the others, (B, lookback) and (B, past).

    base: int64 (B), where the series begin in the columns.
    """
    steps = [layout.lookback, *(layout.past for _ in columns[1:])]
    if len(origin) > _SEVERAL and origin.min() >= layout.lookback:
        end = base + origin
        return [sliding_window_view(column, n)[end - n] for column, n in zip(columns, steps, strict=True)]
    back = base[:, None] + _past_steps(origin, layout.lookback, layout.season_length)
    return [column[back[:, -n:]] for column, n in zip(columns, steps, strict=True)]


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
    if len(ds) == 1:
        return calendar_features(ds, layout.axis)[1]
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
            next_step=f"send {layout.horizon} future rows per series with these columns, or "
            "forecast with a training run that was asked for covariates=[]",
        )
