"""Training windows as regressors and targets in their own units, and which of them a fit at an origin may read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.design import Design, design_for
from mcp_forecast_engine.models.features import Layout, inputs_at, layout_for, phase_of
from mcp_forecast_engine.models.ridge_recipe import Recipe
from mcp_forecast_engine.models.scaling import FURTHEST, Transform, Yardstick, growth_of, local_scale, reach_of, widened
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.windows import TrainingWindows, before, training_windows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

POOLED = -1
_CHUNK = 512


@dataclass(frozen=True)
class Examples:
    """R training windows of a panel, in the order of series and then from new to old.

    rows: (R, p), targets: (R, H), in each window's units. series, origin, phase: int64 (R). first: int64 (S), the first
    origin a window of each series may have. growth: (R), see `growth_of`. p and H as design and layout say.
    """

    layout: Layout
    design: Design
    transform: Transform
    yard: Yardstick
    rows: Floats
    targets: Floats
    series: Integers
    origin: Integers
    phase: Integers
    first: Integers
    growth: Floats

    def at(self, origin: Integers, recent: float, slot: int) -> Booleans:
        """The windows that had ended at `origin` (S; -1: series left out), of the recent part asked for, in one slot.

        recent: a part of each series' windows (up to 1), or a number of seasons (above 1).
        """
        last = origin - self.layout.horizon
        steps = recent * max(self.layout.season_length, 1) if recent > 1 else recent * (last - self.first + 1)
        oldest = last - np.ceil(steps).astype(np.int64)
        found = (self.origin <= last[self.series]) & (self.origin > oldest[self.series])
        return found if slot == POOLED else found & (self.phase == slot)

    def bounds(self, origin: Integers) -> tuple[Floats, Floats]:
        """The range of the targets seen before `origin` with its margin, (H) each: no forecast lies beyond."""
        seen = self.targets[self.at(origin, 1.0, POOLED)]
        low, high = seen.min(axis=0, initial=np.inf), seen.max(axis=0, initial=-np.inf)
        return widened(low, high, self.transform)

    def reach(self, origin: Integers) -> float:
        """How many times the largest value of its lookback a forecast may be, from the targets before `origin` (S)."""
        return reach_of(self.growth[self.at(origin, 1.0, POOLED)], self.transform)


def gather(
    panel: Panel,
    spec: ForecastSpec,
    recipe: Recipe,
    *,
    learn: Integers,
    until: Integers,
    phases: Integers | None,
    thin: float = 1.0,
    seen: Integers | None = None,
    dtype: type = np.float64,
) -> Examples:
    """Read the training windows that end before `until` (S); bases and constants come from before `learn` (S).

    seen: (S), where bases of covariates may come from later than constants of the target (default: `learn`).
    thin, dtype: the part of the usual number of windows, and the precision, that are enough where only choices hang on
    them.
    """
    wide = recipe.spec(spec)
    layout, design, yard = _learned(panel, spec, recipe, learn, learn if seen is None else seen)
    windows = training_windows(
        panel, wide, until=until, by_season=recipe.aligned, phases=phases, by_series=recipe.local is not None, thin=thin
    )
    rows, targets, usable, growth = _read(panel, windows, layout, design, recipe.transform, yard, dtype=dtype)
    kept = _kept(usable, windows.origin + spec.horizon <= learn[windows.series])
    first = np.full(len(panel.unique_id), np.iinfo(np.int64).max // 2)
    np.minimum.at(first, windows.series, windows.origin)
    return Examples(
        layout=layout,
        design=design,
        transform=recipe.transform,
        yard=yard,
        rows=rows if kept.all() else rows[kept],
        targets=targets if kept.all() else targets[kept],
        series=windows.series[kept],
        origin=windows.origin[kept],
        phase=windows.phase[kept],
        first=first,
        growth=growth[kept],
    )


def _learned(
    panel: Panel, spec: ForecastSpec, recipe: Recipe, learn: Integers, seen: Integers
) -> tuple[Layout, Design, Yardstick]:
    """What a training part says before its windows are read: constants of the target, and bases of its covariates."""
    known = before(panel, learn)
    layout = layout_for(recipe.spec(spec), panel.axis)
    yard = recipe.yardstick(known, spec)
    if recipe.local is not None or yard.by_series:
        layout = replace(layout, series=panel.unique_id)
    wider = known if np.array_equal(seen, learn) else before(panel, seen)
    return layout, design_for(wider, layout, by_season=recipe.aligned), yard


def _kept(usable: Booleans, early: Booleans) -> Booleans:
    """The windows to fit on. usable: those with units of their own; early: those that end before constants do.

    A flat lookback would drown the others. Where all are flat early on, they stay: a product on the shelf for a week,
    after a year of zeros, has nothing else to be fitted on at first.
    """
    kept = usable if usable[early].any() else usable | early
    return kept if kept.any() else np.ones(len(kept), bool)


def phases_after(panel: Panel, spec: ForecastSpec, series: Integers, origin: Integers) -> Integers:
    """Phases at which windows begin, each once; origins may lie at the end of their series."""
    last = phase_of(panel.ds[panel.offsets[series] + origin - 1], panel.axis, spec.season_length)
    return np.unique((last + 1) % max(spec.season_length, 1))


def _read(
    panel: Panel,
    windows: TrainingWindows,
    layout: Layout,
    design: Design,
    transform: Transform,
    yard: Yardstick,
    *,
    dtype: type,
) -> tuple[Floats, Floats, Booleans, Floats]:
    """Regressors, targets, which windows have units of their own, and growth; in chunks, for the memory's sake."""
    p = len(design.penalty_shares(layout, 1.0))
    rows: Floats = np.empty((len(windows), p), dtype)
    targets: Floats = np.empty((len(windows), layout.horizon), dtype)
    usable, growth = np.ones(len(windows), bool), np.zeros(len(windows))
    for start in range(0, len(windows), _CHUNK):
        part = slice(start, start + _CHUNK)
        series, origin = windows.series[part], windows.origin[part]
        inputs = inputs_at(panel, layout, series, origin)
        scale = local_scale(inputs.target, transform, yard, inputs.series)
        truth = panel.y[(panel.offsets[series] + origin)[:, None] + np.arange(layout.horizon)]
        rows[part] = design.rows(inputs, scale, layout)
        targets[part] = np.clip(scale.forward(truth), -FURTHEST, FURTHEST)
        usable[part] = ~scale.flat
        growth[part] = growth_of(inputs.target, truth)
    return rows, targets, usable, growth
