"""The backtest: what answers is chosen before the test part, which is only reported, every arm on the same windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.evaluation.auto import Choice, choose
from mcp_forecast_engine.evaluation.breakdown import Part, PartScores, breakdown, part_scores
from mcp_forecast_engine.evaluation.budget import BUDGETS, Budget
from mcp_forecast_engine.evaluation.candidates import BASELINE, TARGET_ONLY, arms_of, most_candidates, reads_covariates
from mcp_forecast_engine.evaluation.champion import ACTIVE, Champion, walk_champion
from mcp_forecast_engine.evaluation.comparison import compare
from mcp_forecast_engine.evaluation.divisions import Division, divisions
from mcp_forecast_engine.evaluation.losses import Losses, losses_of
from mcp_forecast_engine.evaluation.members import Member, Walked, fit_members
from mcp_forecast_engine.evaluation.metrics import Scored, all_metrics, coverage_by_step
from mcp_forecast_engine.evaluation.parallel import each
from mcp_forecast_engine.evaluation.plan import ENOUGH_WINDOWS, MANY_SERIES, BacktestPlan, counts_own_ends, origins_of
from mcp_forecast_engine.evaluation.predictions import Forecasts, kept_arms, write_predictions
from mcp_forecast_engine.evaluation.pretrained_candidates import PRETRAINED, provenance
from mcp_forecast_engine.evaluation.progress import OnProgress, Progress
from mcp_forecast_engine.evaluation.report import ArmReport, BacktestReport, Comparison
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
    active: ArmReport | None = None,
) -> Backtest:
    """Choose by the windows before the test part, then score every arm on the same test windows.

    Deterministic bit for bit: seeds, linear algebra on one thread; cpu_clock (of the calling thread) is only reported.
    cores: threads that models are shared among; any number gives the same bytes. What `on_progress` raises ends it
    between pieces of work. active: the arm that serves today, walked beside the others as "active"; where it cannot be,
    the notes say why. Raises HistoryTooShort.
    """
    progress = Progress(pieces(panel, budget) + (len(active.members) if active else 0), on_progress, cpu_clock)
    origins = origins_of(panel, plan)
    test = origins[plan.validation_windows :]
    if not all(np.any(origin >= 0) for origin in origins):
        raise _too_short(panel, plan)
    with one_thread():
        choice = choose(panel, plan, origins, budget, progress, cores=cores)
        paths = walk_test(panel, choice, plan, origins, progress, cores=cores)
        champion = walk_champion(panel, active, plan, origins, progress, cores=cores) if active else None
        refused = (champion,) if isinstance(champion, str) else ()
        runs = _calibrated(panel, choice, plan, origins, paths)
        errors = {arm.name: arm.validation_mase for arm in choice.arms}
        if isinstance(champion, Champion):
            runs, errors = (*runs, champion.run), {**errors, ACTIVE: champion.validation_mase}
        scale = mase_scale(panel, plan, test[0])
        scored = {run.name: run.test(scale) for run in runs}
        arms = tuple(_arm_report(run, scored[run.name], errors[run.name]) for run in runs)
    first = scored[choice.chosen]
    divided = _divided(first, panel, plan, test, runs[0])
    report = BacktestReport(
        plan=plan,
        series=len(np.unique(first.series)),
        scored_steps=int(first.observed.sum()),
        first_test_ds=int(min(step.truth.ds.min() for step in runs[0].tested)),
        last_test_ds=int(max(step.truth.ds.max() for step in runs[0].tested)),
        arms=arms,
        tried=choice.tried,
        comparisons=_comparisons(scored, choice.chosen, plan),
        chosen=choice.chosen,
        choice=choice.reason,
        parts=_parts(scored, choice.chosen, divided, plan),
        part_scores=_part_scores(scored, choice.chosen, divided),
        losses=_losses(scored, choice.chosen, panel, plan, origins=test, walked=runs[0]),
        warnings=_warnings(panel, plan, first, next(arm for arm in arms if arm.name == choice.chosen)),
        notes=(*choice.notes, *refused),
    )
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


def _arm_report(run: ArmRun, scored: Scored, validation_mase: float) -> ArmReport:
    return ArmReport(
        name=run.name,
        covariates=run.spec.covariates,
        spec=run.spec,
        members=run.members,
        weights=run.weights,
        rule=run.rule,
        lookback=run.lookback,
        phases=tuple(int(phase) for phase in run.phases),
        validation_mase=validation_mase,
        metrics=all_metrics(scored),
        coverage_by_step={
            "80": coverage_by_step(scored, 0.1, 0.9),
            "95": coverage_by_step(scored, 0.025, 0.975),
        },
        intervals=run.intervals(),
    )


def _comparisons(scored: dict[str, Scored], chosen: str, plan: BacktestPlan) -> tuple[Comparison, ...]:
    """Every arm against the baseline, every arm of this run against the target-only one, what would serve against what
    does."""
    pairs = [(name, BASELINE) for name in scored if name != BASELINE and BASELINE in scored]
    own = [name for name in scored if name not in (BASELINE, TARGET_ONLY, ACTIVE)]
    pairs += [(name, TARGET_ONLY) for name in own if TARGET_ONLY in scored]
    pairs += [(chosen, ACTIVE)] if ACTIVE in scored else []
    return tuple(c for arm, against in pairs for c in compare(arm, against, scored[arm], scored[against], plan))


def _divided(
    scored: Scored, panel: Panel, plan: BacktestPlan, origins: list[Integers], walked: ArmRun
) -> tuple[Division, ...]:
    """The parts of the test, the same for every arm."""
    stamps = np.concatenate([step.truth.ds[:, 0] for step in walked.tested])
    phase = phase_of(stamps, panel.axis, plan.season_length)
    return tuple(divisions(scored, panel, plan, phase, origins))


def _parts(
    scored: dict[str, Scored], chosen: str, divided: tuple[Division, ...], plan: BacktestPlan
) -> tuple[Part, ...]:
    """Where what would serve and what does beat the baseline, the one beats the other, and where reading covariates
    beats reading none (the same model)."""
    pairs = [(name, BASELINE) for name in (chosen, ACTIVE) if name in scored and name != BASELINE]
    pairs += [(chosen, ACTIVE)] if ACTIVE in scored else []
    pairs += [(name, TARGET_ONLY) for name in scored if reads_covariates(name)]
    return tuple(part for a, b in pairs for part in breakdown(a, b, scored[a], scored[b], divided, seed=plan.seed))


def _part_scores(scored: dict[str, Scored], chosen: str, divided: tuple[Division, ...]) -> tuple[PartScores, ...]:
    """Of the arms that decide, whose forecasts are stored whatever their size."""
    return part_scores({name: scored[name] for name in scored if name in (chosen, BASELINE, ACTIVE)}, divided)


def _losses(
    scored: dict[str, Scored], chosen: str, panel: Panel, plan: BacktestPlan, *, origins: list[Integers], walked: ArmRun
) -> Losses:
    """What other runs are compared with: the arm that would serve, and the baseline that every run has."""
    kept = {name: one for name, one in scored.items() if name in (chosen, BASELINE)}
    ds = np.concatenate([step.truth.ds for step in walked.tested])
    return losses_of(kept, panel, origins=origins, ds=ds, samples=plan.bootstrap_samples, seed=plan.seed)


def _warnings(panel: Panel, plan: BacktestPlan, scored: Scored, arm: ArmReport) -> tuple[str, ...]:
    found = []
    series = len(np.unique(scored.series))
    if plan.test_windows < ENOUGH_WINDOWS and series < MANY_SERIES:
        found.append(f"little evidence: {plan.test_windows} test windows of {series} series")
    if arm.intervals.residuals < _FEW_WINDOWS * plan.horizon and series < MANY_SERIES:
        found.append(f"intervals rest on {arm.intervals.residuals} past errors: their outer levels are rough")
    if series < len(panel.unique_id):
        absent = f"{len(panel.unique_id) - series} of {len(panel.unique_id)} series"
        found.append(f"{absent} are too short to be tested, or end before the last windows")
    if counts_own_ends(panel, plan):
        found.append(
            "series end at different dates, and too few hold the last windows: windows are counted back from the end "
            "of each series, so a model of all of them may have seen other series at later dates than it is tested on"
        )
    found += [provenance(member) for member in arm.members if member.family == PRETRAINED]
    filled = 1 - float(panel.observed.mean())
    if filled > 0.05:
        found.append(f"{filled:.0%} of the steps were filled in or clipped, not observed; they are not scored")
    return tuple(found)


def _too_short(panel: Panel, plan: BacktestPlan) -> HistoryTooShort:
    return HistoryTooShort(
        f"no series is long enough: the longest has {int(panel.lengths.max(initial=0))} rows, {plan.need} are needed",
        field="horizon",
        allowed={"rows": plan.need},
        next_step=f"send {plan.need} rows per series, or shorten the horizon",
    )
