"""Intervals that follow the errors: conformal offsets from windows that have ended, widened while they miss often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.evaluation.intervals import conformal_offsets
from mcp_forecast_engine.evaluation.plan import ENOUGH_WINDOWS, BacktestPlan
from mcp_forecast_engine.evaluation.windows import Truth
from mcp_forecast_engine.models.calibration import spread_out
from mcp_forecast_engine.models.scaling import LocalScale
from mcp_forecast_engine.models.spec import MEDIAN, QUANTILES

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Chosen on six 60-day parts of one hourly series that lie before its test part: 0.1 reacts late, 0.6 gains nothing.
RATE = 0.3
WIDEST = 3.0
# Errors on the few windows that a mix was chosen by are smaller than those to come; by this much, about, on M4.
FLATTERED = 1.05
_AIM = 0.8
# Of a window and an ended one: what this had turned out to be by then, where that is another outcome than now.
Outcomes = Mapping[tuple[int, int], Truth]
_SETTLED: Final[Outcomes] = {}
_LOW, _HIGH = QUANTILES.index(0.1), QUANTILES.index(0.9)


@dataclass(frozen=True)
class Step:
    """One window after the arm has forecast it.

    series: int64 (S'). point: (S', horizon), in the series' units. scale, width (S', 1): the units of its errors.
    residual: (S', horizon), truth minus path in these units, NaN where unobserved. nonnegative: nothing below zero had
    been seen before the window, so no quantile lies there. empty: (S', 1), the level up to which quantiles are 0.
    """

    series: Integers
    point: Floats
    scale: LocalScale
    width: Floats
    residual: Floats
    truth: Truth
    nonnegative: bool
    empty: Floats


@dataclass(frozen=True)
class Issued:
    """Quantiles as they would have been issued then, and the widening after the last window.

    together: (R, horizon, levels), the rows of all windows one after the other. rows: where each window begins, and R.
    """

    together: Floats
    rows: tuple[int, ...]
    widening: float

    @property
    def quantiles(self) -> tuple[Floats, ...]:
        """Per window, (S', horizon, levels)."""
        return tuple(self.together[start:end] for start, end in pairwise(self.rows))

    def since(self, window: int) -> Floats:
        """The rows of this window and of all after it; nothing is copied, they can be gigabytes."""
        return self.together[self.rows[window] :]


def issue(steps: Sequence[Step], plan: BacktestPlan, *, plain: bool, known: Outcomes = _SETTLED) -> Issued:
    """Walk through the windows; each gets offsets and a widening from windows that had ended at its origin.

    Adaptive conformal inference (Gibbs and Candes 2021) on the width: every ended window multiplies it by
    exp(rate (0.8 - share of its truth inside its 80 % interval)), within 1/3 .. 3. Overlapping windows share the rate.
    Where windows start less than a season apart, offsets are learned anew once a season. Where few windows both chose
    the model and measure its errors, the width begins wider. known: outcomes of ended windows as later ones knew them,
    where these were not yet what the steps say; the widening after the last window goes by what the steps say.
    """
    rate = RATE * min(plan.stride / plan.horizon, 1.0)
    pace = max(min(plan.season_length, plan.horizon) // plan.stride, 1)
    few = plan.validation_windows < ENOUGH_WINDOWS
    last = width = _Width(float(np.log(FLATTERED)) if few else 0.0)
    pushes, counted, ended = list[float](), list[bool](), 0
    rows = tuple(accumulate((len(step.series) for step in steps), initial=0))
    together = np.empty((rows[-1], plan.horizon, len(QUANTILES)))
    learned, due = np.zeros((0, 0)), 0
    for k, step in enumerate(steps):
        while ended < k and plan.back(ended) - plan.horizon >= plan.back(k):
            push = pushes[ended]
            if (k, ended) in known and counted[ended]:
                push = _push(_as_known(steps, known, k, ended), together[rows[ended] : rows[ended + 1]])
            width = width.pushed(rate * push)
            ended += 1
        if ended and (not learned.size or k >= due):
            recent = range(max(ended - plan.residual_windows, 0), ended)
            learned, due = offsets_from([_as_known(steps, known, k, j) for j in recent], plain=plain), k + pace
        offsets = widened(learned, width.factor) if ended else np.zeros((plan.horizon, len(QUANTILES)))
        found = together[rows[k] : rows[k + 1]]
        away = offsets[None] * step.width[:, :, None]
        found[:] = spread_out(step.point, step.scale, away, step.nonnegative, step.empty)
        # Before half of the validation windows have ended, a miss says more about few residuals than about the width.
        counted.append(bool(ended) and k >= plan.validation_windows // 2)
        pushes.append(_push(step, found) if counted[k] else 0.0)
    for push in pushes:
        last = last.pushed(rate * push)
    return Issued(together, rows, last.factor)


def residual_of(path: Floats, scale: LocalScale, width: Floats, truth: Truth) -> Floats:
    """Truth minus path (S', horizon) in the units of errors; NaN where there is no truth, and no unit to tell it in."""
    told = truth.observed & (scale.spread > 0)  # a window of zeros has no unit
    return np.where(told, (scale.forward(truth.y) - scale.forward(path)) / width, np.nan)


def _as_known(steps: Sequence[Step], known: Outcomes, window: int, ended: int) -> Step:
    """A window that has ended, with its outcome as it was known at another one."""
    step, truth = steps[ended], known.get((window, ended))
    if truth is None:
        return step
    return replace(step, truth=truth, residual=residual_of(step.point, step.scale, step.width, truth))


def offsets_from(steps: Sequence[Step], *, plain: bool) -> Floats:
    """Offsets (horizon, levels) from the residuals of windows.

    Their median corrects a model's bias; `plain`: it is left where it is (the baseline repeats the last season).
    """
    offsets = conformal_offsets(np.concatenate([step.residual for step in steps]))
    return offsets - offsets[:, MEDIAN : MEDIAN + 1] if plain else offsets


def widened(offsets: Floats, factor: float) -> Floats:
    """Offsets drawn apart around their median."""
    median = offsets[:, MEDIAN : MEDIAN + 1]
    return np.asarray((offsets - median) * factor + median, np.float64)


def _push(step: Step, quantiles: Floats) -> float:
    seen = step.truth.observed & ~(step.empty > 1 - _AIM)  # a bound of 0 holds whenever nothing came: no narrower band
    if not seen.any():
        return 0.0
    inside = (quantiles[:, :, _LOW] <= step.truth.y) & (step.truth.y <= quantiles[:, :, _HIGH])
    return float(_AIM - inside[seen].mean())


@dataclass(frozen=True)
class _Width:
    """Pushes add up one after the other, clipped on the way, so that a long miss is forgotten as fast as it came."""

    log: float = 0.0

    def pushed(self, push: float) -> _Width:
        limit = float(np.log(WIDEST))
        return _Width(min(max(self.log + push, -limit), limit))

    @property
    def factor(self) -> float:
        return float(np.exp(self.log))
