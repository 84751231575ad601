from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import REFERENCES_ONLY, hourly, panel_of

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.evaluation.backtest import backtest, fit_arm
from mcp_forecast_engine.evaluation.candidates import reads_covariates
from mcp_forecast_engine.evaluation.plan import longest_horizon, plan_for, rows_needed
from mcp_forecast_engine.evaluation.report import BacktestReport
from mcp_forecast_engine.evaluation.trust import Reason, judge
from mcp_forecast_engine.models.features import tail_inputs
from mcp_forecast_engine.models.spec import QUANTILES

ARMS = ["seasonal_naive", "target_only", "with_covariates", "with_all_covariates"]
DAYS = 80


def judged(panel: Panel, horizon: int = 24) -> BacktestReport:
    return backtest(panel, plan_for(panel, horizon), REFERENCES_ONLY).report


@pytest.fixture(scope="module")
def report() -> BacktestReport:
    panel = hourly(DAYS)
    return backtest(panel, plan_for(panel, 24)).report


def test_covariates_that_matter_win_and_the_report_says_by_how_much(report: BacktestReport) -> None:
    assert [arm.name for arm in report.arms][:4] == ARMS
    assert "driver" in report.arm(report.chosen).covariates
    naive, target, covariates = (report.arm(name).metric("MASE") for name in ARMS[:3])
    assert covariates < target < naive
    gain = next(c for c in report.comparisons if (c.arm, c.against) == ("with_covariates", "target_only"))
    assert gain.low is not None
    assert 0 < gain.low < gain.skill < 1


@pytest.mark.parametrize("seed", [0, 2])
def test_a_driver_that_wanders_beyond_its_known_range_is_followed(seed: int) -> None:
    panel = hourly(120, seed=seed)
    plan = plan_for(panel, 24)
    driver, first = panel.covariates["driver"], len(panel.y) - plan.back(0)
    assert (driver[first:] < driver[:first].min()).mean() > 0.1
    found = judged(panel)
    gain = next(c for c in found.comparisons if (c.arm, c.against) == ("with_covariates", "target_only"))
    assert gain.low is not None
    assert 0.2 < gain.low < gain.skill
    assert "driver" in found.arm(found.chosen).covariates


def test_intervals_hold_about_as_often_as_they_say(report: BacktestReport) -> None:
    for arm in report.arms:
        assert 0.7 <= arm.metric("coverage_80") <= 0.9, arm.name
        assert len(arm.coverage_by_step["80"]) == 24


def test_the_report_is_plain_json_and_the_same_at_every_run(report: BacktestReport) -> None:
    panel = hourly(DAYS)
    again = backtest(panel, plan_for(panel, 24)).report
    first, second = (json.dumps(r.to_dict(), allow_nan=False) for r in (report, again))
    assert first == second
    assert all(metric["definition"] for arm in report.to_dict()["arms"] for metric in arm["metrics"])


@pytest.mark.parametrize("value", [1e3, -1e4])
def test_what_happens_in_the_test_part_changes_neither_settings_nor_choice(
    report: BacktestReport, value: float
) -> None:
    panel = hourly(DAYS)
    plan = plan_for(panel, 24)
    test = np.arange(len(panel.y)) >= len(panel.y) - plan.back(plan.validation_windows)
    other = backtest(replace(panel, y=np.where(test, value, panel.y)), plan).report
    assert other.chosen == report.chosen
    assert other.choice == report.choice
    assert [one.to_dict() for one in other.tried] == [one.to_dict() for one in report.tried]
    for mine, theirs in zip(report.arms, other.arms, strict=True):
        assert mine.settings == theirs.settings
        assert mine.validation_mase == theirs.validation_mase


def test_a_covariate_that_says_nothing_is_not_chosen_over_the_target_alone() -> None:
    report = judged(hourly(60, effect=0.0))
    target, covariates = report.arm("target_only"), report.arm("with_covariates")
    assert report.arm(report.chosen).covariates == ()
    assert covariates.metric("MASE") < 1.1 * target.metric("MASE")


