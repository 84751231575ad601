"""Where one arm is better than another: recomputed by hand from the issued medians, and adding up to the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import REFERENCES_ONLY, hourly, panel_of
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.backtest import Backtest, backtest
from mcp_forecast_engine.evaluation.breakdown import Part, PartScores, breakdown, lost_all, lost_most, part_scores
from mcp_forecast_engine.evaluation.divisions import MOST_PARTS, Division, divisions
from mcp_forecast_engine.evaluation.metrics import Scored
from mcp_forecast_engine.evaluation.plan import MANY_SERIES, origins_of, plan_for
from mcp_forecast_engine.evaluation.trust import judge
from mcp_forecast_engine.models.spec import MEDIAN, QUANTILES


@pytest.fixture(scope="module")
def panel() -> Panel:
    return hourly(60)


@pytest.fixture(scope="module")
def found(panel: Panel) -> Backtest:
    return backtest(panel, plan_for(panel, 24), REFERENCES_ONLY)


def losses(found: Backtest, panel: Panel, name: str) -> NDArray[np.float64]:
    """|y - median| per test window and step, over the seasonal change before the first test origin, (windows, 24)."""
    plan = found.report.plan
    steps = slice(plan.validation_windows, None)
    until = len(panel.y) - plan.back(plan.validation_windows)
    scale = np.abs(panel.y[24:until] - panel.y[: until - 24]).mean()
    run = found.run(name)
    pairs = zip(run.issued.quantiles[steps], run.steps[steps], strict=True)
    return np.concatenate([np.abs(step.truth.y - quantiles[:, :, MEDIAN]) for quantiles, step in pairs]) / scale


def parts(found: Backtest, arm: str, against: str, by: str) -> list[Part]:
    return [p for p in found.report.parts if (p.arm, p.against, p.by) == (arm, against, by)]


def test_parts_of_the_horizon_are_those_recomputed_by_hand(found: Backtest, panel: Panel) -> None:
    chosen = found.report.chosen
    mine, theirs = (losses(found, panel, name) for name in (chosen, "seasonal_naive"))
    told = parts(found, chosen, "seasonal_naive", "horizon")
    assert [part.label for part in told] == ["1-3", "4-6", "7-9", "10-12", "13-15", "16-18", "19-21", "22-24"]
    for part in told:
        first, last = (int(step) for step in part.label.split("-"))
        a, b = (one[:, first - 1 : last] for one in (mine, theirs))
        assert part.steps == a.size
        assert part.skill == pytest.approx(1 - a.sum() / b.sum())
        assert part.value_added == pytest.approx(b.mean() - a.mean())
        assert part.low is not None
        assert part.high is not None
        assert part.low <= part.skill <= part.high


def test_every_scored_step_is_in_one_part_and_parts_add_up_to_the_whole(found: Backtest) -> None:
    chosen = found.report.chosen
    whole = found.report.arm("seasonal_naive").metric("MASE") - found.report.arm(chosen).metric("MASE")
    for by in ("horizon", "season"):
        told = parts(found, chosen, "seasonal_naive", by)
        assert len(told) == MOST_PARTS
        assert sum(part.steps for part in told) == found.report.scored_steps
        added = sum(part.value_added * part.steps for part in told) / found.report.scored_steps
        assert added == pytest.approx(whole)


def test_windows_that_start_at_midnight_have_their_places_in_the_day_in_the_order_of_their_steps(
    found: Backtest,
) -> None:
    ahead, place = (parts(found, "with_covariates", "target_only", by) for by in ("horizon", "season"))
    assert [part.label for part in place] == ["0-2", "3-5", "6-8", "9-11", "12-14", "15-17", "18-20", "21-23"]
    assert [part.skill for part in place] == pytest.approx([part.skill for part in ahead])


def test_covariates_are_set_against_the_same_model_without_them_in_every_arm(found: Backtest) -> None:
    pairs = {(part.arm, part.against) for part in found.report.parts}
    assert {("with_covariates", "target_only"), ("with_all_covariates", "target_only")} <= pairs
    assert [part.to_dict() for part in found.report.parts] == found.report.to_dict()["parts"]


def levels(series: int, *, lengths: tuple[int, ...] = (72, 96)) -> Panel:
    """Series of rising level and of two lengths in turn, in integer time."""
    draw = np.random.default_rng(7)
    steps = [lengths[i % len(lengths)] for i in range(series)]
    made = [(i + 1) * (10 + np.sin(np.arange(n) * np.pi / 6) + draw.normal(size=n)) for i, n in enumerate(steps)]
    return panel_of(made, season_length=12, freq="1")


def test_series_that_nothing_groups_are_told_apart_by_level_and_by_length_of_history() -> None:
    panel = levels(24)
    found = backtest(panel, plan_for(panel, 6), REFERENCES_ONLY).report
    groups = {by: [p for p in found.part_scores if p.by == by] for by in ("level", "history")}
    assert [part.series for part in groups["level"]] == [6, 6, 6, 6]
    lows = [float(part.label.split(" to ")[0]) for part in groups["level"]]
    assert lows == sorted(lows)
    assert [part.series for part in groups["history"]] == [12, 12]
    for parts in groups.values():
        assert sum(part.steps for part in parts) == found.scored_steps


def test_few_series_or_equal_ones_make_no_groups() -> None:
    for panel in (levels(6), levels(24, lengths=(72,))):
        found = backtest(panel, plan_for(panel, 6), REFERENCES_ONLY).report
        assert "history" not in {part.by for part in found.part_scores}


def test_where_repetition_is_better_the_worst_steps_and_the_worst_group_are_named(found: Backtest) -> None:
    report, arm = found.report, found.report.chosen
    assert not any("above seasonal naive" in note for note in judge(report).notes)
    ahead = [part for part in report.parts if (part.arm, part.against, part.by) == (arm, "seasonal_naive", "horizon")]
    bad = [
        replace(ahead[2], skill=-0.1, low=-0.2, high=-0.05), replace(ahead[7], skill=-0.3, low=-0.5, high=0.1),
        replace(ahead[0], by="store", label="Wien", skill=-0.04, low=-0.08, high=-0.01),
        replace(ahead[0], by="store", label="Graz", skill=0.4), replace(ahead[0], by="season", skill=-0.9),
    ]  # fmt: skip
    assert judge(replace(report, parts=tuple(bad))).notes[:2] == (
        "22-24 steps ahead the error is 30% above seasonal naive (95 % interval of the gain: -50% to 10%): this may be "
        "luck",
        "where store is Wien the error is 4% above seasonal naive (95 % interval of the gain: -8% to -1%)",
    )


def test_a_group_in_which_repetition_was_exact_is_the_one_that_loses_most(found: Backtest) -> None:
    """Four series of ten windows; of two of them the baseline makes no error, and the model one of 45."""
    series, window = np.repeat(np.arange(4), 10), np.tile(np.arange(10), 4)
    exact = series >= 2
    y = np.where(exact[:, None], 5.0, np.random.default_rng(0).normal(size=(40, 3)))
    told = {
        "model": np.where(exact[:, None], 50.0, 0.9 * y),
        "seasonal_naive": np.where(exact[:, None], 5.0, 0.0) * np.ones((40, 3)),
    }
    scored = {
        name: Scored(series, window, y, np.ones((40, 3), bool), np.repeat(path[:, :, None], len(QUANTILES), 2),
                     np.ones(4), 1)
        for name, path in told.items()
    }  # fmt: skip
    divided = [
        Division("store", label, np.repeat(rows[:, None], 3, axis=1)) for label, rows in (("a", ~exact), ("b", exact))
    ]
    skills = breakdown("model", "seasonal_naive", scored["model"], scored["seasonal_naive"], divided, seed=0)
    scores = part_scores(scored, divided)
    assert [part.label for part in skills] == ["a"]
    (worst,) = lost_most(skills, scores, "model", "seasonal_naive")
    assert (worst.label, worst.skill, worst.value_added) == ("b", -np.inf, -45.0)
    other = [
        PartScores(one.by, one.label, one.steps, one.series, {found.report.chosen: one.scores["model"], **one.scores})
        for one in scores
    ]
    notes = judge(replace(found.report, part_scores=tuple(other))).notes
    assert notes[0] == "where store is b seasonal naive made no error, and the model one of 45 (MASE)"


def test_an_error_of_rounding_alone_is_none_where_repetition_was_exact() -> None:
    exact = {"MASE": 0.0, "WQL": 0.0}
    for mine, lost in (
        ({"MASE": 1e-15, "WQL": 1e-16}, False), ({"MASE": 1e-15, "WQL": None}, False),
        ({"MASE": 0.1, "WQL": 1e-9}, False), ({"MASE": 0.1, "WQL": 0.01}, True), ({"MASE": 0.1, "WQL": None}, True),
    ):  # fmt: skip
        assert lost_all({"model": mine, "seasonal_naive": exact}, "model", "seasonal_naive") == lost


def labels_of(panel: Panel, by: str) -> list[str]:
    """The labels of the groups that series are divided into."""
    plan = plan_for(panel, 6)
    run = backtest(panel, plan, REFERENCES_ONLY).runs[0]
    scored, origins = run.test(np.ones(len(panel.unique_id))), origins_of(panel, plan)[plan.validation_windows :]
    made = divisions(scored, panel, plan, np.zeros(len(scored.y), np.int64), origins)
    return [one.label for one in made if one.by == by]


def test_groups_whose_numbers_are_close_have_labels_of_their_own() -> None:
    draw = np.random.default_rng(2)
    near = [10_000 + i / 10 + 0.01 * draw.normal(size=96) for i in range(MANY_SERIES)]
    shops = [1_000_001.0 + i % 3 for i in range(MANY_SERIES)]
    named = panel_of(near, season_length=12, freq="1", static={"shop": shops})
    assert sorted(labels_of(named, "shop")) == ["1000001", "1000002", "1000003"]
    levels_found = labels_of(panel_of(near, season_length=12, freq="1"), "level")
    assert len(set(levels_found)) == 4


def test_the_level_of_a_small_series_beside_a_huge_one_is_its_own() -> None:
    draw = np.random.default_rng(2)
    sizes = [1e17, *range(1, MANY_SERIES)]
    panel = panel_of([size * (1 + 0.001 * draw.normal(size=96)) for size in sizes], season_length=12, freq="1")
    lows = [round(float(label.split(" to ")[0])) for label in labels_of(panel, "level")]
    assert lows == [1, 6, 11, 16]


def test_groups_of_series_are_told_apart_and_the_one_that_gains_is_named() -> None:
    draw = np.random.default_rng(4)
    promotion = [(draw.random(120) < 0.3).astype(float) for _ in range(44)]
    series = [
        20 + 3 * np.sin(np.arange(120) * 2 * np.pi / 12) + draw.normal(size=120) + 8 * (i % 2) * promotion[i]
        for i in range(44)
    ]
    panel = panel_of(
        series,
        season_length=12,
        freq="1",
        known_future={"promotion": promotion},
        static={"kind": [float(i % 2) for i in range(44)]},
        categories={"kind": ("steady", "promoted")},
    )
    found = backtest(panel, plan_for(panel, 6), REFERENCES_ONLY)
    told = {part.label: part for part in parts(found, "with_covariates", "target_only", "kind")}
    assert set(told) == {"steady", "promoted"}
    assert told["promoted"].value_added > told["steady"].value_added
    assert told["promoted"].low is not None
    assert told["promoted"].low > 0
    assert sum(part.steps for part in told.values()) == found.report.scored_steps
