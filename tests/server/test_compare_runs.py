"""Runs side by side: what differs, which is better and how sure that is; never a winner that the tests do not show."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import jsonschema
import pytest
from conftest import ENDED, Answer, Desk, desk_in

from mcp_forecast.tools.comparison import answer_of
from mcp_forecast.tools.length import length
from mcp_forecast_contracts.catalogue import documents
from mcp_forecast_engine.evaluation.losses import read_losses
from mcp_forecast_engine.evaluation.pairing import pair as paired
from mcp_forecast_engine.factory.comparing import TrainedRun, compare_runs

MOST = 8_000


def rows(days: int, *, promotion: bool = True, lift: float = 0.0) -> list[dict[str, Any]]:
    """A daily series that a promotion lifts; without the column, the same values."""
    made, chance = [], random.Random(11)
    for day in range(days):
        promoted = int(chance.random() < 0.3)
        y = 100 + 10 * (day % 7 == 0) + 30 * promoted + chance.gauss(0, 3) + lift
        row: dict[str, Any] = {"ds": str(date(2023, 1, 1) + timedelta(days=day)), "y": round(y, 6)}
        made.append({**row, "promotion": promoted} if promotion else row)
    return made


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One desk for all comparisons."""
    with desk_in(tmp_path_factory.mktemp("compared")) as made:
        yield made


@pytest.fixture(scope="module")
def runs(desk: Desk) -> dict[str, str]:
    """Run ids by what sets the run apart."""
    full, bare, other = (
        str(desk.call("register_dataset", {"rows": made})["result"]["dataset_id"])
        for made in (rows(420), rows(420, promotion=False), rows(420, promotion=False, lift=5.0))
    )
    asked: dict[str, dict[str, Any]] = {
        "full": {"dataset_id": full},
        "unread": {"dataset_id": full, "covariates": []},
        "bare": {"dataset_id": bare},
        "other": {"dataset_id": other},
        "longer": {"dataset_id": bare, "horizon": 5},
        "fewer": {"dataset_id": full, "test_windows": 9},
    }
    started = {n: desk.call("run_training", {"horizon": 3, **a})["result"]["run_id"] for n, a in asked.items()}
    for run_id in started.values():
        assert desk.finish(run_id)["result"]["state"] in ENDED
    return started


def compared(desk: Desk, *run_ids: str, **more: Any) -> Answer:
    answer = desk.call("compare_runs", {"run_ids": list(run_ids), **more})
    jsonschema.validate(answer, documents()["compare_runs"]["output_schema"])
    assert answer["ok"], answer
    return answer


def test_a_better_run_is_named_with_how_sure_that_is(desk: Desk, runs: dict[str, str]) -> None:
    answer = compared(desk, runs["bare"], runs["full"])
    result = answer["result"]
    best = result["best"]
    assert (best["run_id"], best["sure"], best["metric"]) == (runs["full"], True, "MASE")
    assert re.fullmatch(
        rf"{runs['full']} is better than {runs['bare']}: \d+ % less error \(MASE\), 95 % interval \d+ to \d+ %",
        best["sentence"],
    )
    pairs = {pair["metric"]: pair for pair in result["pairs"]}
    assert set(pairs) == {"MASE", "WQL", "MAE"}
    for pair in pairs.values():
        assert 0 < pair["low"] < pair["skill"] < pair["high"] < 1
        assert (pair["unit"], pair["count"]) == ("window", result["runs"][0]["windows"])
    assert result["comparable"]
    # What the better one was given must be known when it forecasts; the reader is told.
    assert any("promotion" in warning for warning in answer["warnings"])


def test_the_interval_is_the_one_of_the_stored_losses(desk: Desk, runs: dict[str, str]) -> None:
    (told,) = (p for p in compared(desk, runs["unread"], runs["full"])["result"]["pairs"] if p["metric"] == "WQL")
    one, other = (trained(desk, runs[name]).evaluation for name in ("full", "unread"))
    stored = [(read_losses(found["losses"]), found["chosen"]) for found in (one, other)]
    skill = paired(*stored[0], *stored[1]).skills["WQL"]
    assert (told["skill"], told["low"], told["high"]) == pytest.approx((skill.value, skill.low, skill.high), rel=1e-3)


