"""Training applies exactly the steps that were shown, and serving does the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from conftest import ENDED, Answer, Desk
from panel_content import panel_digest
from preprocessing_toys import CLIP, WEEKLY, day, preprocess, register

from mcp_forecast.settings import Settings
from mcp_forecast_engine.factory.inputs import Panels


def plan_of(desk: Desk, run_id: str) -> dict[str, Any]:
    with desk.app.database.read() as connection:
        return desk.app.engine.run(connection, run_id).plan


def artifact(answer: Answer, name: str) -> str:
    return str(next(a["digest"] for a in answer["result"]["result"]["artifacts"] if a["name"] == name))


def test_training_with_other_steps_is_another_run_and_records_what_they_did(desk: Desk) -> None:
    dataset = register(desk, days=400)
    clip = preprocess(desk, dataset, steps=CLIP)
    request = {"dataset_id": dataset, "horizon": 7, "covariates": ["price"]}
    by_name = {**request, "preprocessing_id": clip["preprocessing_id"]}
    plain, clipped = desk.call("run_training", request), desk.call("run_training", by_name)
    assert plain["result"]["run_id"] != clipped["result"]["run_id"]
    assert clipped["result"]["request"]["preprocessing_id"] == clip["preprocessing_id"]
    plain, clipped = desk.finish(plain["result"]["run_id"]), desk.finish(clipped["result"]["run_id"])
    assert artifact(plain, "preprocessing.json") != artifact(clipped, "preprocessing.json")
    # The report that was shown is, byte for byte, what training recorded.
    assert artifact(clipped, "preprocessing.json") == clip["report"]


def test_the_default_steps_by_name_are_the_same_run(open_desk: Callable[[Settings], Desk], settings: Settings) -> None:
    desk = open_desk(replace(settings, workers=0))
    dataset = register(desk, days=400)
    name = preprocess(desk, dataset)["preprocessing_id"]
    request = {"dataset_id": dataset, "horizon": 7}
    runs = [desk.call("run_training", {**request, **more}) for more in ({}, {"preprocessing_id": name})]
    assert runs[0]["result"]["run_id"] == runs[1]["result"]["run_id"]


def test_a_horizon_is_held_against_the_resampled_length(desk: Desk) -> None:
    dataset = register(desk, days=200)  # 28 whole weeks, Monday to Sunday
    weekly = preprocess(desk, dataset, steps=WEEKLY)
    assert weekly["panel"]["longest"] == 28
    assert weekly["panel"]["season_length"] == 52
    request = {"dataset_id": dataset, "preprocessing_id": weekly["preprocessing_id"]}
    error = desk.call("run_training", {**request, "horizon": 27})["error"]
    assert error["code"] == "HISTORY_TOO_SHORT"
    assert "28 rows in a typical series" in error["message"]
    assert error["allowed"] == ["rows: at least 107"]
    assert "`season_length=1`, with a horizon of at most 9" in error["next_step"]
    error = desk.call(
        "run_preprocessing", {"dataset_id": dataset, "steps": [*WEEKLY[:3], {**WEEKLY[3], "freq": "YS"}]}
    )["error"]
    assert error["code"] == "DATA_INVALID"
    assert "no whole step of 'YS'" in error["message"]


def test_a_forecast_sees_the_panel_of_training_also_when_the_steps_resample(desk: Desk) -> None:
    dataset = register(desk, days=1000, known=28)
    weekly = preprocess(desk, dataset, steps=WEEKLY, season_length=4)
    assert weekly["panel"]["future_steps"] >= 3
    asked = {"dataset_id": dataset, "horizon": 3, "preprocessing_id": weekly["preprocessing_id"], "season_length": 4}
    trained = desk.finish(desk.call("run_training", asked)["result"]["run_id"])
    assert trained["result"]["state"] in ENDED, trained
    assert trained["result"]["result"]["serving"]["freq"] == "W-SUN"
    run_id = trained["result"]["run_id"]
    forecast = desk.call("run_inference", {"run_id": run_id})
    assert forecast["ok"], forecast
    series = forecast["result"]["result"]["series"][0]
    assert [date.fromisoformat(at[:10]).isoweekday() for at in series["ds"]] == [7, 7, 7]
    assert all(200 < value < 1000 for value in series["median"])  # a week's sum, not a day's value
    plans = [plan_of(desk, run) for run in (run_id, forecast["result"]["run_id"])]
    digests = {panel_digest(Panels().get(plan, desk.app.engine.artifacts)[0]) for plan in plans}
    assert len(digests) == 1

    # Newer data of the same kind goes through the same steps; its future comes as weeks.
    newer = register(desk, days=1100)
    served = plan_of(desk, run_id)["preprocessing"]
    future = [{"ds": (date(2026, 1, 11) + timedelta(weeks=week)).isoformat(), "price": 3.0} for week in range(-2, 8)]
    later = desk.call("run_inference", {"run_id": run_id, "dataset_id": newer, "future": future})
    assert later["ok"], later
    assert plan_of(desk, later["result"]["run_id"])["preprocessing"] == served
    assert later["result"]["result"]["series"][0]["ds"][0] > series["ds"][0]
    # Data that is weekly already cannot go through these steps, though the model's panel is weekly.
    weeks = [{"ds": day(7 * k), "y": 500.0 + k % 4, "price": 3.0} for k in range(120)]
    corrections = [{"name": "price", "role": "known_future"}]
    other = desk.call("register_dataset", {"rows": weeks, "freq": "W-SUN", "covariates": corrections})["result"]
    error = desk.call("run_inference", {"run_id": run_id, "dataset_id": other["dataset_id"]})["error"]
    assert (error["code"], error["field"], error["allowed"]) == ("COVARIATES_MISMATCH", "dataset_id", ["D"])


def test_a_season_that_was_shown_is_passed_on_or_missed_aloud(
    open_desk: Callable[[Settings], Desk], settings: Settings
) -> None:
    desk = open_desk(replace(settings, workers=0))
    dataset = register(desk, days=400)
    shown = preprocess(desk, dataset, steps=CLIP, season_length=14)
    assert "season_length 14" in shown["next_step"]
    asked = {"dataset_id": dataset, "horizon": 7, "preprocessing_id": shown["preprocessing_id"], "covariates": []}
    (told,) = desk.call("run_training", asked)["warnings"]
    assert "season_length 14; this run has 7" in told
    assert desk.call("run_training", {**asked, "season_length": 14})["warnings"] == []
    assert "season_length" not in preprocess(desk, dataset, steps=CLIP)["next_step"]
    assert desk.call("run_training", asked)["warnings"] == []


def test_a_look_ahead_weighs_against_trust_and_what_was_done_to_the_data_is_told_with_the_forecast(desk: Desk) -> None:
    dataset = register(desk, days=402)  # ends on a Tuesday
    ahead = [{"kind": "merge_duplicates"}, {"kind": "fill_gaps", "target": "interpolate", "causal": False}]
    name = preprocess(desk, dataset, steps=[*ahead, WEEKLY[2], {**WEEKLY[3], "target": "mean"}])["preprocessing_id"]
    asked = {"dataset_id": dataset, "horizon": 2, "preprocessing_id": name, "season_length": 4, "covariates": []}
    ended = desk.finish(desk.call("run_training", asked)["result"]["run_id"])["result"]
    assert "result" in ended, ended
    trained = ended["result"]
    assert trained["trust"]["verdict"] != "trust"
    assert any("later values" in reason and "weak point" in reason for reason in trained["trust"]["reasons"])
    forecast = desk.call("run_inference", {"run_id": trained["run_id"]})["result"]["result"]
    for told in ("later values", "the data ends within a step of 'W-SUN'"):
        assert len([text for text in forecast["warnings"] if told in text]) == 1
