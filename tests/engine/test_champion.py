"""What serves today walks the windows of the run that wants its place, and is compared with it there."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import REFERENCES_ONLY, hourly

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.backtest import Backtest, backtest
from mcp_forecast_engine.evaluation.champion import UNCOMPARED
from mcp_forecast_engine.evaluation.plan import BacktestPlan, plan_for
from mcp_forecast_engine.evaluation.predictions import read_predictions
from mcp_forecast_engine.evaluation.report import ArmReport, read_arm
from mcp_forecast_engine.store.identity import canonical_bytes


@pytest.fixture(scope="module")
def panel() -> Panel:
    return hourly(40)


@pytest.fixture(scope="module")
def alone(panel: Panel) -> Backtest:
    return backtest(panel, plan_for(panel, 24), REFERENCES_ONLY)


def against(panel: Panel, active: ArmReport, plan: BacktestPlan | None = None, *, cores: int = 1) -> Backtest:
    return backtest(panel, plan or plan_for(panel, 24), REFERENCES_ONLY, active=active, cores=cores)


def without(found: Backtest) -> dict[str, object]:
    """The report but for what the champion adds to it."""
    plain = found.report.to_dict()
    arms = [arm for arm in plain["arms"] if arm["name"] != "active"]
    pairs = [c for c in plain["comparisons"] if "active" not in (c["arm"], c["against"])]
    notes = [note for note in plain["notes"] if "ACTIVE" not in note]
    parts = [part for part in plain["parts"] if "active" not in (part["arm"], part["against"])]
    scores = [
        {**part, "scores": {name: told for name, told in part["scores"].items() if name != "active"}}
        for part in plain["part_scores"]
    ]
    return {**plain, "arms": arms, "comparisons": pairs, "notes": notes, "parts": parts, "part_scores": scores}


def test_on_every_part_of_the_test_it_is_told_what_serves_scored_and_what_the_run_saves(
    panel: Panel, alone: Backtest
) -> None:
    found, arm = against(panel, alone.report.arm("seasonal_naive")).report, alone.report.chosen
    parts = [part for part in found.parts if (part.arm, part.against) == (arm, "active")]
    naive = [part for part in found.parts if (part.arm, part.against) == (arm, "seasonal_naive")]
    assert [(p.by, p.label, p.skill, p.low) for p in parts] == [(p.by, p.label, p.skill, p.low) for p in naive]
    assert all(p.low is not None and p.high is not None and p.low < p.skill < p.high for p in parts)
    for part, scored in zip(parts, found.part_scores, strict=True):
        assert set(scored.scores) == {arm, "seasonal_naive", "active"}
        assert scored.scores["active"] == scored.scores["seasonal_naive"]
        # Of one series the skill is the share of MASE that is saved.
        assert part.skill == pytest.approx(1 - scored.scores[arm]["MASE"] / scored.scores["active"]["MASE"])


@pytest.mark.parametrize("refits", [None, 2, 0])
def test_the_chosen_arm_as_its_own_champion_scores_the_same_to_the_last_bit(panel: Panel, refits: int | None) -> None:
    plan = replace(plan_for(panel, 24), refits=refits)
    first = backtest(panel, plan, REFERENCES_ONLY)
    chosen = first.report.arm(first.report.chosen)
    stored = read_arm(json.loads(canonical_bytes(chosen.to_dict())))
    second = against(panel, stored, plan, cores=2)
    active = second.report.arm("active")
    assert active.metrics == chosen.metrics
    assert active.intervals == chosen.intervals
    assert active.validation_mase == chosen.validation_mase
    pair = [c for c in second.report.comparisons if (c.arm, c.against) == (chosen.name, "active")]
    assert [(c.metric, c.skill) for c in pair] == [("MASE", 0.0), ("WQL", 0.0)]
    assert without(second) == first.report.to_dict()
    ours, theirs = (read_predictions(second.predictions(panel))[name] for name in (chosen.name, "active"))
    assert ours.quantiles.tobytes() == theirs.quantiles.tobytes()


def test_a_run_that_is_better_than_what_serves_says_by_how_much_with_an_interval(panel: Panel, alone: Backtest) -> None:
    found = against(panel, alone.report.arm("seasonal_naive"))
    pair = [c for c in found.report.comparisons if c.against == "active"]
    assert [(c.arm, c.metric) for c in pair] == [(alone.report.chosen, "MASE"), (alone.report.chosen, "WQL")]
    assert all(c.low is not None and 0 < c.low < c.skill for c in pair)
    assert found.report.arm("active").metrics == alone.report.arm("seasonal_naive").metrics
    assert without(found) == alone.report.to_dict()


def test_a_champion_of_other_data_is_fitted_anew_on_these(panel: Panel, alone: Backtest) -> None:
    elsewhere = hourly(60, seed=3, level=400.0)
    other = backtest(elsewhere, plan_for(elsewhere, 24), REFERENCES_ONLY).report
    found = against(panel, other.arm("with_covariates"))
    active = found.report.arm("active")
    assert active.settings == other.arm("with_covariates").settings
    assert active.metric("MASE") < alone.report.arm("seasonal_naive").metric("MASE")
    assert without(found) == alone.report.to_dict()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"horizon": 12}, "its horizon is 12, this run's 24"),
        ({"known_future": ("sales",)}, "it reads 'sales' as known_future, which this run has not at all"),
        ({"known_future": ("past",)}, "it reads 'past' as known_future, which this run has as historical"),
    ],
)
def test_a_champion_that_answers_another_question_is_not_compared_and_the_notes_say_why(
    panel: Panel, alone: Backtest, change: dict[str, object], told: str
) -> None:
    arm = alone.report.arm("target_only")
    found = against(panel, replace(arm, spec=replace(arm.spec, **change)))
    assert found.report.notes[-1] == f"the ACTIVE model is not compared: {told}"
    assert "active" not in {arm.name for arm in found.report.arms}
    assert without(found) == alone.report.to_dict()


def test_a_champion_of_another_season_keeps_its_own_and_is_compared(panel: Panel, alone: Backtest) -> None:
    elsewhere = replace(panel, season_length=12)
    other = backtest(elsewhere, plan_for(elsewhere, 24), REFERENCES_ONLY).report
    found = against(panel, other.arm("target_only"))
    assert found.report.arm("active").spec.season_length == 12
    assert {c.arm for c in found.report.comparisons if c.against == "active"} == {alone.report.chosen}
    assert without(found) == alone.report.to_dict()


def test_a_champion_that_is_not_even_tried_leaves_the_sentence_that_says_why(panel: Panel, alone: Backtest) -> None:
    found = backtest(panel, plan_for(panel, 24), REFERENCES_ONLY, active=f"{UNCOMPARED}it forecasts 'z'")
    assert found.report.notes[-1] == "the ACTIVE model is not compared: it forecasts 'z'"
    assert without(found) == alone.report.to_dict()


def test_what_serves_today_is_scored_without_what_the_test_part_holds(panel: Panel, alone: Backtest) -> None:
    plan = plan_for(panel, 24)
    test = np.arange(len(panel.y)) >= len(panel.y) - plan.back(plan.validation_windows)
    other = replace(panel, y=np.where(test, -1e3, panel.y))
    arm = alone.report.arm("target_only")
    mine, theirs = (against(one, arm).run("active") for one in (panel, other))
    v = plan.validation_windows
    assert mine.issued.quantiles[v].tobytes() == theirs.issued.quantiles[v].tobytes()
