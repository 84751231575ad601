"""Runs compared on what both were tested on: recomputed by hand, sure where one is better, unsure where none is."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import REFERENCES_ONLY, hourly, panel_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.backtest import backtest
from mcp_forecast_engine.evaluation.losses import METRICS, Losses, read_losses
from mcp_forecast_engine.evaluation.pairing import pair
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.evaluation.report import BacktestReport
from mcp_forecast_engine.evaluation.resampling import block_of, skill_of

DAYS = 80


def judged(panel: Panel, horizon: int = 24, **windows: int) -> BacktestReport:
    return backtest(panel, plan_for(panel, horizon, **windows), REFERENCES_ONLY).report


def without(panel: Panel) -> Panel:
    """The same series and truth, as a dataset without the covariate columns would give them."""
    return replace(panel, covariates={}, roles={}, categories={})


def losses(mine: np.ndarray, *, first: int = 0) -> Losses:
    """Made losses of one arm in windows `first`, `first + 1`, …, with the truth a run of these windows would have."""
    names = tuple(f"{first + n:04d}" for n in range(len(mine)))
    sums = tuple(float(value) for value in mine)
    return Losses(
        unit="window", groups=names, truth=names, steps=(24,) * len(mine), scaled=(1,) * len(mine), scale="s",
        series="one", samples=2_000, seed=20_121_102, arms={"arm": dict.fromkeys(METRICS, sums)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def full() -> BacktestReport:
    return judged(hourly(DAYS))


@pytest.fixture(scope="module")
def bare() -> BacktestReport:
    return judged(without(hourly(DAYS)))


def test_runs_on_different_datasets_are_paired_where_series_and_truth_are_the_same(
    full: BacktestReport, bare: BacktestReport
) -> None:
    found = pair(full.losses, full.chosen, bare.losses, "seasonal_naive")
    assert found.reason is None
    assert found.notes == ()
    assert found.count == full.plan.test_windows
    assert found.steps == full.scored_steps
    asked = (full.chosen, "seasonal_naive", "MASE")
    within = next(c for c in full.comparisons if (c.arm, c.against, c.metric) == asked)
    gain = found.skills["MASE"]
    # Seasonal naive inside the first run is that of the second run, so the comparison across runs is the one within.
    assert (gain.value, gain.low, gain.high) == (within.skill, within.low, within.high)
    assert gain.probability_better == 1.0


def test_skill_and_interval_are_those_of_the_stored_sums_recomputed_by_hand(
    full: BacktestReport, bare: BacktestReport
) -> None:
    stored = json.loads(json.dumps(full.to_dict()))["losses"]
    other = bare.to_dict()["losses"]
    assert stored["groups"] == other["groups"]
    assert read_losses(stored) == full.losses
    for metric in METRICS:
        mine = np.array(stored["arms"][full.chosen][metric])
        theirs = np.array(other["arms"][bare.chosen][metric])
        n = len(mine)
        length = int(np.ceil(np.sqrt(n)))
        draw = np.random.default_rng(stored["seed"])
        starts = draw.integers(0, n, size=(stored["samples"], -(-n // length)))
        ratio, skills = mine.sum() / theirs.sum(), []
        for row in starts:
            picked = np.concatenate([(start + np.arange(length)) % n for start in row])[:n]
            drawn = mine[picked].sum() / theirs[picked].sum()
            skills.append(1 - ratio * (drawn / ratio) ** widening_by_hand(n, length))
        found = pair(full.losses, full.chosen, bare.losses, bare.chosen).skills[metric]
        assert found.value == pytest.approx(1 - ratio, rel=1e-12)
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(skills, [0.025, 0.975])), rel=5e-3)
        assert found.probability_better == pytest.approx(np.mean(np.array(skills) > 0))


def widening_by_hand(n: int, length: int) -> float:
    """Student's t at 97.5 %, from a table, over the normal's, and the variance that blocks of n units leave out."""
    table = {2.0: 4.303, 3.0: 3.182, 4.0: 2.776, 5.0: 2.571, 6.0: 2.447, 8.0: 2.306, 10.0: 2.228, 15.0: 2.131}
    free = 1.5 * (n / length - 1)
    t = np.interp(1 / free, sorted(1 / v for v in table), [table[v] for v in sorted(table, reverse=True)])
    return float(t / 1.96 / np.sqrt(1 - length / n))


def test_the_sums_agree_with_the_reported_metrics(full: BacktestReport) -> None:
    kept, arm = full.losses, full.arm(full.chosen)
    assert sum(kept.steps) == full.scored_steps
    assert sum(kept.arms[arm.name]["MAE"]) / sum(kept.steps) == pytest.approx(arm.metric("MAE"))
    assert sum(kept.arms[arm.name]["MASE"]) / sum(kept.scaled) == pytest.approx(arm.metric("MASE"))
    assert set(kept.arms) == {full.chosen, "seasonal_naive"}


def test_a_run_paired_with_itself_shows_no_difference(full: BacktestReport) -> None:
    same = pair(full.losses, full.chosen, full.losses, full.chosen)
    assert {(s.value, s.low, s.high, s.probability_better) for s in same.skills.values()} == {(0.0, 0.0, 0.0, 0.5)}


def test_other_truth_other_series_and_other_windows_are_not_paired(full: BacktestReport) -> None:
    panel = hourly(DAYS)
    for other, told in (
        (replace(panel, y=panel.y + 1), "actual values"),
        (replace(panel, unique_id=("another",)), "other series"),
        (replace(panel, ds=panel.ds - 3600 * 24 * 400), "share no test window"),
    ):
        report = judged(without(other))
        found = pair(report.losses, report.chosen, full.losses, full.chosen)
        assert found.reason is not None
        assert told in found.reason
        assert found.skills == {}


def test_a_corrected_value_leaves_out_its_window_and_says_so(bare: BacktestReport) -> None:
    panel = without(hourly(DAYS))
    y = panel.y.copy()
    y[-1] += 5
    report = judged(replace(panel, y=y))
    found = pair(report.losses, report.chosen, bare.losses, bare.chosen)
    assert found.count == bare.plan.test_windows - 1
    assert any("differ in 1 of" in note for note in found.notes)


def test_windows_that_only_one_run_has_are_left_out_and_said(bare: BacktestReport) -> None:
    fewer = judged(without(hourly(DAYS)), test_windows=10, validation_windows=10)
    found = pair(fewer.losses, fewer.chosen, bare.losses, bare.chosen)
    assert (found.count, found.mine) == (10, 10)
    assert any("10 test windows are in both" in note for note in found.notes)
    # The history before the first test origin is another one, so MASE has another scale; the plain errors do compare.
    assert set(found.skills) == {"WQL", "MAE"}
    last = [bare.losses.arms[bare.chosen]["MAE"][bare.losses.groups.index(name)] for name in fewer.losses.groups]
    assert found.skills["MAE"].value == pytest.approx(1 - sum(fewer.losses.arms[fewer.chosen]["MAE"]) / sum(last))


def test_many_series_and_few_windows_are_paired_by_series() -> None:
    draw = np.random.default_rng(5)
    series = [10 + 3 * np.sin(np.arange(60) * np.pi / 6) + draw.normal(size=60) for _ in range(25)]
    panel = panel_of(series, season_length=12, freq="1")
    one, other = (judged(p, 6, test_windows=2, validation_windows=2) for p in (panel, _first(panel, 22)))
    assert one.losses.unit == other.losses.unit == "series"
    found = pair(other.losses, "seasonal_naive", one.losses, "seasonal_naive")
    assert found.count == 22
    assert found.skills["MAE"].value == 0.0
    assert found.skills["MAE"].low is not None


def _first(panel: Panel, series: int) -> Panel:
    end = int(panel.offsets[series])
    return replace(
        panel, unique_id=panel.unique_id[:series], offsets=panel.offsets[: series + 1], ds=panel.ds[:end],
        y=panel.y[:end], observed=panel.observed[:end], future_ds=panel.future_ds[:series],
    )  # fmt: skip


def test_filled_steps_are_neither_scored_nor_part_of_the_truth() -> None:
    panel = without(hourly(DAYS))
    observed = panel.observed.copy()
    observed[-30:-20] = False
    one = judged(replace(panel, observed=observed))
    other = judged(replace(panel, observed=observed, y=np.where(observed, panel.y, panel.y + 7)))
    found = pair(one.losses, "seasonal_naive", other.losses, "seasonal_naive")
    assert found.reason is None
    assert found.count == one.plan.test_windows
    assert found.steps == one.scored_steps == 24 * one.plan.test_windows - 10


def test_too_few_windows_give_a_skill_but_no_interval() -> None:
    found = pair(losses(np.ones(7)), "arm", losses(np.full(7, 2.0)), "arm").skills["MAE"]
    assert (found.value, found.low, found.high, found.probability_better) == (0.5, None, None, None)


@pytest.mark.parametrize(("windows", "found"), [(8, 0.05), (20, 0.14), (48, 0.35), (120, 0.8)])
def test_equal_models_are_told_apart_in_one_of_twenty_cases_and_a_better_one_more_often(
    windows: int, found: float
) -> None:
    wrong = right = 0
    runs = 500
    draw = np.random.default_rng(windows)
    for _ in range(runs):
        hard = draw.gamma(9, size=windows)  # a window that is hard is so for every model
        one, two = (hard * draw.normal(1, 0.3, size=windows).clip(0.05) for _ in range(2))
        equal, better = (skill_of(share * one, two, block=block_of("window", windows), samples=500, seed=1)
                         for share in (1, 0.88))  # fmt: skip
        assert equal.low is not None
        assert equal.high is not None
        assert better.low is not None
        wrong += equal.low > 0 or equal.high < 0
        right += better.low > 0
    assert wrong / runs <= 0.07  # 5 % is nominal, 2 % of 500 is chance
    assert right / runs >= found


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=8, max_size=40))
def test_swapping_the_runs_turns_the_answer_round(pairs: list[tuple[float, float]]) -> None:
    one, two = (np.array(side) for side in zip(*pairs, strict=True))
    there = skill_of(one, two, block=3, samples=400, seed=1)
    back = skill_of(two, one, block=3, samples=400, seed=1)
    assert (1 - there.value) * (1 - back.value) == pytest.approx(1)
    assert there.probability_better is not None
    assert back.probability_better is not None
    assert there.probability_better + back.probability_better == pytest.approx(1)
    assert there.high is not None
    assert back.low is not None
    assert (1 - there.high) * (1 - back.low) == pytest.approx(1, rel=0.02)  # but for how percentiles interpolate
    assert there.high <= 1


def test_long_lists_of_series_are_drawn_in_parts_with_the_same_result() -> None:
    draw = np.random.default_rng(3)
    mine, theirs = draw.gamma(2, size=(2, 3_000))
    found = skill_of(mine, theirs, block=1, samples=700, seed=9)
    picked = np.random.default_rng(9).integers(0, 3_000, size=(700, 3_000))
    ratio, drawn = mine.sum() / theirs.sum(), mine[picked].sum(axis=1) / theirs[picked].sum(axis=1)
    skills = 1 - ratio * (drawn / ratio) ** np.sqrt(3_000 / 2_999)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(skills, [0.025, 0.975])), rel=5e-3)


def test_what_is_not_finite_has_no_interval() -> None:
    losses = np.ones(40)
    for mine, theirs in ((np.full(40, np.inf), losses), (losses, np.zeros(40)), (losses, np.full(40, 1e-320))):
        found = skill_of(mine, theirs, block=7, samples=100, seed=1)
        assert not np.isfinite(found.value)
        assert (found.low, found.high, found.probability_better) == (None, None, None)


def test_two_that_lose_nothing_are_the_same() -> None:
    found = pair(losses(np.zeros(40)), "arm", losses(np.zeros(40)), "arm").skills["WQL"]
    assert (found.value, found.low, found.high, found.probability_better) == (0.0, 0.0, 0.0, 0.5)
    assert "WQL" not in pair(losses(np.ones(40)), "arm", losses(np.zeros(40)), "arm").skills
