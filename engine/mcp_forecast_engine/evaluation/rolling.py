"""One arm walks through the windows: tuned before the test part, refitted on schedule, its errors kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.adaptive import SPREADS, Issued, Step, issue, offsets_from, uncalibrated
from mcp_forecast_engine.evaluation.candidates import Candidate
from mcp_forecast_engine.evaluation.metrics import Scored, pinball
from mcp_forecast_engine.evaluation.plan import MANY_SERIES, BacktestPlan
from mcp_forecast_engine.evaluation.progress import Progress
from mcp_forecast_engine.evaluation.report import Intervals
from mcp_forecast_engine.evaluation.windows import Window, truth_at, window_at
from mcp_forecast_engine.models.calibration import Spread, residual_unit
from mcp_forecast_engine.models.features import layout_for, tail_inputs
from mcp_forecast_engine.models.spec import ForecastSpec, spec_for
from mcp_forecast_engine.models.table import MODELS

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ArmRun:
    """An arm after its walk: validation windows first, then the test windows."""

    candidate: Candidate
    spec: ForecastSpec
    settings: Mapping[str, Any]
    plan: BacktestPlan
    steps: tuple[Step, ...]
    spread: Spread
    issued: Issued

    def test(self, scale: Floats) -> Scored:
        """The test windows with intervals that knew only windows that had ended before."""
        v = self.plan.validation_windows
        return _rows(self.issued.quantiles[v:], self.steps[v:], v, self.plan, scale)

    def validation(self, scale: Floats) -> Scored:
        """The validation windows with the uncalibrated path at every level: for point scores only."""
        steps = self.steps[: self.plan.validation_windows]
        return _rows([uncalibrated(step) for step in steps], steps, 0, self.plan, scale)

    def intervals(self) -> Intervals:
        """Offsets for a forecast from the end of the data, from the errors of the last windows."""
        recent = self.steps[-self.plan.residual_windows :]
        widening = self.issued.widening
        phases = np.unique(np.concatenate([step.inputs.phase for step in recent]))
        return Intervals(
            offsets=tuple(tuple(float(x) for x in row) for row in offsets_from(recent, self.spread, widening)),
            spread=self.spread,
            phase=int(phases[0]) if len(phases) == 1 and self.spec.season_length > 1 else None,
            residuals=sum(int(np.isfinite(step.residual).sum()) for step in recent),
            widening=widening,
        )


def walk(panel: Panel, candidate: Candidate, plan: BacktestPlan, origins: list[Integers], progress: Progress) -> ArmRun:
    """Tune on the validation windows, then fit and forecast window by window, refitting on the plan's schedule."""
    family = MODELS[candidate.family]
    history = int(np.median(panel.lengths)) - plan.reach
    spec = spec_for(panel, plan.horizon, roles=candidate.roles, history=history)
    settings = family.tune(*_before_test(panel, spec, plan, origins))
    progress.step(f"{candidate.name}: settings chosen")
    steps: list[Step] = []
    for start in range(0, plan.windows, plan.refit_every):
        group = origins[start : start + plan.refit_every]
        windows = [window_at(panel, origin, plan.horizon) for origin in group]
        steps += _fit_once(panel, windows, group, spec, settings, candidate.family)
        progress.step(f"{candidate.name}: {min(start + plan.refit_every, plan.windows)} of {plan.windows} windows")
    spread = _choose_spread(steps, plan, len(panel.unique_id))
    return ArmRun(candidate, spec, settings, plan, tuple(steps), spread, issue(steps, plan, spread))


def refits(plan: BacktestPlan) -> int:
    """How often an arm is fitted during its walk."""
    return -(-plan.windows // plan.refit_every)


def _before_test(
    panel: Panel, spec: ForecastSpec, plan: BacktestPlan, origins: list[Integers]
) -> tuple[Panel, ForecastSpec, list[Integers]]:
    """The panel up to the first test origin and the validation origins in it: tuning cannot see the test part."""
    first_test = origins[plan.validation_windows]
    window = window_at(panel, first_test, plan.horizon)
    return window.history, spec, [origin[window.series] for origin in origins[: plan.validation_windows]]


def _fit_once(
    panel: Panel,
    windows: list[Window],
    origins: list[Integers],
    spec: ForecastSpec,
    settings: Mapping[str, Any],
    family: str,
) -> list[Step]:
    """Fit on the first window's history and forecast all of them."""
    layout = layout_for(spec, panel.axis)
    inputs = [tail_inputs(window.history, layout) for window in windows]
    phases = np.unique(np.concatenate([part.phase for part in inputs]))
    path = MODELS[family].fit(windows[0].history, spec, settings, phases=phases)
    found = []
    for window, part, origin in zip(windows, inputs, origins, strict=True):
        truth = truth_at(panel, origin, spec.horizon)
        centre, scale = path.centre(part), path.scale(part)
        residual = np.where(truth.observed, scale.forward(truth.y) - centre, np.nan)
        change = residual_unit(scale.forward(part.target), spec.season_length, "change")
        found.append(Step(window.series, path, part, centre, residual, truth, change))
    return found


def _choose_spread(steps: Sequence[Step], plan: BacktestPlan, series: int) -> Spread:
    """Offsets as they are, or times the recent seasonal change: whichever scores better on late validation windows."""
    half, end = plan.validation_windows // 2, plan.validation_windows
    if half < 2:
        return "change" if series >= MANY_SERIES else "level"
    losses = {}
    for spread in SPREADS:
        found = issue(steps[:end], plan, spread).quantiles[half:]
        losses[spread] = pinball(_rows(found, steps[half:end], half, plan, np.ones(series))).value
    return min(SPREADS, key=lambda spread: losses[spread])


def _rows(found: Sequence[Floats], steps: Sequence[Step], first: int, plan: BacktestPlan, scale: Floats) -> Scored:
    return Scored(
        series=np.concatenate([step.series for step in steps]),
        window=np.concatenate([np.full(len(step.series), first + i) for i, step in enumerate(steps)]),
        y=np.concatenate([step.truth.y for step in steps]),
        observed=np.concatenate([step.truth.observed for step in steps]),
        quantiles=np.concatenate(found),
        scale=scale,
        season_length=max(plan.season_length, 1),
    )