def test_progress_counts_up_to_its_total_and_a_stop_is_obeyed() -> None:
    panel = hourly(40)
    plan, seen = plan_for(panel, 24), []
    backtest(panel, plan, on_progress=lambda *told: seen.append(told))
    done = [done for done, _, _ in seen]
    assert done == sorted(set(done))
    assert {total for _, total, _ in seen} == {done[-1]}

    def stop(done: int, total: int, text: str) -> None:
        if done == 3:
            raise InterruptedError(f"after {done} of {total}")

    with pytest.raises(InterruptedError, match="after 3 of"):
        backtest(panel, plan, on_progress=stop)


def test_two_horizons_and_a_season_are_enough_and_little_evidence_is_said() -> None:
    y = 10 + np.sin(np.arange(25) * 2 * np.pi / 12) + np.random.default_rng(0).normal(size=25) * 0.1
    panel = panel_of([y], season_length=12, freq="1")
    report = judged(panel, 6)
    assert any("little evidence" in warning for warning in report.warnings)
    trust = judge(report)
    assert trust.verdict in ("caution", "do_not_trust")
    model = fit_arm(panel, report.arm(report.chosen))
    assert np.isfinite(model.quantiles(tail_inputs(panel, model.layout))).all()


def test_one_row_less_is_refused_with_the_number_needed() -> None:
    panel = panel_of([np.arange(24.0)], season_length=12, freq="1")
    with pytest.raises(HistoryTooShort, match="needs 25") as refusal:
        plan_for(panel, 6)
    assert refusal.value.allowed == {"rows": "at least 25", "horizon": "1 to 5"}
    plan_for(panel, 5)


@pytest.mark.parametrize(("rows", "season"), [(3, 1), (4, 1), (8, 1), (8, 7), (9, 7), (10, 7), (30, 12), (40, 7)])
def test_what_a_refusal_allows_can_be_planned_and_nothing_longer(rows: int, season: int) -> None:
    panel = panel_of([np.arange(float(rows))], season_length=season, freq="1")
    with pytest.raises(HistoryTooShort) as refusal:
        plan_for(panel, rows)
    most = longest_horizon(rows, season)
    assert refusal.value.allowed.get("horizon") == (f"1 to {most}" if most else None)
    for horizon in range(1, most + 1):
        plan_for(panel, horizon)
    with pytest.raises(HistoryTooShort):
        plan_for(panel, most + 1)
    if not most:
        need = rows_needed(rows, season)  # of the horizon that was asked for, in every place
        assert f"at least {need} rows" in str(refusal.value.next_step)
        plan_for(panel_of([np.arange(float(need))], season_length=season, freq="1"), rows)


def test_many_series_of_different_lengths_with_static_facts_are_pooled() -> None:
    draw = np.random.default_rng(2)
    series = [
        (i % 5 + 1) * (10 + 3 * np.sin(np.arange(n) * 2 * np.pi / 12) + draw.normal(size=n))
        for i, n in enumerate(draw.integers(70, 100, size=30))
    ]
    panel = panel_of(
        [*series, np.arange(12.0)],
        season_length=12,
        freq="1",
        static={"kind": [float(i % 5) for i in range(31)]},
        categories={"kind": ("a", "b", "c", "d", "e")},
    )
    report = judged(panel, 6)
    assert report.series == 30
    assert any("1 of 31 series are too short" in warning for warning in report.warnings)
    model = fit_arm(panel, report.arm("with_covariates"))
    found = model.quantiles(tail_inputs(panel, model.layout))
    assert found.shape == (31, 6, len(QUANTILES))
    assert np.isfinite(found).all()


def test_counts_are_never_forecast_below_zero_and_quantiles_never_cross() -> None:
    draw = np.random.default_rng(4)
    panel = panel_of([draw.poisson(0.4, size=400).astype(float)], season_length=7, freq="1")
    report = judged(panel, 7)
    for arm in report.arms:
        model = fit_arm(panel, arm)
        found = model.quantiles(tail_inputs(panel, model.layout))
        assert (found >= 0).all()
        assert (np.diff(found, axis=2) >= 0).all()


