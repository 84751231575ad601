"""Our engine on a task: the only file here that knows how the engine is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module

import numpy as np

from forecasting.machine import cpu_seconds
from forecasting.tasks import Budget, Floats, Forecasts, Integers, Task
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.auto import choose
from mcp_forecast_engine.evaluation.backtest import backtest, pieces, walk_test
from mcp_forecast_engine.evaluation.budget import BUDGETS, installed_extras
from mcp_forecast_engine.evaluation.plan import BacktestPlan, origins_of, plan_for
from mcp_forecast_engine.evaluation.progress import Progress
from mcp_forecast_engine.evaluation.report import BacktestReport, Tried
from mcp_forecast_engine.models.regression import one_thread
from mcp_forecast_engine.models.spec import QUANTILES

VALIDATION_STRIDE = 12  # steps between the windows that choose, where a window starts at every step


def forecasts(panel: Panel, task: Task, budget: Budget) -> Forecasts:
    """Every test window's forecast, chosen and fitted as a training within `budget` does.

    Nothing of the test part decides anything: the engine sees the history before each origin, and where the task has
    `fit_rows` it fits on those rows once and chooses on the rows up to `choose_rows`.
    """
    panel = replace(panel, season_length=task.season_length)
    for extra in installed_extras():
        import_module(extra)  # importing is no part of the work
    begun = cpu_seconds()
    if task.fit_rows is not None:
        return _fitted_once(panel, task, budget, begun)
    plan = plan_of(panel, task)
    found = backtest(panel, plan, BUDGETS[budget], cpu_clock=cpu_seconds)
    run, report = found.run(found.report.chosen), found.report
    spent = cpu_seconds() - begun
    steps = run.steps[plan.validation_windows :]
    quantiles = np.concatenate(run.issued.quantiles[plan.validation_windows :])
    together = arranged(
        quantiles,
        window=np.concatenate([np.full(len(step.series), k) for k, step in enumerate(steps)]),
        series=np.concatenate([step.series for step in steps]),
        windows=task.test_windows,
        count=len(panel.unique_id),
    )
    notes = (report.choice, *_costs(report.tried, found.costs), *_uplift(report), *report.warnings, *report.notes)
    return Forecasts(together[..., QUANTILES.index(0.5)], together, QUANTILES, spent, None, notes)


def plan_of(panel: Panel, task: Task) -> BacktestPlan:
    """The engine's own validation windows before exactly the task's test windows. Raises HistoryTooShort."""
    if task.fit_rows is None or task.choose_rows is None:
        plan = plan_for(panel, task.horizon, test_windows=task.test_windows)
        stride = task.stride if task.test_windows > 1 else plan.stride
        return replace(plan, stride=stride, test_windows=task.test_windows, ahead=task.horizon, own_ends=True)
    room = task.choose_rows - task.fit_rows - task.horizon
    return BacktestPlan(
        horizon=task.horizon, season_length=task.season_length, stride=task.stride, test_windows=task.test_windows,
        validation_windows=room // VALIDATION_STRIDE + 1, validation_stride=VALIDATION_STRIDE, refits=0,
    )  # fmt: skip


def _fitted_once(panel: Panel, task: Task, budget: Budget, begun: float) -> Forecasts:
    """Points only: as many windows as rows would need gigabytes of quantiles."""
    plan = plan_of(panel, task)
    origins, progress = origins_of(panel, plan), Progress(pieces(panel, BUDGETS[budget]), None, cpu_seconds)
    with one_thread():
        choice = choose(panel, plan, origins, BUDGETS[budget], progress)
        only = replace(choice, arms=(choice.arm(choice.chosen),))
        paths = walk_test(panel, only, plan, origins, progress)[choice.chosen]
    notes = (choice.reason, *_costs(choice.tried, progress.costs), *choice.notes)
    return Forecasts(np.stack(paths), cpu_s=cpu_seconds() - begun, notes=notes)


def _uplift(report: BacktestReport) -> list[str]:
    """What covariates are worth to the same model on the test windows."""
    return [
        f"uplift by covariates, the same ridge: MASE {found.skill:.1%} smaller "
        + (f"(95 % interval {found.low:.1%} to {found.high:.1%})" if found.low is not None else "(too few windows)")
        for found in report.comparisons
        if found.against == "target_only" and found.arm.startswith("with_") and found.metric == "MASE"
    ]


def _costs(tried: Sequence[Tried], measured: Mapping[str, float]) -> list[str]:
    """What each model got and cost."""
    return [
        f"{one.name}: weight {one.weight:.3g}, "
        f"planned {one.planned_cpu_s:.1f}, took {measured.get(one.name, 0.0):.1f} CPU s"
        for one in tried
    ]


def arranged(values: Floats, *, window: Integers, series: Integers, windows: int, count: int) -> Floats:
    """Rows (R, horizon, ...) of one window and one series each as (windows, count, horizon, ...), NaN where none is.

    window: int (R), 0 for the first test window. series: int (R), place in the panel.
    """
    found = np.full((windows, count, *values.shape[1:]), np.nan)
    found[window, series] = values
    return found
