"""An arm's paths become issued quantiles: errors measured in the unit that suits them, offsets from ended windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.intermittent import mostly_zero
from mcp_forecast_engine.evaluation.adaptive import Issued, Outcomes, Step, issue, offsets_from, residual_of, widened
from mcp_forecast_engine.evaluation.issued import Intervals
from mcp_forecast_engine.evaluation.members import ArmModel
from mcp_forecast_engine.evaluation.metrics import Scored, pinball
from mcp_forecast_engine.evaluation.plan import ENOUGH_WINDOWS, MANY_SERIES, BacktestPlan
from mcp_forecast_engine.evaluation.windows import Truth, truth_at
from mcp_forecast_engine.models.calibration import Spread, Unit
from mcp_forecast_engine.models.features import Inputs, inputs_at, layout_for, phase_of
from mcp_forecast_engine.models.scaling import Stillness, Transform
from mcp_forecast_engine.models.spec import BASELINE_FAMILY, ForecastSpec
from mcp_forecast_engine.models.windows import before as earlier_than
from mcp_forecast_engine.models.windows import earlier_targets

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SPREADS: tuple[Spread, ...] = ("level", "change")


@dataclass(frozen=True)
class ArmRun(ArmModel):
    """An arm after its walk: validation windows first, then the test windows.

    unit: what errors are measured in, on the last `measured` steps before an origin. plain: the median is the path
    itself, no bias of past errors is taken off.
    """

    plan: BacktestPlan
    unit: Unit
    measured: int
    plain: bool
    steps: tuple[Step, ...]
    issued: Issued
    phases: Integers

    @property
    def tested(self) -> tuple[Step, ...]:
        """The test windows."""
        return self.steps[self.plan.validation_windows :]

    def test(self, scale: Floats) -> Scored:
        """The test windows with intervals that knew only windows that had ended before."""
        v = self.plan.validation_windows
        return scored(self.issued.since(v), self.tested, v, self.plan, scale)

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
            lookback=self.measured,
            stillness=(self.unit.stillness.still, self.unit.stillness.usual),
            intermittent=self.unit.intermittent,
        )


def calibrate(
    panel: Panel,
    arm: ArmModel,
    *,
    paths: Sequence[Floats],
    windows: Sequence[tuple[Integers, Truth]],
    origins: Sequence[Integers],
    plan: BacktestPlan,
) -> ArmRun:
    """Choose the unit of errors on the validation windows, then issue quantiles for every window."""
    spec = arm.spec
    measured = _measured_steps(arm.lookback, spec.season_length, origins[0])
    pasts = [_past(panel.as_known(origin), spec, measured, origin) for origin in origins]
    first = panel.as_known(origins[0])
    bare = [member.family for member in arm.members] == [BASELINE_FAMILY]
    clipped = _never_negative(panel, origins)
    before = earlier_targets(first, measured, origins[0])
    known = _outcomes(panel, origins, [truth for _, truth in windows], plan)
    unit, plain = _choose_unit(
        paths, pasts, windows, spec, plan, before=before, series=len(panel.unique_id), bare=bare, clipped=clipped,
        known=known,
    )  # fmt: skip
    # The baseline's median stays a repetition.
    sparse = mostly_zero(earlier_than(first, np.maximum(origins[0], 0))) is not None
    unit = replace(unit, intermittent=sparse and not bare)
    steps = _steps(paths, pasts, windows, unit, spec.season_length, clipped)
    stamps = [panel.ds[(panel.offsets[:-1] + origin)[origin >= 0]] for origin in origins[-plan.residual_windows :]]
    return ArmRun(
        name=arm.name,
        spec=spec,
        members=arm.members,
        weights=arm.weights,
        rule=arm.rule,
        lookback=arm.lookback,
        plan=plan,
        unit=unit,
        measured=measured,
        plain=plain,
        steps=tuple(steps),
        issued=issue(steps, plan, plain=plain, known=known),
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
        season_length=plan.scale_season,
    )


def _measured_steps(read: int, season_length: int, first: Integers) -> int:
    """Steps that units are measured on: what the model reads, and at least two seasons, of which the first window's
    typical history holds whole ones. One season alone says little of the change from season to season, and its spread
    depends on where in the season it ends. first: steps of history at the first window, (S)."""
    m, held = max(season_length, 1), int(np.median(first[first >= 0]))
    return min(max(read, 2 * m), held // m * m or held)


def _outcomes(
    panel: Panel, origins: Sequence[Integers], settled: Sequence[Truth], plan: BacktestPlan
) -> dict[tuple[int, int], Truth]:
    """Of every window and those that had ended at it: their outcome as known then, where it is not what it is now."""
    found: dict[tuple[int, int], Truth] = {}
    if panel.vintages is None:
        return found
    for window, origin in enumerate(origins):
        then = panel.as_known(origin)
        for ended in range(window):
            if plan.back(ended) - plan.horizon < plan.back(window):
                break
            known, now = truth_at(then, origins[ended], plan.horizon), settled[ended]
            if not (np.array_equal(known.y, now.y) and np.array_equal(known.observed, now.observed)):
                found[window, ended] = known
    return found


def _never_negative(panel: Panel, origins: Sequence[Integers]) -> list[bool]:
    """Whether nothing below zero had been observed before each window, in any series: what a fit there would know."""
    if panel.vintages is not None:
        return [one for origin in origins for one in _never_negative(panel.as_known(origin), [origin])]
    below = panel.observed & (panel.y < 0)
    first = np.full(len(panel.unique_id), len(panel.y))
    np.minimum.at(first, np.repeat(np.arange(len(first)), panel.lengths)[below], panel.steps[below])
    return [not np.any(first < origin) for origin in origins]


def _past(panel: Panel, spec: ForecastSpec, lookback: int, origin: Integers) -> Inputs:
    """What a window's units are measured on: as many steps as serving measures them on."""
    bare = replace(spec, lookback=lookback, known_future=(), historical=(), static=())
    series = np.flatnonzero(origin >= 0)
    return inputs_at(panel, layout_for(bare, panel.axis), series, origin[series])