def test_runs_that_forecast_the_same_have_no_winner(desk: Desk, runs: dict[str, str]) -> None:
    result = compared(desk, runs["unread"], runs["bare"])["result"]
    assert "run_id" not in result["best"]
    assert not result["best"]["sure"]
    assert "no difference" in result["best"]["sentence"]
    assert {pair["skill"] for pair in result["pairs"]} == {0.0}
    assert [difference["field"] for difference in result["differences"]] == ["dataset_id"]


def test_constant_series_are_the_same_not_incomparable(desk: Desk) -> None:
    flat = [{"ds": str(date(2023, 1, 1) + timedelta(days=day)), "y": 5.0, "x": day % 3} for day in range(200)]
    dataset = desk.call("register_dataset", {"rows": flat})["result"]["dataset_id"]
    asked = {"dataset_id": dataset, "horizon": 3}
    both = [desk.call("run_training", {**asked, **more})["result"]["run_id"] for more in ({}, {"covariates": []})]
    for run_id in both:
        assert desk.finish(run_id)["result"]["state"] in ENDED
    result = compared(desk, *both)["result"]
    assert result["comparable"]
    assert "lose the same in all of them" in result["best"]["sentence"]
    assert "see apart" not in result["next_step"]


def test_steps_that_differ_are_told_by_place_and_argument(desk: Desk, runs: dict[str, str]) -> None:
    one = trained(desk, runs["full"])
    steps = [{**step, "threshold": 6} if "threshold" in step else step for step in one.plan["preprocessing"]]
    other = replace(one, run_id="run_" + "1" * 24, plan={**one.plan, "preprocessing": steps})
    (found,) = answer_of(compare_runs([one, other]), "concise")["differences"]
    assert found == {"field": "preprocessing.3.threshold", "values": ["10", "6"]}


def test_only_what_differs_is_told_in_the_order_of_the_runs(desk: Desk, runs: dict[str, str]) -> None:
    result = compared(desk, runs["unread"], runs["full"])["result"]
    found = {one["field"]: one["values"] for one in result["differences"]}
    assert [run["run_id"] for run in result["runs"]] == [runs["unread"], runs["full"]]
    assert found["covariates"] == ["none", "promotion"]
    assert found["chosen"] == [trained(desk, runs[name]).evaluation["chosen"] for name in ("unread", "full")]
    assert not {"dataset_id", "horizon", "season_length", "engine_release"} & set(found)
    assert all(one != other for one, other in found.values())


def test_what_cannot_be_paired_is_still_shown_with_the_reason(desk: Desk, runs: dict[str, str]) -> None:
    for name, told in (("other", "actual values"), ("longer", "horizon differs")):
        result = compared(desk, runs["bare"], runs[name])["result"]
        assert not result["comparable"]
        assert result["pairs"] == []
        assert [one["run_id"] for one in result["apart"]] == [runs[name]]
        assert told in result["apart"][0]["reason"]
        assert "run_id" not in result["best"]
        assert told in result["best"]["sentence"]
        assert all("MASE" in run["metrics"] for run in result["runs"])


def test_fewer_windows_are_paired_on_those_that_both_have(desk: Desk, runs: dict[str, str]) -> None:
    answer = compared(desk, runs["unread"], runs["fewer"])
    result = answer["result"]
    assert {pair["count"] for pair in result["pairs"]} == {9}
    assert any("9 test windows are in both" in warning for warning in answer["warnings"])
    assert result["best"]["run_id"] == runs["fewer"]
    # Another first test origin is another scale of MASE, so another metric judges, and says so.
    assert result["best"]["metric"] == "WQL"


