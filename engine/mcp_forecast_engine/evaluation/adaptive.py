"""Intervals that follow the errors: conformal offsets from windows that have ended, widened while they miss often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.evaluation.intervals import conformal_offsets
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.evaluation.windows import Truth
from mcp_forecast_engine.models.calibration import Spread, spread_out
from mcp_forecast_engine.models.features import Inputs
from mcp_forecast_engine.models.forecaster import FittedPath
from mcp_forecast_engine.models.spec import BASELINE_FAMILY, MEDIAN, QUANTILES

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SPREADS: tuple[Spread, ...] = ("level", "change")
# Chosen on six 60-day parts of one hourly series that lie before its test part: 0.1 reacts late, 0.6 gains nothing.
RATE = 0.3
WIDEST = 3.0
_AIM = 0.8
_LOW, _HIGH = QUANTILES.index(0.1), QUANTILES.index(0.9)


@dataclass(frozen=True)
class Step:
    """One window after the arm has forecast it: inputs, path in the windows' units, truth and residuals.

    residual: (S', horizon), truth minus path in the windows' units, NaN where unobserved. change: (S', 1), see
    `residual_unit`.
    """

    series: Integers
    path: FittedPath
    inputs: Inputs
    centre: Floats
    residual: Floats
    truth: Truth
    change: Floats

    def scaled(self, spread: Spread) -> Floats:
        """Residuals in units of the spread, (S', horizon)."""
        return self.residual if spread == "level" else np.asarray(self.residual / self.change, np.float64)


@dataclass(frozen=True)
class Issued:
    """Quantiles per window as they would have been issued then, and the widening after the last one."""

    quantiles: tuple[Floats, ...]
    widening: float


def issue(steps: Sequence[Step], plan: BacktestPlan, spread: Spread) -> Issued:
    """Walk through the windows; each gets offsets and a widening from windows that had ended at its origin.

    Adaptive conformal inference (Gibbs and Candes 2021) on the width: every ended window multiplies it by
    exp(rate (0.8 - share of its truth inside its 80 % interval)), within 1/3 .. 3. Overlapping windows share the rate.
    """
    pushes: list[float] = []
    found = []
    rate = RATE * min(plan.stride / plan.horizon, 1.0)
    for k, step in enumerate(steps):
        ended = [j for j in range(k) if plan.back(j) - plan.horizon >= plan.back(k)]
        past = [steps[j] for j in ended[-plan.residual_windows :]]
        if past:
            offsets = offsets_from(past, spread, _widening([pushes[j] for j in ended], rate))[None]
            found.append(spread_out(step.path, step.inputs, step.centre, offsets, spread))
        else:
            found.append(uncalibrated(step))
        # Before half of the validation windows have ended, a miss says more about few residuals than about the width.
        pushes.append(_push(step, found[-1]) if past and k >= plan.validation_windows // 2 else 0.0)
    return Issued(tuple(found), _widening(pushes, rate))


def offsets_from(steps: Sequence[Step], spread: Spread, widening: float) -> Floats:
    """Offsets (horizon, levels) from the residuals of windows, widened around their median.

    The median itself corrects a model's bias; the baseline stays what it is, a repetition of the last season.
    """
    offsets = conformal_offsets(np.concatenate([step.scaled(spread) for step in steps]))
    median = offsets[:, MEDIAN : MEDIAN + 1]
    centre = 0.0 if steps[0].path.family == BASELINE_FAMILY else median
    return np.asarray((offsets - median) * widening + centre, np.float64)


def uncalibrated(step: Step) -> Floats:
    """The bare path at every level."""
    offsets = np.zeros((1, step.centre.shape[1], len(QUANTILES)))
    return spread_out(step.path, step.inputs, step.centre, offsets, "level")


def _push(step: Step, quantiles: Floats) -> float:
    seen = step.truth.observed
    if not seen.any():
        return 0.0
    inside = (quantiles[:, :, _LOW] <= step.truth.y) & (step.truth.y <= quantiles[:, :, _HIGH])
    return float(_AIM - inside[seen].mean())


def _widening(pushes: Sequence[float], rate: float) -> float:
    """Pushes add up one after the other, clipped on the way, so that a long miss is forgotten as fast as it came."""
    log, limit = 0.0, float(np.log(WIDEST))
    for push in pushes:
        log = min(max(log + rate * push, -limit), limit)
    return float(np.exp(log))
