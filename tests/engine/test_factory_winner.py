"""A winner is named only where its interval leaves out zero against every other run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcp_forecast_engine.evaluation.pairing import Pairing
from mcp_forecast_engine.evaluation.resampling import Skill, block_of, skill_of
from mcp_forecast_engine.factory.winner import Winner, judged_by, winner_of

WINDOWS = 48


@dataclass(frozen=True)
class Made:
    """A run with made losses, one per window."""

    run_id: str
    losses: np.ndarray


def paired(run: Made, other: Made) -> Pairing:
    count = len(run.losses)
    skill = skill_of(run.losses, other.losses, block=block_of("window", count), samples=500, seed=1)
    return Pairing("window", {"WQL": skill}, count, count, count, count)


def judge(seed: int, *factors: float, windows: int = WINDOWS) -> Winner:
    draw = np.random.default_rng(seed)
    hard = draw.gamma(9, size=windows)
    runs = [Made(f"run_{at}", factor * hard * draw.normal(1, 0.15, windows)) for at, factor in enumerate(factors)]
    return winner_of(runs, "WQL", paired)


def test_among_equal_runs_a_winner_is_named_by_luck_alone() -> None:
    assert sum(judge(seed, *[1.0] * 5).sure for seed in range(150)) <= 0.05 * 150
    assert sum(judge(seed, 1.0, 1.0).sure for seed in range(150)) <= 0.09 * 150


def test_a_better_run_among_several_is_found_wherever_it_stands() -> None:
    for place in range(4):
        factors = [1.0] * 4
        factors[place] = 0.8
        found = [judge(seed, *factors) for seed in range(40)]
        assert sum(one.sure for one in found) >= 0.95 * 40
        assert all(one.leader == f"run_{place}" for one in found if one.sure)
        assert "better than each of the other 3" in found[0].sentence


def test_the_sentence_claims_no_more_than_the_intervals() -> None:
    for seed in range(60):
        found = judge(seed, 0.95, 1.0, 1.3)
        lows = [skill.low for skill in found.over.values() if skill.low is not None]
        assert found.sure == all(low > 0 for low in lows)
        assert found.sentence.startswith(f"{found.leader} is better") == found.sure
        assert ("no difference" in found.sentence) != found.sure
        assert "surely" not in found.sentence  # among many some interval leaves out zero by luck: `by` has them all


def test_two_that_lead_alike_are_called_the_same() -> None:
    hard = np.random.default_rng(1).gamma(9, size=WINDOWS)
    noisy = hard * np.random.default_rng(2).normal(1, 0.05, WINDOWS)
    found = winner_of([Made("run_c", 1.5 * noisy), Made("run_a", hard), Made("run_b", hard)], "WQL", paired)
    assert not found.sure
    assert found.sentence == (
        "no difference between the leading runs that these windows could show: run_a and run_b lose the same in all of "
        "them"
    )


def test_a_run_that_the_leader_shares_no_test_with_is_named() -> None:
    hard = np.random.default_rng(1).gamma(9, size=WINDOWS)
    runs = [Made("run_a", hard), Made("run_b", 0.5 * hard), Made("run_c", hard)]

    def some(run: Made, other: Made) -> Pairing:
        apart = {run.run_id, other.run_id} == {"run_b", "run_c"}
        return Pairing("window", {}, 0, WINDOWS, WINDOWS, 0, "no window") if apart else paired(run, other)

    found = winner_of(runs, "WQL", some)
    assert (found.leader, found.sure) == ("run_b", False)
    assert found.sentence.endswith("; not paired with run_c")


def test_few_windows_name_nobody() -> None:
    found = judge(3, 0.5, 1.0, windows=5)
    assert not found.sure
    assert "too few for an interval" in found.sentence


def test_a_metric_that_says_the_opposite_is_told() -> None:
    one, other = Made("run_a", np.ones(9)), Made("run_b", np.full(9, 2.0))

    def both(run: Made, against: Made) -> Pairing:
        found = paired(run, against).skills["WQL"]
        turned = Skill(-found.value, -(found.high or 0.0), -(found.low or 0.0), 0.0)
        return Pairing("window", {"WQL": found, "MAE": turned}, 9, 9, 9, 9)

    assert winner_of([one, other], "WQL", both).warnings == ("by MAE, run_a is surely worse than run_b",)


def test_mase_judges_where_every_pair_has_it() -> None:
    skill = Skill(0.1, 0.0, 0.2, 0.9)
    whole = Pairing("window", {"MASE": skill, "WQL": skill}, 9, 9, 9, 9)
    part = Pairing("window", {"WQL": skill}, 9, 9, 9, 9)
    assert judged_by([whole, whole]) == "MASE"
    assert judged_by([whole, part]) == "WQL"
    assert judged_by([]) is None
