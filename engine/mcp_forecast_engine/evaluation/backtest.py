"""The backtest: what answers is chosen before the test part, which is only reported, every arm on the same windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.evaluation.auto import Choice, choose
from mcp_forecast_engine.evaluation.budget import BUDGETS, Budget
from mcp_forecast_engine.evaluation.candidates import BASELINE, arms_of, most_candidates
from mcp_forecast_engine.evaluation.champion import ACTIVE, Champion, walk_champion
from mcp_forecast_engine.evaluation.findings import report_of
from mcp_forecast_engine.evaluation.members import Member, Walked, fit_members
from mcp_forecast_engine.evaluation.parallel import each
from mcp_forecast_engine.evaluation.plan import BacktestPlan, origins_of
from mcp_forecast_engine.evaluation.predictions import Forecasts, kept_arms, write_predictions
from mcp_forecast_engine.evaluation.progress import OnProgress, Progress
from mcp_forecast_engine.evaluation.report import ArmReport, BacktestReport
from mcp_forecast_engine.evaluation.rolling import ArmRun, calibrate
from mcp_forecast_engine.evaluation.trials import ArmChoice, mase_scale, seen_at
from mcp_forecast_engine.evaluation.walks import through_test
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.combination import combined
from mcp_forecast_engine.models.features import phase_of, tail_stamps
from mcp_forecast_engine.models.regression import one_thread
from mcp_forecast_engine.models.scaling import Stillness
from mcp_forecast_engine.models.spec import never_negative

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_FEW_WINDOWS = 20


@dataclass(frozen=True)
class Backtest:
    """A report, and the walks of the arms behind it: quantiles as issued per window, in the order of the origins.

    costs: measured CPU seconds by model, empty without a clock; no part of the report, which is the same every time.
    """

    report: BacktestReport
    runs: tuple[ArmRun, ...]
    costs: Mapping[str, float]

    def run(self, name: str) -> ArmRun:
        """The walk of one arm."""
        return next(run for run in self.runs if run.name == name)

    def predictions(self, panel: Panel) -> bytes:
        """The test windows as Parquet, see `write_predictions`; of all arms, or of those that decide where many.

        panel: that the backtest ran on.
        """
        plan = self.report.plan
        origins = origins_of(panel, plan)[plan.validation_windows :]
        scale = mase_scale(panel, plan, origins[0])
        steps = {run.name: run.tested for run in self.runs}
        rows = {name: sum(step.point.size for step in of_arm) for name, of_arm in steps.items()}
        kept = kept_arms(rows, (self.report.chosen, BASELINE, ACTIVE))
        return write_predictions(
            {
                name: Forecasts(self.run(name).test(scale), np.concatenate([step.point for step in steps[name]]))
                for name in kept
            },
            panel, ds=np.concatenate([step.truth.ds for step in steps[kept[0]]]), origins=origins,
        )  # fmt: skip


def backtest(
    panel: Panel,
    plan: BacktestPlan,
    budget: Budget = BUDGETS["small"],
    *,
    on_progress: OnProgress | None = None,
    cpu_clock: Callable[[], float] | None = None,
    cores: int = 1,
    active: ArmReport | str | None = None,
) -> Backtest:
    """Choose by the windows before the test part, then score every arm on the same test windows.

    Deterministic bit for bit: seeds, linear algebra on one thread; cpu_clock (of the calling thread) is only reported.
    cores: threads that models are shared among; any number gives the same bytes. What `on_progress` raises ends it
    between pieces of work. active: the arm that serves today, walked beside the others as "active"; where it cannot be,
    the notes say why; a text: why it is not even tried. Raises HistoryTooShort.
    """
    members = active.members if isinstance(active, ArmReport) else ()
    progress = Progress(pieces(panel, budget) + len(members), on_progress, cpu_clock)
    origins = origins_of(panel, plan)
    if not all(np.any(origin >= 0) for origin in origins):
        raise _too_short(panel, plan)
    with one_thread():
        choice = choose(panel, plan, origins, budget, progress, cores=cores)
        paths = walk_test(panel, choice, plan, origins, progress, cores=cores)
        champion = (
            walk_champion(panel, active, plan, origins, progress, cores=cores)
            if isinstance(active, ArmReport)
            else active
        )
        own = _calibrated(panel, choice, plan, origins, paths)
        runs = (*own, champion.run) if isinstance(champion, Champion) else own
        report = report_of(panel, plan, choice, runs, champion)
    return Backtest(report, runs, progress.costs)


def fit_arm(panel: Panel, found: ArmReport, *, cores: int = 1) -> CalibratedModel:
    """Fit one arm on the whole panel, with its settings and the intervals that the backtest measured.

    What learns some phases only learns those that were tested and that of the data's end.
    """
    ends = phase_of(tail_stamps(panel, 1)[:, 0], panel.axis, found.spec.season_length)
    phases = np.union1d(ends, np.array(found.phases, np.int64))
    # What was tested clips at zero or does not; a target that has fallen below zero since is never clipped.
    spec = replace(found.spec, nonnegative=found.spec.nonnegative and never_negative(panel))
    with one_thread():
        path = fit_members(panel, spec, found.members, found.weights, found.rule, phases=phases, cores=cores)
    intervals = found.intervals
    return CalibratedModel(
        path=path,
        calibration=Calibration(
            offsets=np.array(intervals.offsets),
            unit=Unit(intervals.transform, intervals.spread, Stillness(*intervals.stillness), intervals.intermittent),
            phase=intervals.phase,
            nonnegative=spec.nonnegative,
            lookback=intervals.lookback,
            phases=found.phases if spec.season_length > 1 else (),
        ),
    )


def walk_test(
    panel: Panel, choice: Choice, plan: BacktestPlan, origins: list[Integers], progress: Progress, *, cores: int = 1
) -> dict[str, list[Floats]]:
    """The paths of every arm over the test windows, per window (S', horizon); members that arms share walk once."""
    needed = {(member.name, arm.spec.covariates): (member, arm) for arm in choice.arms for member in arm.members}
    # What the choice left out will not be walked: the bar moves on to what is left.
    progress.skip(progress.total - progress.done - len(needed))

    def walk_one(one: tuple[Member, ArmChoice], progress: Progress) -> Walked:
        made = choice.later.get((one[0].name, one[1].spec.covariates)) or through_test(
            panel, one[0], one[1].spec, plan, origins
        )
        progress.step(f"{one[0].name}: {plan.test_windows} test windows", of=one[0].name)
        return made

    planned = {line.name: line.planned_cpu_s for line in choice.tried}
    parts = each(
        walk_one, list(needed.values()), progress, cores=cores,
        cost=lambda one: planned.get(one[0].name, 0.0) * one[0].refits,
    )  # fmt: skip
    walked = dict(zip(needed, parts, strict=True))
    found = {}
    for arm in choice.arms:
        paths = [walked[member.name, arm.spec.covariates].paths for member in arm.members]
        found[arm.name] = [
            combined([path[k] for path in paths], arm.weights, arm.rule) for k in range(plan.test_windows)
        ]
    return found


def _calibrated(
    panel: Panel, choice: Choice, plan: BacktestPlan, origins: list[Integers], paths: dict[str, list[Floats]]
) -> tuple[ArmRun, ...]:
    seen = [seen_at(panel, origin, plan.horizon) for origin in origins]
    return tuple(
        calibrate(panel, arm, paths=[*arm.paths, *paths[arm.name]], windows=seen, origins=origins, plan=plan)
        for arm in choice.arms
    )


def pieces(panel: Panel, budget: Budget) -> int:
    """Pieces of work at most: settings, validation and test of the baseline, of every arm and of every candidate."""
    return 3 * (1 + len(arms_of(panel)) + most_candidates(budget))


def _too_short(panel: Panel, plan: BacktestPlan) -> HistoryTooShort:
    return HistoryTooShort(
        f"no series is long enough: the longest has {int(panel.lengths.max(initial=0))} rows, {plan.need} are needed",
        field="horizon",
        allowed={"rows": plan.need},
        next_step=f"send {plan.need} rows per series, or shorten the horizon",
    )
