"""Validation of direct ridges: fits at a few origins of the validation part, scored on the windows right after them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.examples import POOLED, Booleans, Examples, gather, phases_after
from mcp_forecast_engine.models.features import Inputs, inputs_at
from mcp_forecast_engine.models.ranges import have_left
from mcp_forecast_engine.models.ridge_fits import Fits
from mcp_forecast_engine.models.ridge_recipe import Recipe
from mcp_forecast_engine.models.ridge_weights import FEWEST, departures, pooled_ridge
from mcp_forecast_engine.models.scaling import LocalScale, local_scale
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.windows import learnt, usual_change

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Numbers that are scored per option; more windows are thinned evenly.
_MOST_SCORED = 400_000


@dataclass(frozen=True, order=True)
class Option:
    """A lookback, a recent part of the history (up to 1) or number of recent seasons (above 1), and a penalty."""

    lookback: int
    recent: float
    penalty: float


@dataclass(frozen=True)
class Exam:
    """n validation windows and what they turned out to be; unobserved steps weigh 0.

    fits: origins (S) of the fits. fit: int64 (n), the fit that answers a window. y, weight: (n, H), weight is one over
    the series' seasonal change.
    """

    panel: Panel
    spec: ForecastSpec
    fits: tuple[Integers, ...]
    fit: Integers
    series: Integers
    origin: Integers
    y: Floats
    weight: Floats

    def loss(self, path: Floats) -> float:
        """Mean scaled absolute error of a path in the series' units, (n, H)."""
        return float(self.losses(path).mean())

    def losses(self, path: Floats) -> Floats:
        """The same by window, (n)."""
        if self.spec.nonnegative:
            path = np.maximum(path, 0.0)
        scored = max(float((self.weight > 0).mean()), 1e-12)
        return np.asarray((np.abs(path - self.y) * self.weight).mean(axis=1) / scored, np.float64)

    def some(self, most: int) -> tuple[Exam, Booleans]:
        """The same for no more than so many of the series, taken evenly, and which windows these are, (n)."""
        names = np.unique(self.series)
        if len(names) <= most:
            return self, np.ones(len(self.series), bool)
        names = names[np.linspace(0, len(names) - 1, most).astype(np.int64)]
        taken, kept = np.isin(np.arange(len(self.fits[0])), names), np.isin(self.series, names)
        part = {name: getattr(self, name)[kept] for name in ("fit", "series", "origin", "y", "weight")}
        return replace(self, fits=tuple(np.where(taken, origin, -1) for origin in self.fits), **part), kept


