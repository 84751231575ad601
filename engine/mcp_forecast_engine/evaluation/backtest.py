"""The backtest: every arm on the same windows, the arm chosen before the test part, the test part only reported."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.evaluation.candidates import BASELINE, TARGET_ONLY, Candidate
from mcp_forecast_engine.evaluation.comparison import compare
from mcp_forecast_engine.evaluation.losses import Losses, losses_of
from mcp_forecast_engine.evaluation.metrics import Scored, all_metrics, coverage_by_step, mase
from mcp_forecast_engine.evaluation.plan import ENOUGH_WINDOWS, MANY_SERIES, BacktestPlan, origins_of
from mcp_forecast_engine.evaluation.progress import OnProgress, Progress
from mcp_forecast_engine.evaluation.report import ArmReport, BacktestReport, Comparison
from mcp_forecast_engine.evaluation.rolling import ArmRun, refits, walk
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration
from mcp_forecast_engine.models.regression import one_thread
from mcp_forecast_engine.models.table import MODELS
from mcp_forecast_engine.models.windows import seasonal_change

Floats = NDArray[np.float64]
MARGIN = 0.02  # a gain on validation below this is no reason to read more columns
Integers = NDArray[np.int64]

_FEW_WINDOWS = 20


def backtest(
    panel: Panel,
    candidates: Sequence[Candidate],
    plan: BacktestPlan,
    *,
    on_progress: OnProgress | None = None,
) -> BacktestReport:
    """Score every arm on the same rolling-origin windows and choose one by the windows before the test part.

    Deterministic bit for bit: one thread, seeded bootstrap, no clock. What `on_progress` raises ends it between refits.
    Raises HistoryTooShort.
    """
    progress = Progress(len(candidates) * (1 + refits(plan)), on_progress)
    origins = origins_of(panel, plan)
    test = origins[plan.validation_windows :]
    if not all(np.any(origin >= 0) for origin in origins):
        raise _too_short(panel, plan)
    with one_thread():
        runs = [walk(panel, candidate, plan, origins, progress) for candidate in candidates]
        scale = _scale(panel, plan, test[0])
        scored = {run.candidate.name: run.test(scale) for run in runs}
        arms = tuple(_arm_report(run, scored[run.candidate.name], panel, plan, origins) for run in runs)
        before = _scale(panel, plan, next(origin for origin in origins if np.any(origin >= 0)))
        chosen, choice = _choose({run.candidate.name: run.validation(before) for run in runs}, plan)
    first = scored[chosen]
    return BacktestReport(
        plan=plan,
        series=len(np.unique(first.series)),
        scored_steps=int(first.observed.sum()),
        first_test_ds=int(min(step.truth.ds.min() for step in runs[0].steps[plan.validation_windows :])),
        last_test_ds=int(max(step.truth.ds.max() for step in runs[0].steps[plan.validation_windows :])),
        arms=arms,
        comparisons=_comparisons(scored, plan),
        chosen=chosen,
        choice=choice,
        losses=_losses(scored, chosen, panel, plan, origins=test, walked=runs[0]),
        warnings=_warnings(panel, plan, first, next(arm for arm in arms if arm.name == chosen)),
    )


def fit_arm(panel: Panel, found: ArmReport) -> CalibratedModel:
    """Fit one arm on the whole panel, with its settings and the intervals that the backtest measured."""
    path = MODELS[found.family].fit(panel, found.spec, found.settings)
    return CalibratedModel(
        path=path,
        calibration=Calibration(
            offsets=np.array(found.intervals.offsets),
            spread=found.intervals.spread,
            phase=found.intervals.phase,
        ),
    )


def _scale(panel: Panel, plan: BacktestPlan, until: Integers) -> Floats:
    """MASE's scale: seasonal change before the first test origin, zero (left out) where there is none."""
    until = np.where(until >= 0, until, 0)
    return np.nan_to_num(seasonal_change(panel, max(plan.season_length, 1), until))


def _arm_report(run: ArmRun, scored: Scored, panel: Panel, plan: BacktestPlan, origins: list[Integers]) -> ArmReport:
    before = next(origin for origin in origins if np.any(origin >= 0))
    return ArmReport(
        name=run.candidate.name,
        family=run.candidate.family,
        covariates=run.spec.covariates,
        spec=run.spec,
        settings=run.settings,
        validation_mase=mase(run.validation(_scale(panel, plan, before))).value,
        metrics=all_metrics(scored),
        coverage_by_step={
            "80": coverage_by_step(scored, 0.1, 0.9),
            "95": coverage_by_step(scored, 0.025, 0.975),
        },
        intervals=run.intervals(),
    )


def _choose(validation: dict[str, Scored], plan: BacktestPlan) -> tuple[str, str]:
    """The arm to serve, by the windows before the test part. An arm that reads more has to earn it.

    In the order of how much they read, an arm replaces the one before when its error is surely smaller (the paired
    interval of the gain leaves out zero) or smaller by at least MARGIN: the smallest of several errors that are nearly
    equal is smallest by luck, and every column read is one that can go wrong. Any model replaces the baseline when its
    error is smaller.
    """
    chosen, told = "", []
    for name, scored in validation.items():
        error = mase(scored).value
        told.append(f"{name} {error:.4g}" if np.isfinite(error) else f"{name} undefined (nothing to scale errors by)")
        if not chosen:
            chosen = name
            continue
        gain = next(c for c in compare(name, chosen, scored, validation[chosen], plan) if c.metric == "MASE")
        surely = gain.low is not None and gain.low > 0
        if gain.skill > (0 if chosen == BASELINE or surely else MARGIN):
            chosen = name
    rule = f"an arm that reads more has to be at least {MARGIN:.0%} better than one that reads less, or surely better"
    return chosen, f"MASE on the windows before the test part: {', '.join(told)}; {rule}, so {chosen}"


def _comparisons(scored: dict[str, Scored], plan: BacktestPlan) -> tuple[Comparison, ...]:
    """Every arm against the baseline, every covariate arm against the target-only one."""
    pairs = [(name, BASELINE) for name in scored if name != BASELINE and BASELINE in scored]
    pairs += [(name, TARGET_ONLY) for name in scored if name not in (BASELINE, TARGET_ONLY) and TARGET_ONLY in scored]
    return tuple(c for arm, against in pairs for c in compare(arm, against, scored[arm], scored[against], plan))


def _losses(
    scored: dict[str, Scored], chosen: str, panel: Panel, plan: BacktestPlan, *, origins: list[Integers], walked: ArmRun
) -> Losses:
    """What other runs are compared with: the arm that would serve, and the baseline that every run has."""
    kept = {name: one for name, one in scored.items() if name in (chosen, BASELINE)}
    ds = np.concatenate([step.truth.ds for step in walked.steps[plan.validation_windows :]])
    return losses_of(kept, panel, origins=origins, ds=ds, samples=plan.bootstrap_samples, seed=plan.seed)


def _warnings(panel: Panel, plan: BacktestPlan, scored: Scored, arm: ArmReport) -> tuple[str, ...]:
    found = []
    series = len(np.unique(scored.series))
    if plan.test_windows < ENOUGH_WINDOWS and series < MANY_SERIES:
        found.append(f"little evidence: {plan.test_windows} test windows of {series} series")
    if arm.intervals.residuals < _FEW_WINDOWS * plan.horizon and series < MANY_SERIES:
        found.append(f"intervals rest on {arm.intervals.residuals} past errors: their outer levels are rough")
    if series < len(panel.unique_id):
        found.append(f"{len(panel.unique_id) - series} of {len(panel.unique_id)} series are too short to be tested")
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
