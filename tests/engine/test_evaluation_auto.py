"""What is tried follows from question and budget, is told with its cost, and nothing of the test part decides."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import REFERENCES_ONLY, hourly, panel_of

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.backtest import Backtest, backtest, fit_arm
from mcp_forecast_engine.evaluation.budget import BUDGETS, EXTRAS, installed_extras
from mcp_forecast_engine.evaluation.candidates import LineUp, line_up
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.evaluation.report import read_arm
from mcp_forecast_engine.evaluation.trust import judge
from mcp_forecast_engine.models.features import tail_inputs
from mcp_forecast_engine.models.spec import spec_for

ROLES = ("known_future", "static")


def months(series: int = 30, length: int = 60) -> Panel:
    """Short monthly series with trend: where classical models are hard to beat."""
    draw = np.random.default_rng(6)
    step = np.arange(length)
    made = [
        50 + i + draw.normal() * 0.3 * step + 9 * np.sin(2 * np.pi * step / 12) + draw.normal(size=length)
        for i in range(series)
    ]
    return panel_of(made, season_length=12, freq="1")


def planned(panel: Panel, budget: str = "small", *, horizon: int = 24) -> LineUp:
    plan = plan_for(panel, horizon)
    return line_up(panel, spec_for(panel, horizon, roles=ROLES), plan, BUDGETS[budget])


@pytest.fixture(scope="module")
def found() -> Backtest:
    panel = months()
    return backtest(panel, plan_for(panel, 6), BUDGETS["small"])


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_same_question_is_asked_of_the_same_models_whatever_the_values_are(budget: str) -> None:
    panel = hourly(120)
    other = replace(panel, y=panel.y[::-1] * 7 - 3)
    assert planned(panel, budget) == planned(other, budget) == planned(panel, budget)
    assert planned(panel, budget).candidates


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("panel", [hourly(120), months()], ids=["one long series", "many short series"])
def test_what_is_planned_stays_within_the_budget(panel: Panel, budget: str) -> None:
    found = planned(panel, budget, horizon=6)
    assert sum(candidate.cpu_s for candidate in found.candidates) <= BUDGETS[budget].cpu_s + 0.01 * len(
        found.candidates
    )
    names = [candidate.name for candidate in found.candidates]
    assert len(set(names)) == len(names)


def test_a_model_that_the_budget_does_not_reach_is_named_with_what_it_would_cost() -> None:
    panel = months()
    found = line_up(panel, spec_for(panel, 6), plan_for(panel, 6), replace(REFERENCES_ONLY, cpu_s=0.001))
    assert all(candidate.cpu_s == 0 for candidate in found.candidates)
    assert any("planned" in line and "left of the budget" in line for line in found.left_out)


def test_a_model_whose_extra_is_not_installed_is_named_and_the_rest_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = hourly(120)
    for name in EXTRAS:
        monkeypatch.setitem(sys.modules, name, None)  # as an import finds a package that is not there
    assert installed_extras() == ()
    missing = [line for line in planned(panel).left_out if "is not installed" in line]
    assert any("lightgbm" in line for line in missing)
    assert planned(panel).candidates
    assert not {candidate.family for candidate in planned(panel).candidates} & {"tabular", "mlp", "segment_lstm"}
    small = hourly(60)
    report = backtest(small, plan_for(small, 24)).report
    assert any("is not installed" in note for note in report.notes)
    assert any("is not installed" in note for note in judge(report).notes)  # told, and nothing against the forecast
    assert not any("is not installed" in reason.text for reason in judge(report).reasons)


def test_everything_tried_is_told_with_its_error_and_the_parts_of_the_mix_add_up(found: Backtest) -> None:
    report = found.report
    tried = report.to_dict()["tried"]
    assert {"seasonal_naive", "target_only", "theta", "ces", "ets"} <= {line["name"] for line in tried}
    assert sum(line["weight"] for line in tried) == pytest.approx(1.0, abs=1e-6)
    arm = report.arm(report.chosen)
    parts = {member.name for member, weight in zip(arm.members, arm.weights, strict=True) if weight}
    assert {line["name"] for line in tried if line["weight"]} == parts
    assert (report.chosen == "combination") == (len(parts) > 1)
    for line in tried:
        assert line["validation_mase"] > 0
        assert f"{line['name']} {line['validation_mase']:.4g}" in report.choice
    assert report.choice.endswith(f"so {report.chosen}")
    json.dumps(tried, allow_nan=False)


def test_where_little_was_seen_the_reason_names_the_models_whose_mean_takes_half() -> None:
    draw, step = np.random.default_rng(1), np.arange(48)
    y = 100 + 10 * np.sin(2 * np.pi * step / 12) + 3 * draw.normal(size=48).cumsum()
    panel = panel_of([y], season_length=12, freq="1")
    report = backtest(panel, plan_for(panel, 6), BUDGETS["small"]).report
    assert report.choice.endswith("little was seen: half of the answer is the mean of theta, ets, ces, so combination")
    parts = {line.name: line.weight for line in report.tried}
    assert all(parts[name] > 1 / 6 - 1e-6 for name in ("theta", "ets", "ces"))
    assert any("the same model as" in note and "not tried twice" in note for note in report.notes)


def test_one_model_of_the_line_up_that_answers_alone_goes_by_its_own_name() -> None:
    draw, step = np.random.default_rng(0), np.arange(108)
    promotion = (draw.random(108) < 0.3).astype(float)
    y = 200 + 2 * step + 30 * np.sin(2 * np.pi * step / 12) + 80 * promotion + 4 * draw.normal(size=108)
    panel = panel_of([y], season_length=12, freq="1", known_future={"promotion": [promotion]})
    report = backtest(panel, plan_for(panel, 6), BUDGETS["small"]).report
    assert report.chosen == "effects"
    assert [line.name for line in report.tried if line.weight] == ["effects"]
    assert [member.name for member in report.arm("effects").members] == ["effects"]
    assert report.choice.endswith("so effects")
    assert "combination" not in report.choice


def test_models_that_suit_short_series_beat_the_baseline_and_the_one_to_serve_is_the_best_of_validation(
    found: Backtest,
) -> None:
    report = found.report
    best = min(arm.validation_mase for arm in report.arms)
    assert report.arm(report.chosen).validation_mase == best
    assert report.arm(report.chosen).metric("MASE") < 0.9 * report.arm("seasonal_naive").metric("MASE")


def test_a_clock_is_only_reported_and_the_report_is_the_same_without_one(found: Backtest) -> None:
    panel, ticks = months(), iter(range(10_000))
    timed = backtest(panel, plan_for(panel, 6), BUDGETS["small"], cpu_clock=lambda: float(next(ticks)))
    assert timed.report.to_dict() == found.report.to_dict()
    assert found.costs == {}
    assert {line.name for line in found.report.tried} <= set(timed.costs)
    assert all(cost > 0 for cost in timed.costs.values())


def test_the_chosen_mix_is_read_back_from_the_report_and_answers_as_before(found: Backtest) -> None:
    panel = months()
    arm = found.report.arm(found.report.chosen)
    again = read_arm(json.loads(json.dumps(arm.to_dict())))
    mine, theirs = (fit_arm(panel, one) for one in (arm, again))
    inputs = tail_inputs(panel, mine.layout)
    assert mine.quantiles(inputs).tobytes() == theirs.quantiles(inputs).tobytes()


@pytest.mark.parametrize("value", [1e4, -1e4, -0.001])
def test_the_test_part_decides_nothing_for_many_series_either(found: Backtest, value: float) -> None:
    panel = months()
    plan = plan_for(panel, 6)
    step = np.arange(len(panel.y)) - np.repeat(panel.offsets[:-1], panel.lengths)
    late = step >= np.repeat(panel.lengths - plan.back(plan.validation_windows), panel.lengths)
    other = backtest(replace(panel, y=np.where(late, value, panel.y)), plan, BUDGETS["small"]).report
    assert other.choice == found.report.choice
    assert other.tried == found.report.tried
    assert [arm.settings for arm in other.arms] == [arm.settings for arm in found.report.arms]