def exam_for(panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], *, fits: int) -> Exam:
    """Windows to score. One fit answers them all; several answer the few windows right after them, as a model would
    that is renewed as time goes on, and reach back over a year of days: which units and penalties suit changes with
    the time of the year, and earlier windows are as good to choose by."""
    table = np.stack(origins)
    if fits > 1:
        table = np.concatenate([_earlier(panel, spec, table), table])
    starts = np.unique(np.linspace(0, len(table), fits, endpoint=False).astype(np.int64))
    answers = len(table) if len(starts) == 1 else _ANSWERS
    ends = np.minimum(starts + answers, np.append(starts[1:], len(table)))
    found = [table[start:end] for start, end in zip(starts, ends, strict=True)]
    parts = [np.nonzero(part >= 0) for part in found]
    fit = np.repeat(np.arange(len(found)), [len(series) for _, series in parts])
    series = np.concatenate([series for _, series in parts])
    origin = np.concatenate([part[at] for part, at in zip(found, parts, strict=True)])
    most = max(_MOST_SCORED // spec.horizon, 50)
    kept = np.unique(np.linspace(0, len(series) - 1, min(most, len(series))).astype(np.int64))
    fit, series, origin = fit[kept], series[kept], origin[kept]
    first = tuple(
        np.where((p >= 0).any(axis=0), np.where(p >= 0, p, np.iinfo(np.int64).max).min(axis=0), -1) for p in found
    )
    place = (panel.offsets[series] + origin)[:, None] + np.arange(spec.horizon)
    scale = usual_change(panel, spec.season_length, learnt(panel, first))
    return Exam(panel, spec, first, fit, series, origin, panel.y[place], panel.observed[place] / scale[series][:, None])


def _earlier(panel: Panel, spec: ForecastSpec, table: Integers) -> Integers:
    """Origins a season apart before the first, (W, S): a year of days, but no more than a quarter of the history."""
    m = max(spec.season_length, 1)
    most = min(_YEAR, int(np.median(panel.lengths)) // (4 * m)) - len(table)
    back = np.arange(most, 0, -1)[:, None] * m
    found = np.where(table[0] >= 0, table[0] - back, -1)
    return np.where(found >= spec.lookback + spec.horizon, found, -1)


@dataclass(frozen=True)
class Answers:
    """What options of one recipe answered, in the windows' units, (n, H) each, no further out than was seen before."""

    exam: Exam
    recipe: Recipe
    examples: Examples
    inputs: Inputs
    scale: LocalScale
    paths: dict[Option, Floats]

    def loss(self, z: Floats) -> float:
        """Mean scaled absolute error of a path in the windows' units."""
        return self.exam.loss(self.scale.inverse(z))

    def losses(self, z: Floats) -> Floats:
        """The same by window, (n)."""
        return self.exam.losses(self.scale.inverse(z))

    def lags(self) -> Floats:
        """The lookback in the windows' units."""
        return self.scale.forward(self.inputs.target)

    def groups(self) -> Iterator[tuple[Integers, int, Integers]]:
        """Origin of a fit, slot, and the windows that this fit answers there."""
        phases = np.unique(self.inputs.phase) if self.recipe.aligned else np.array([POOLED])
        for number, origin in enumerate(self.exam.fits):
            for slot in phases:
                of_slot = (self.inputs.phase == slot) | (slot == POOLED)
                asked = np.flatnonzero((self.exam.fit == number) & of_slot)
                if len(asked):
                    yield origin, int(slot), asked

    def range(self) -> tuple[Floats, Floats]:
        """What was seen before the fit that answers each window, with its margin, (n, H) each."""
        bounds = [self.examples.bounds(origin) for origin in self.exam.fits]
        low, high = (np.stack(side) for side in zip(*bounds, strict=True))
        return low[self.exam.fit], high[self.exam.fit]


def answers(
    exam: Exam,
    recipe: Recipe,
    *,
    lookbacks: Sequence[int],
    recent: Sequence[float],
    penalties: Sequence[float],
    thin: float = 1.0,
) -> Answers | None:
    """Fit every option at every fit's origin; None where a fit has too few windows.

    Options whose recent part has too few windows at some origin, or nearly all of them, are left out.
    """
    widest = replace(recipe, lookback=max(lookbacks))
    examples = _gathered(exam, widest, thin)
    inputs = inputs_at(exam.panel, examples.layout, exam.series, exam.origin)
    scale = local_scale(inputs.target, recipe.transform, examples.yard, inputs.series)
    found = Answers(exam, widest, examples, inputs, scale, {})
    fits = Fits(examples, recipe, examples.design.rows(inputs, scale, examples.layout).astype(np.float32))
    paths = {Option(*key): np.empty_like(exam.y) for key in product(lookbacks, recent, penalties)}
    for origin, slot, asked in found.groups():
        every = examples.at(origin, 1.0, slot)
        if every.sum() < (FEWEST if recipe.aligned else 2):
            return None
        for part in sorted({option.recent for option in paths}):
            chosen = every if part == 1.0 else examples.at(origin, part, slot)
            if part != 1.0 and not FEWEST <= chosen.sum() <= _NEARLY_ALL * every.sum():
                paths = {option: path for option, path in paths.items() if option.recent != part}
                continue
            solved = fits.answers(slot, part, chosen=chosen, every=every, lookbacks=lookbacks, asked=asked)
            for lookback, answer in solved:
                for penalty in penalties:
                    paths[Option(lookback, part, penalty)][asked] = answer(penalty)
    low, high = found.range()
    found.paths.update({option: np.clip(path, low, high) for option, path in paths.items()})
    return found


def _gathered(exam: Exam, recipe: Recipe, thin: float) -> Examples:
    """The windows that any fit of an exam learns from; single precision is enough where only choices hang on them."""
    until, learn = np.max(exam.fits, axis=0), learnt(exam.panel, exam.fits)
    phases, seen = phases_after(exam.panel, exam.spec, exam.series, exam.origin), _bases_until(exam, learn)
    return gather(
        exam.panel, exam.spec, recipe, learn=learn, until=until, phases=phases, thin=thin, dtype=np.float32, seen=seen
    )


def own_paths(found: Answers, pooled: Option, penalties: Sequence[float]) -> dict[float, Floats]:
    """The paths of series with weights of their own beside a pooled option, by penalty on the departure, (n, H)."""
    examples, inputs = found.examples, found.inputs
    rows = examples.design.rows(inputs, found.scale, examples.layout).astype(np.float32)
    paths = {penalty: np.empty_like(found.exam.y) for penalty in penalties}
    for origin, slot, asked in found.groups():
        chosen = examples.at(origin, 1.0, slot)
        whole, ridge = pooled_ridge(examples, found.recipe, chosen)
        weights, bias = ridge.solve(pooled.penalty)
        shared = rows[asked] @ weights + bias
        for path in paths.values():
            path[asked] = shared
        for series, steps in departures(examples, found.recipe, chosen, whole, (weights, bias), penalties):
            of_series = asked[found.exam.series[asked] == series]
            for path, (step, level) in zip(paths.values(), steps, strict=True):
                path[of_series] += rows[of_series] @ step + level
    low, high = found.range()
    return {penalty: np.clip(path, low, high) for penalty, path in paths.items()}


def _bases_until(exam: Exam, learn: Integers) -> Integers:
    """What bases are learned from, (S): the covariates of the whole panel where they leave the range that the first fit
    knew, as a model renewed on its way would know it. Clamped, they would have no effect to choose by."""
    whole = exam.panel.lengths
    return whole if have_left(exam.panel, (*exam.spec.known_future, *exam.spec.historical), learn, whole) else learn


_YEAR = 364
_NEARLY_ALL = 0.8
# Validation windows that one of several fits answers: more fits would cost, fewer windows would choose by luck.
_ANSWERS = 7
