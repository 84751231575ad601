"""An arm's paths become issued quantiles: errors measured in the unit that suits them, offsets from ended windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.adaptive import Issued, Step, issue, offsets_from, widened
from mcp_forecast_engine.evaluation.members import Member
from mcp_forecast_engine.evaluation.metrics import Scored, pinball
from mcp_forecast_engine.evaluation.plan import ENOUGH_WINDOWS, MANY_SERIES, BacktestPlan
from mcp_forecast_engine.evaluation.report import Intervals
from mcp_forecast_engine.evaluation.windows import Truth
from mcp_forecast_engine.models.calibration import Spread, Unit
from mcp_forecast_engine.models.combination import Rule
from mcp_forecast_engine.models.features import inputs_at, layout_for, phase_of
from mcp_forecast_engine.models.scaling import Transform
from mcp_forecast_engine.models.spec import BASELINE_FAMILY, ForecastSpec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SPREADS: tuple[Spread, ...] = ("level", "change")


@dataclass(frozen=True)
class ArmRun:
    """An arm after its walk: validation windows first, then the test windows.

    unit: what errors are measured in. plain: the median is the path itself, no bias of past errors is taken off.
    """

    name: str
    spec: ForecastSpec
    members: tuple[Member, ...]
    weights: tuple[float, ...]
    rule: Rule
    lookback: int
    plan: BacktestPlan
    unit: Unit
    plain: bool
    steps: tuple[Step, ...]
    issued: Issued
    phases: Integers

    def test(self, scale: Floats) -> Scored:
        """The test windows with intervals that knew only windows that had ended before."""
        v = self.plan.validation_windows
        return scored(self.issued.since(v), self.steps[v:], v, self.plan, scale)

    def intervals(self) -> Intervals:
        """Offsets for a forecast from the end of the data, from the errors of the last windows."""
        recent, factor = self.steps[-self.plan.residual_windows :], self.issued.widening
        offsets = widened(offsets_from(recent, plain=self.plain), factor)
        return Intervals(
            offsets=tuple(tuple(float(x) for x in row) for row in offsets),
            transform=self.unit.transform,
            spread=self.unit.spread,
            phase=int(self.phases[0]) if len(self.phases) == 1 and self.spec.season_length > 1 else None,
            residuals=sum(int(np.isfinite(step.residual).sum()) for step in recent),
            widening=factor,
        )


def calibrate(
    panel: Panel,
    name: str,
    spec: ForecastSpec,
    mix: tuple[Sequence[Member], Sequence[float], Rule],
    *,
    paths: Sequence[Floats],
    lookback: int,
    windows: Sequence[tuple[Integers, Truth]],
    origins: Sequence[Integers],
    plan: BacktestPlan,
) -> ArmRun:
    """Choose the unit of errors on the validation windows, then issue quantiles for every window."""
    members, weights, rule = mix
    targets = [_targets(panel, spec, lookback, origin) for origin in origins]
    bare = [member.family for member in members] == [BASELINE_FAMILY]
    unit, plain = _choose_unit(paths, targets, windows, spec, plan, series=len(panel.unique_id), bare=bare)
    steps = _steps(paths, targets, windows, unit, spec.season_length)
    stamps = [panel.ds[(panel.offsets[:-1] + origin)[origin >= 0]] for origin in origins[-plan.residual_windows :]]
    return ArmRun(
        name=name,
        spec=spec,
        members=tuple(members),
        weights=tuple(weights),
        rule=rule,
        lookback=lookback,
        plan=plan,
        unit=unit,
        plain=plain,
        steps=tuple(steps),
        issued=issue(steps, plan, plain=plain, nonnegative=spec.nonnegative),
        phases=np.unique(phase_of(np.concatenate(stamps), panel.axis, spec.season_length)),
    )


def scored(found: Floats, steps: Sequence[Step], first: int, plan: BacktestPlan, scale: Floats) -> Scored:
    """Issued quantiles (R, horizon, levels) beside the truth; `first` is the number of the first window."""
    return Scored(
        series=np.concatenate([step.series for step in steps]),
        window=np.concatenate([np.full(len(step.series), first + i) for i, step in enumerate(steps)]),
        y=np.concatenate([step.truth.y for step in steps]),
        observed=np.concatenate([step.truth.observed for step in steps]),
        quantiles=found,
        scale=scale,
        season_length=max(plan.season_length, 1),
    )


def _targets(panel: Panel, spec: ForecastSpec, lookback: int, origin: Integers) -> Floats:
    """What a window's units are measured on, (S', lookback): the same steps that serving will have."""
    bare = replace(spec, lookback=lookback, known_future=(), historical=(), static=())
    series = np.flatnonzero(origin >= 0)
    return inputs_at(panel, layout_for(bare, panel.axis), series, origin[series]).target


def _steps(
    paths: Sequence[Floats],
    targets: Sequence[Floats],
    windows: Sequence[tuple[Integers, Truth]],
    unit: Unit,
    season_length: int,
) -> list[Step]:
    found = []
    for path, target, (series, truth) in zip(paths, targets, windows, strict=True):
        scale, width = unit.measured(target, season_length)
        residual = np.where(truth.observed, (scale.forward(truth.y) - scale.forward(path)) / width, np.nan)
        found.append(Step(series, path, scale, width, residual, truth))
    return found


def _choose_unit(
    paths: Sequence[Floats],
    targets: Sequence[Floats],
    windows: Sequence[tuple[Integers, Truth]],
    spec: ForecastSpec,
    plan: BacktestPlan,
    *,
    series: int,
    bare: bool,
) -> tuple[Unit, bool]:
    """The unit, and whether bias is left alone, whose quantiles score best on the later validation windows.

    The baseline (`bare`) stays a repetition. Where few windows have ended, the unit follows from the number of series
    and bias is left alone: one year's common surprise is not the model's.
    """
    half, end = plan.validation_windows // 2, plan.validation_windows
    if half < 2:
        return Unit("identity", "change" if series >= MANY_SERIES else "level"), True
    bends: tuple[Transform, ...] = ("identity", "log") if spec.nonnegative else ("identity",)
    plains = (True,) if bare or end < ENOUGH_WINDOWS else (True, False)
    losses = {}
    for bend, spread in product(bends, SPREADS):
        unit = Unit(bend, spread)
        steps = _steps(paths[:end], targets[:end], windows[:end], unit, spec.season_length)
        for plain in plains:
            found = issue(steps, plan, plain=plain, nonnegative=spec.nonnegative).since(half)
            losses[unit, plain] = pinball(scored(found, steps[half:], half, plan, np.ones(series))).value
    return min(losses, key=lambda key: losses[key])
