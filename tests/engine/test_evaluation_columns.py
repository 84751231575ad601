from __future__ import annotations

import numpy as np
from forecast_toys import REFERENCES_ONLY, panel_of

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.backtest import backtest
from mcp_forecast_engine.evaluation.budget import Budget
from mcp_forecast_engine.evaluation.candidates import arms_of
from mcp_forecast_engine.evaluation.plan import plan_for


def months(*, holidays: bool, promotion: bool = True) -> Panel:
    """Ten years of sales with promotions, and the holidays of each month, which say nothing of them."""
    draw, t = np.random.default_rng(7), np.arange(120)
    promoted = (draw.random(120) < 0.25).astype(float)
    y = 200 + 40 * np.sin(2 * np.pi * t / 12) + 80 * promoted + draw.normal(0, 8, 120)
    columns = {"promotion": [promoted]} if promotion else {}
    columns |= {"holiday_DE": [draw.integers(0, 4, 120).astype(float)]} if holidays else {}
    return panel_of([y], season_length=12, freq="1", known_future=columns)


def test_holidays_are_tried_apart_from_columns_that_were_supplied() -> None:
    assert [arm.name for arm in arms_of(months(holidays=False))] == ["target_only", "with_covariates"]
    assert [arm.name for arm in arms_of(months(holidays=True, promotion=False))] == ["target_only", "with_covariates"]
    assert [arm.name for arm in arms_of(months(holidays=True))] == [
        "target_only", "with_holidays", "without_holidays", "with_covariates",
    ]  # fmt: skip


def test_holidays_that_tell_nothing_are_left_out_and_promotions_kept() -> None:
    panel = months(holidays=True)
    report = backtest(panel, plan_for(panel, 6), REFERENCES_ONLY).report
    assert report.arm("with_holidays").covariates == ("holiday_DE",)
    assert report.arm(report.chosen).covariates == ("promotion",)


def test_a_promotion_that_only_a_regression_sees_is_chosen_within_the_small_budget_without_extras() -> None:
    panel = months(holidays=False)
    report = backtest(panel, plan_for(panel, 12), Budget("small", 5.0, ())).report
    chosen = report.arm(report.chosen)
    assert [member.family for member in chosen.members] == ["effects"]
    assert chosen.metric("MASE") < 0.7 * report.arm("with_covariates").metric("MASE")


def test_short_straight_lines_are_followed() -> None:
    errors = []
    for seed, steps in enumerate((40, 30, 34, 26)):
        y = 10 + np.arange(float(steps)) + np.random.default_rng(seed).normal(size=steps)
        panel = panel_of([y], season_length=7, freq="1")
        report = backtest(panel, plan_for(panel, 5), Budget("small", 5.0, ())).report
        errors.append(report.arm(report.chosen).metric("MASE"))
    assert np.mean(errors) < 0.25