def _steps(
    paths: Sequence[Floats],
    pasts: Sequence[Inputs],
    windows: Sequence[tuple[Integers, Truth]],
    unit: Unit,
    season_length: int,
    clipped: Sequence[bool],
) -> list[Step]:
    found = []
    for path, past, (series, truth), nonnegative in zip(paths, pasts, windows, clipped, strict=True):
        scale, width = unit.measured(past.target, season_length, past.known)
        residual = residual_of(path, scale, width, truth)
        found.append(Step(series, path, scale, width, residual, truth, nonnegative, unit.empty(past.target)))
    return found


def _choose_unit(
    paths: Sequence[Floats],
    pasts: Sequence[Inputs],
    windows: Sequence[tuple[Integers, Truth]],
    spec: ForecastSpec,
    plan: BacktestPlan,
    *,
    before: Floats,
    series: int,
    bare: bool,
    clipped: Sequence[bool],
    known: Outcomes,
) -> tuple[Unit, bool]:
    """The unit, and whether bias is left alone, whose quantiles score best on the later validation windows.

    The baseline (`bare`) stays a repetition. A change needs more than a season to be measured on. Where few windows
    have ended, the unit follows from the number of series and bias is left alone: one year's common surprise is not the
    model's.
    """
    half, end = plan.validation_windows // 2, plan.validation_windows
    spreads = SPREADS if pasts[0].target.shape[1] > spec.season_length else SPREADS[:1]
    if half < 2:
        spread = spreads[-1] if series >= MANY_SERIES else "level"
        return Unit("identity", spread, Stillness.of(before, "identity")), True
    bends: tuple[Transform, ...] = ("identity", "log") if spec.nonnegative else ("identity",)
    plains = (True,) if bare or end < ENOUGH_WINDOWS else (True, False)
    losses = {}
    usual = {bend: Stillness.of(before, bend) for bend in bends}
    for bend, spread in product(bends, spreads):
        unit = Unit(bend, spread, usual[bend])
        steps = _steps(paths[:end], pasts[:end], windows[:end], unit, spec.season_length, clipped[:end])
        for plain in plains:
            found = issue(steps, plan, plain=plain, known=known).since(half)
            losses[unit, plain] = pinball(scored(found, steps[half:], half, plan, np.ones(series))).value
    return min(losses, key=lambda key: losses[key])
