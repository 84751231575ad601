"""Which models answer together: equal weights, unless fewer, unequal weights or the median earn their place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mcp_forecast_engine.evaluation.combining import Judge, choose_mix
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.evaluation.windows import Truth
from mcp_forecast_engine.models.combination import combined

Floats = NDArray[np.float64]
WINDOWS, HORIZON = 40, 6
PLAN = BacktestPlan(
    horizon=HORIZON, season_length=1, stride=HORIZON, validation_windows=WINDOWS, test_windows=8, bootstrap_samples=400
)


def judge(scale: float = 1.0) -> Judge:
    """One series whose truth is zero everywhere, so that a path is its own error."""
    truth = Truth(y=np.zeros((1, HORIZON)), observed=np.ones((1, HORIZON), bool), ds=np.zeros((1, HORIZON), np.int64))
    return Judge([(np.zeros(1, np.int64), truth)] * WINDOWS, np.array([scale]), PLAN)


def errors(seed: int, size: float = 1.0) -> list[Floats]:
    """Errors of a model with this mean absolute size, independent of those of others."""
    found = np.random.default_rng(seed).normal(size=(WINDOWS, 1, HORIZON))
    return list(size * found / np.abs(found).mean())


def test_models_that_are_nearly_as_good_answer_together_with_equal_weights() -> None:
    mix = choose_mix({"a": errors(1), "b": errors(2), "c": errors(3)}, judge(), baseline="naive")
    assert mix.members == ("a", "b", "c")
    assert mix.weights == pytest.approx((1 / 3,) * 3)
    assert mix.rule == "mean"
    together = [np.mean(paths, axis=0) for paths in zip(errors(1), errors(2), errors(3), strict=True)]
    assert mix.loss == pytest.approx(np.mean([np.abs(path).mean() for path in together]))


def test_a_model_that_is_much_worse_is_left_out() -> None:
    mix = choose_mix({"a": errors(1), "b": errors(2), "far": errors(3, size=1.5)}, judge(), baseline="naive")
    assert mix.members == ("a", "b")


def test_a_better_model_answers_alone_where_another_makes_the_same_errors_only_larger() -> None:
    same = errors(1)
    mix = choose_mix({"a": same, "b": [1.09 * path for path in same]}, judge(), baseline="naive")
    assert (mix.members, mix.weights) == (("a",), (1.0,))


def test_the_median_answers_where_each_model_is_wild_at_another_time() -> None:
    paths = {}
    for place, name in enumerate("abc"):
        wild = np.arange(WINDOWS) % 3 == place
        paths[name] = [path + 5.0 * w for path, w in zip(errors(place, size=0.1), wild, strict=True)]
    mix = choose_mix(paths, judge(), baseline="naive")
    assert (mix.members, mix.rule) == (("a", "b", "c"), "median")
    assert mix.loss < 0.5 * judge().loss([np.mean(group, axis=0) for group in zip(*paths.values(), strict=True)])


def test_the_baseline_is_mixed_in_only_where_nothing_is_better() -> None:
    models = {"naive": errors(1, size=1.02), "a": errors(2), "b": errors(3)}
    assert choose_mix(models, judge(), baseline="naive").members == ("a", "b")
    assert "naive" in choose_mix(models, judge(), baseline="other").members
    best = {"naive": errors(1, size=0.5), "a": errors(2), "b": errors(3)}
    assert choose_mix(best, judge(), baseline="naive").members == ("naive",)


def test_without_a_scale_to_judge_by_the_first_model_answers_and_no_error_is_claimed() -> None:
    mix = choose_mix({"a": errors(1), "b": errors(2)}, judge(scale=0.0), baseline="naive")
    assert mix.members == ("a",)
    assert np.isnan(mix.loss)


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.floats(0.1, 10), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_weights_add_up_to_one_and_the_mix_is_hardly_worse_than_its_best_member(sizes: list[float], seed: int) -> None:
    paths = {f"m{i}": errors(seed + i, size=size) for i, size in enumerate(sizes)}
    mix = choose_mix(paths, judge(), baseline="naive")
    assert sum(mix.weights) == pytest.approx(1.0, abs=1e-8)
    best = min(judge().loss(found) for found in paths.values())
    assert mix.loss <= 1.1 * best
    told = [combined([paths[name][k] for name in mix.members], mix.weights, mix.rule) for k in range(WINDOWS)]
    assert mix.loss == pytest.approx(judge().loss(told))


def test_unobserved_steps_are_no_part_of_the_loss_and_luck_is_not_called_sure() -> None:
    seen = np.ones((1, HORIZON), bool)
    seen[0, 3:] = False
    truth = Truth(y=np.where(seen, 0.0, 1e6), observed=seen, ds=np.zeros((1, HORIZON), np.int64))
    half = Judge([(np.zeros(1, np.int64), truth)] * WINDOWS, np.array([2.0]), PLAN)
    assert half.loss([np.ones((1, HORIZON))] * WINDOWS) == 0.5
    assert not half.surely_better(errors(1), errors(2))
    assert half.surely_better(errors(1, size=0.5), errors(2))


def test_series_without_a_window_are_no_evidence_and_make_no_gain_surer() -> None:
    draw = np.random.default_rng(0)
    zero = np.zeros((25, HORIZON))
    truth = Truth(y=zero, observed=np.ones(zero.shape, bool), ds=zero.astype(np.int64))
    mine, theirs = (np.abs(draw.normal(size=zero.shape)) for _ in range(2))
    alone, among = (Judge([(np.arange(25), truth)] * 2, np.ones(series), PLAN) for series in (25, 400))
    assert alone.evidence() == among.evidence() == 50
    for gain in np.linspace(0.7, 1.3, 25):
        paths = ([mine * gain] * 2, [theirs] * 2)
        assert alone.surely_better(*paths) == among.surely_better(*paths)