def test_the_baseline_may_be_any_run_and_stands_first(desk: Desk, runs: dict[str, str]) -> None:
    result = compared(desk, runs["unread"], runs["full"], baseline_run_id=runs["bare"])["result"]
    assert result["baseline"] == runs["bare"]
    assert [run["run_id"] for run in result["runs"]] == [runs["bare"], runs["unread"], runs["full"]]
    assert result["best"]["run_id"] == runs["full"]
    assert [lead["run_id"] for lead in result["best"]["by"]] == [runs["bare"], runs["unread"]]
    assert "each of the other 2" in result["best"]["sentence"]


def test_one_run_unknown_runs_and_forecasts_are_refused(desk: Desk, runs: dict[str, str]) -> None:
    forecast = desk.call("run_inference", {"run_id": runs["bare"]})["result"]["run_id"]
    for others, code in (
        (runs["bare"], "INVALID_ARGUMENTS"),
        ("run_" + "0" * 24, "NOT_FOUND"),
        (forecast, "NOT_FOUND"),
    ):
        error = desk.call("compare_runs", {"run_ids": [runs["bare"], others]})["error"]
        assert error["code"] == code
        assert error["next_step"]


def trained(desk: Desk, run_id: str) -> TrainedRun:
    with desk.app.database.read() as connection:
        run = desk.app.engine.run(connection, run_id)
    document = desk.app.engine.documents.of(run)
    digest = next(a["digest"] for a in document["artifacts"] if a["name"] == "evaluation.json")
    return TrainedRun(run_id, run.plan, document, json.loads(desk.app.engine.artifacts.get(digest)))


def test_a_run_of_an_older_release_is_shown_but_not_paired(desk: Desk, runs: dict[str, str]) -> None:
    new, old = (trained(desk, runs[name]) for name in ("full", "bare"))
    kept = {name: value for name, value in old.evaluation.items() if name != "losses"}
    document = compare_runs([replace(old, evaluation=kept), new])
    assert not document["comparable"]
    assert "train again" in document["best"]["sentence"]
    assert len(document["runs"]) == 2


def test_the_longest_comparison_stays_short_and_the_detailed_one_has_it_all(desk: Desk, runs: dict[str, str]) -> None:
    one = trained(desk, runs["full"])
    names = [f"a covariate with a long name, number {n}" for n in range(500)]
    many = []
    for n in range(8):
        own = names[n::2]
        asked = {**one.plan["asked"], "covariates": own}
        arms = [{**arm, "covariates": own} for arm in one.evaluation["arms"]]
        plan = {**one.plan, "covariates": own, "season_length": n, "preprocessing": [{"kind": "x" * 300, "n": n}]}
        many.append(replace(one, run_id=f"run_{n:024x}", plan={**plan, "asked": asked},
                            evaluation={**one.evaluation, "arms": arms}))  # fmt: skip
    document = compare_runs(many)
    short, long = answer_of(document, "concise"), answer_of(document, "detailed")
    assert length(short) < MOST
    assert length(long) < 100_000
    for name in ("baseline", "comparable", "best", "apart"):
        assert short[name] == long[name]
    assert [run["run_id"] for run in short["runs"]] == [run["run_id"] for run in long["runs"]]
    assert {d["field"] for d in short["differences"]} <= {d["field"] for d in long["differences"]}
    assert all(len(difference["values"]) == 8 for difference in short["differences"])
    assert all(len(run["details"]["arms"]) == 3 or "arms_total" in run["details"] for run in long["runs"])
    schema = documents()["compare_runs"]["output_schema"]["properties"]["result"]
    for answer in (short, long):
        jsonschema.validate(answer, schema)


def test_details_hold_every_arm_and_the_plan(desk: Desk, runs: dict[str, str]) -> None:
    result = compared(desk, runs["bare"], runs["full"], response_format="detailed")["result"]
    details = result["runs"][1]["details"]
    assert [arm["name"] for arm in details["arms"]] == ["seasonal_naive", "target_only", "with_covariates"]
    assert details["plan"]["engine_release"]
    assert details["trust"]["verdict"] == result["runs"][1]["verdict"]