@pytest.mark.parametrize("value", [0.0, 7.3])
def test_a_series_that_never_moves_is_forecast_exactly_and_that_is_no_weak_point(value: float) -> None:
    panel = panel_of([np.full(120, value)], season_length=7, freq="1")
    trust = judge(backtest(panel, plan_for(panel, 7), REFERENCES_ONLY).report)
    assert trust.reasons[0] == Reason("trust", "every tested value was forecast exactly")
    assert not any("interval held" in reason.text or "no model beat" in reason.text for reason in trust.reasons)


def test_the_verdict_follows_skill_coverage_and_evidence(report: BacktestReport) -> None:
    good = judge(report)
    assert good.verdict == "trust"
    assert [arm["name"] for arm in good.tried][:4] == ARMS
    assert "driver" in good.notes[0]
    worse = tuple(replace(c, skill=-0.2, low=-0.3, high=-0.1) for c in report.comparisons)
    assert judge(replace(report, comparisons=worse)).verdict == "do_not_trust"
    unsure = tuple(replace(c, low=-0.1) for c in report.comparisons)
    assert judge(replace(report, comparisons=unsure)).verdict == "caution"
    json.dumps(good.to_dict(), allow_nan=False)


def test_covariates_that_cut_the_error_to_a_fifth_are_a_caution(report: BacktestReport) -> None:
    arms = []
    for arm in report.arms:
        factor = 20.0 if arm.name == "target_only" else 1.0
        metrics = tuple(replace(m, value=m.value * factor) if m.name == "MASE" else m for m in arm.metrics)
        arms.append(replace(arm, metrics=metrics))
    told = judge(replace(report, arms=tuple(arms)))
    assert told.verdict == "caution"
    (reason,) = [reason.text for reason in told.reasons if "not made from the target" in reason.text]
    assert reason.startswith("driver, kind cut the error of the target alone from ")
    assert not any("not made from the target" in reason.text for reason in judge(report).reasons)
    assert judge(replace(report, arms=tuple(arms)), derived=["driver", "kind"]).verdict == "trust"


def test_what_the_calendar_gives_is_no_uncertain_input_and_what_somebody_forecasts_is(report: BacktestReport) -> None:
    calendar = ("holiday", "workingday", "is_weekend", "hour_sin", "dayOfWeek", "week_of_year", "state_holiday")
    guessed = ("temp", "temperature_hour", "promo", "event_day", "sales_last_year")
    chosen = report.arm(report.chosen)
    read = replace(chosen, spec=replace(chosen.spec, known_future=(*calendar, "holiday_DE", *guessed)))
    arms = tuple(read if arm is chosen else arm for arm in report.arms)
    (told, *_) = judge(replace(report, arms=arms), derived=["holiday_DE"]).notes
    assert f"was given what {', '.join(guessed)} turned out to be" in told
    certain = replace(chosen, spec=replace(chosen.spec, known_future=calendar))
    arms = tuple(certain if arm is chosen else arm for arm in report.arms)
    assert not any("turned out to be" in note for note in judge(replace(report, arms=arms)).notes)


def test_what_covariates_are_worth_is_measured_on_the_same_model_with_and_without(report: BacktestReport) -> None:
    parts = {(part.arm, part.against) for part in report.parts if part.against == "target_only"}
    assert parts == {("with_covariates", "target_only"), ("with_all_covariates", "target_only")}
    assert [name for name in (*ARMS, "combination", "pretrained") if reads_covariates(name)] == [
        "with_covariates", "with_all_covariates",
    ]  # fmt: skip


def test_the_baseline_is_the_plain_rule_recomputed_by_hand() -> None:
    draw = np.random.default_rng(3)
    y = 50 + np.arange(400) * 0.5 + 20 * np.sin(np.arange(400) * 2 * np.pi / 12) + draw.normal(size=400) * 4
    panel = panel_of([y], season_length=12, freq="1")
    plan = plan_for(panel, 18)
    report = backtest(panel, plan, REFERENCES_ONLY).report
    errors = []
    for window in range(plan.validation_windows, plan.windows):
        origin = len(y) - plan.back(window)
        repeated = y[origin - 12 + np.arange(18) % 12]
        errors.append(np.abs(y[origin : origin + 18] - repeated))
    assert report.arm("seasonal_naive").metric("MAE") == pytest.approx(np.mean(errors), rel=1e-9)
