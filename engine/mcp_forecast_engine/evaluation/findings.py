"""What the walks of a backtest show: scores of every arm, paired comparisons, parts of the test, and weak points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.auto import Choice
from mcp_forecast_engine.evaluation.baseline import baseline_note
from mcp_forecast_engine.evaluation.breakdown import Part, PartScores, breakdown, part_scores
from mcp_forecast_engine.evaluation.candidates import BASELINE, TARGET_ONLY, reads_covariates
from mcp_forecast_engine.evaluation.champion import ACTIVE, Champion
from mcp_forecast_engine.evaluation.comparison import compare
from mcp_forecast_engine.evaluation.divisions import Division, divisions
from mcp_forecast_engine.evaluation.losses import Losses, losses_of
from mcp_forecast_engine.evaluation.metrics import Scored, all_metrics, coverage_by_step
from mcp_forecast_engine.evaluation.plan import ENOUGH_WINDOWS, MANY_SERIES, BacktestPlan, counts_own_ends, origins_of
from mcp_forecast_engine.evaluation.pretrained_candidates import PRETRAINED, provenance
from mcp_forecast_engine.evaluation.report import ArmReport, BacktestReport, Comparison
from mcp_forecast_engine.evaluation.rolling import ArmRun
from mcp_forecast_engine.evaluation.trials import mase_scale
from mcp_forecast_engine.models.features import phase_of

Integers = NDArray[np.int64]

_FEW_WINDOWS = 20


def report_of(
    panel: Panel, plan: BacktestPlan, choice: Choice, runs: tuple[ArmRun, ...], champion: Champion | str | None
) -> BacktestReport:
    """Score these walks on the test windows, and everything that follows from it; the same bytes every time.

    runs: of the choice's arms, then of what serves today. champion: this one, or why it could not be walked.
    """
    test = origins_of(panel, plan)[plan.validation_windows :]
    errors = {arm.name: arm.validation_mase for arm in choice.arms}
    errors |= {ACTIVE: champion.validation_mase} if isinstance(champion, Champion) else {}
    refused = (champion,) if isinstance(champion, str) else ()
    scale = mase_scale(panel, plan, test[0])
    scored = {run.name: run.test(scale) for run in runs}
    arms = tuple(_arm_report(run, scored[run.name], errors[run.name]) for run in runs)
    first, walked = scored[choice.chosen], runs[0]
    divided = _divided(first, panel, plan, test, walked)
    return BacktestReport(
        plan=plan,
        series=len(np.unique(first.series)),
        scored_steps=int(first.observed.sum()),
        first_test_ds=int(min(step.truth.ds.min() for step in walked.tested)),
        last_test_ds=int(max(step.truth.ds.max() for step in walked.tested)),
        arms=arms,
        tried=choice.tried,
        comparisons=_comparisons(scored, choice.chosen, plan),
        chosen=choice.chosen,
        choice=choice.reason,
        parts=_parts(scored, choice.chosen, divided, plan),
        part_scores=_part_scores(scored, choice.chosen, divided),
        losses=_losses(scored, choice.chosen, panel, plan, origins=test, walked=walked),
        warnings=_warnings(panel, plan, first, next(arm for arm in arms if arm.name == choice.chosen)),
        notes=(*baseline_note(plan), *choice.notes, *refused),
    )


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
