"""run_preprocessing from the caller's side: what each step changed, its name, and that serving does the same."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import jsonschema
import pytest
from conftest import Answer, Desk
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from mcp_forecast.settings import Settings
from mcp_forecast_contracts.catalogue import documents
from mcp_forecast_contracts.preprocessing import StepArguments
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.steps import (
    ALLOWED,
    DEFAULT_STEPS,
    preprocessing_id,
    step_from_dict,
    step_to_dict,
    steps_from_dicts,
)
from mcp_forecast_engine.errors import DataInvalid
from mcp_forecast_engine.factory.inputs import Panels
from mcp_forecast_engine.store.identity import digest_of_bytes

OUTLIER_DAY, GAP, TWICE = 300, range(120, 124), 50
CLIP: list[dict[str, Any]] = [
    {"kind": "merge_duplicates", "how": "last"},
    {"kind": "fill_gaps", "target": "last"},
    {"kind": "fill_covariates"},
    {"kind": "outliers", "action": "clip", "threshold": 6},
]
WEEKLY: list[dict[str, Any]] = [
    {"kind": "merge_duplicates"},
    {"kind": "fill_gaps"},
    {"kind": "fill_covariates"},
    {"kind": "resample", "freq": "W-SUN", "target": "sum"},
]


def day(number: int) -> str:
    return (date(2023, 1, 1) + timedelta(days=number)).isoformat()


def rows(days: int, *, known: int = 0, seed: int = 3) -> list[dict[str, Any]]:
    """A daily series with a weekly season, a price that moves it, four days absent, one day twice and one far off."""
    chance, made = random.Random(seed), []
    for number in range(days + known):
        price = round(chance.uniform(1, 5), 2)
        row: dict[str, Any] = {"ds": day(number), "price": price}
        if number < days:
            y = 100 + 20 * math.sin(2 * math.pi * number / 7) - 8 * price + chance.gauss(0, 3)
            row["y"] = round(9000 if number == OUTLIER_DAY else y, 6)
        made += [] if number in GAP else [row, {**row, "y": 500.0}] if number == TWICE else [row]
    return made


def register(desk: Desk, **asked: Any) -> str:
    corrections = [{"name": "price", "role": "known_future"}]
    answer = desk.call("register_dataset", {"rows": rows(**asked), "freq": "D", "covariates": corrections})
    assert answer["ok"], answer
    return str(answer["result"]["dataset_id"])


def preprocess(desk: Desk, dataset: str, **asked: Any) -> dict[str, Any]:
    answer = desk.call("run_preprocessing", {"dataset_id": dataset, **asked})
    assert answer["ok"], answer
    jsonschema.validate(answer, documents()["run_preprocessing"]["output_schema"])
    assert len(json.dumps(answer)) < 8000
    result: dict[str, Any] = answer["result"]
    return result


def plan_of(desk: Desk, run_id: str) -> dict[str, Any]:
    with desk.app.database.read() as connection:
        return desk.app.engine.run(connection, run_id).plan


def panel_digest(panel: Panel) -> str:
    parts = [panel.ds, panel.y, panel.observed, *(panel.covariates[name] for name in sorted(panel.covariates))]
    return digest_of_bytes(b"".join(part.tobytes() for part in parts))


def artifact(answer: Answer, name: str) -> str:
    return str(next(a["digest"] for a in answer["result"]["result"]["artifacts"] if a["name"] == name))


def test_each_step_says_what_it_changed_in_data_that_is_double_gappy_and_wild(desk: Desk) -> None:
    found = preprocess(desk, register(desk, days=400), steps=CLIP)
    changed = {step["kind"]: step["changed"] for step in found["steps"]}
    assert changed == {"merge_duplicates": 1, "fill_gaps": 4, "fill_covariates": 4, "outliers": 1}
    assert found["steps"][1] == {
        "kind": "fill_gaps", "target": "last", "causal": True, "changed": 4, "summary": found["steps"][1]["summary"],
    }  # fmt: skip
    merged, filled, *_ = (c for c in found["changes"] if c["column"] == "y")
    assert (merged["step"], merged["ds"][:10], merged["after"]) == (0, day(TWICE), 500.0)
    assert (filled["step"], filled["ds"][:10], "before" in filled) == (1, day(GAP[0]), False)
    clipped = found["changes"][-1]
    assert (clipped["step"], clipped["ds"][:10], clipped["before"]) == (3, day(OUTLIER_DAY), 9000.0)
    assert clipped["after"] < 1000
    assert (found["rows_before"], found["rows_after"]) == (397, 400)
    assert (found["panel"]["filled"], found["panel"]["longest"], found["panel"]["freq"]) == (
        5,
        400,
        "D",
    )  # the clipped one too
    stored = json.loads(desk.app.engine.artifacts.get(found["report"]))
    assert [step["changed"] for step in stored["steps"]] == [step["changed"] for step in found["steps"]]


def test_the_same_steps_by_reference_do_the_same_to_another_dataset(desk: Desk) -> None:
    first = preprocess(desk, register(desk, days=400), steps=CLIP)
    second = preprocess(desk, register(desk, days=380), preprocessing_id=first["preprocessing_id"])
    third = preprocess(desk, second["dataset_id"], steps=CLIP)
    assert (first["created"], second["created"]) == (True, False)
    assert second["preprocessing_id"] == first["preprocessing_id"]
    assert second["dataset_id"] != first["dataset_id"]
    assert third == second
    assert [s["changed"] for s in second["steps"]] == [s["changed"] for s in first["steps"]]


def test_the_same_steps_in_other_words_have_the_same_id(desk: Desk) -> None:
    dataset = register(desk, days=400)
    named = preprocess(desk, dataset, steps=CLIP)["preprocessing_id"]
    spelled = [dict(reversed({**step_to_dict(step_from_dict(plain))}.items())) for plain in CLIP]
    assert preprocess(desk, dataset, steps=spelled)["preprocessing_id"] == named
    assert preprocess(desk, dataset, steps=[*CLIP[:2], CLIP[3], CLIP[2]])["preprocessing_id"] != named
    default = preprocess(desk, dataset)
    assert default["preprocessing_id"] == preprocessing_id(DEFAULT_STEPS)
    assert [step["kind"] for step in default["steps"]] == [step.kind for step in DEFAULT_STEPS]


def test_a_key_replays_the_answer_and_stands_for_these_steps_alone(desk: Desk) -> None:
    request = {"dataset_id": register(desk, days=400), "steps": CLIP, "idempotency_key": "k"}
    first, again = desk.call("run_preprocessing", request), desk.call("run_preprocessing", request)
    assert again["replayed"]
    assert again["result"] == first["result"]
    assert desk.call("run_preprocessing", {**request, "steps": WEEKLY})["error"]["code"] == "IDEMPOTENCY_CONFLICT"


@pytest.mark.parametrize(
    ("steps", "field", "allowed"),
    [
        ([{"kind": "outliers", "how": "mean"}], "steps.0.how", "threshold"),
        ([*CLIP, {"kind": "fill_covariates", "causal": True}], "steps.4.causal", None),
        ([{"kind": "fill_gaps", "target": "sum"}], "steps.0.target", "seasonal"),
        ([{"kind": "fill_gaps", "target": "last", "causal": False}], "steps.0.causal", "interpolate"),
        ([{"kind": "resample", "target": "sum"}], "steps.0.freq", "W-SUN"),
        ([{"kind": "resample", "freq": "fortnight", "target": "sum"}], "steps.0.freq", "W-SUN"),
        ([{"kind": "resample", "freq": "7", "target": "sum"}], "steps.0.freq", "W-SUN"),
        ([{"kind": "resample", "freq": "99999999999999999D", "target": "sum"}], "steps.0.freq", "ten years"),
        ([*CLIP, {"kind": "resample", "freq": "h", "target": "sum"}], "steps", None),
        ([{"kind": "outliers"}], "steps", "fill_gaps"),
    ],
)
def test_a_step_that_cannot_be_is_refused_with_what_it_may_be(
    desk: Desk, steps: list[dict[str, Any]], field: str, allowed: str | None
) -> None:
    error = desk.call("run_preprocessing", {"dataset_id": register(desk, days=400), "steps": steps})["error"]
    assert (error["code"], error["field"]) == ("DATA_INVALID", field)
    assert allowed is None or any(allowed in text for text in error["allowed"]), error
    assert error["next_step"]


@pytest.mark.parametrize(
    "step",
    [
        {"kind": "magic"}, {"kind": "outliers", "threshold": 0}, {"kind": "outliers", "threshold": "10"},
        {"kind": "outliers", "threshold": True}, {"kind": "fill_gaps", "causal": 1}, {"kind": "fill_gaps", "wish": 1},
        {"kind": ["outliers"]}, {}, {"kind": "resample", "freq": 7, "target": "sum"},
    ],
)  # fmt: skip
def test_values_of_another_type_are_refused_by_the_contract_and_by_the_engine(desk: Desk, step: Any) -> None:
    answer = desk.call("run_preprocessing", {"dataset_id": register(desk, days=200), "steps": [step]})
    assert answer["error"]["code"] == "INVALID_ARGUMENTS"
    with pytest.raises(DataInvalid):
        step_from_dict(step)


def test_steps_and_an_id_together_or_an_unknown_id_are_refused(desk: Desk) -> None:
    dataset, nowhere = register(desk, days=200), "pp_" + "0" * 24
    both = desk.call("run_preprocessing", {"dataset_id": dataset, "steps": CLIP, "preprocessing_id": nowhere})["error"]
    assert (both["code"], both["details"]["reason"]) == ("INVALID_ARGUMENTS", "ONE_OF")
    calls = [("run_preprocessing", {"dataset_id": dataset}), ("run_training", {"dataset_id": dataset, "horizon": 7})]
    for tool, request in calls:
        error = desk.call(tool, {**request, "preprocessing_id": nowhere})["error"]
        assert (error["code"], error["field"]) == ("NOT_FOUND", "preprocessing_id")
        assert "run_preprocessing" in error["next_step"]


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
    assert "28 steps of 'W-SUN'" in error["message"]
    assert error["allowed"] == ["at most 26"]
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
    assert trained["result"]["state"] == "SUCCEEDED", trained
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
    trained = desk.finish(desk.call("run_training", asked)["result"]["run_id"])["result"]["result"]
    assert trained["trust"]["verdict"] != "trust"
    assert any("later values" in reason and "weak point" in reason for reason in trained["trust"]["reasons"])
    forecast = desk.call("run_inference", {"run_id": trained["run_id"]})["result"]["result"]
    for told in ("later values", "the data ends within a step of 'W-SUN'"):
        assert len([text for text in forecast["warnings"] if told in text]) == 1


def test_the_contract_names_exactly_the_arguments_of_the_steps() -> None:
    assert set(StepArguments.model_fields) == {"kind"} | {name for names in ALLOWED.values() for name in names}
    schema = documents()["run_preprocessing"]["input_schema"]["properties"]["steps"]["items"]["properties"]
    assert schema["kind"]["enum"] == list(ALLOWED)
    for name in ("how", "target", "action"):
        words = {word for names in ALLOWED.values() if name in names for word in names[name]}
        assert set(schema[name]["enum"]) == words


STEP = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.just("merge_duplicates")}, optional={"how": st.sampled_from(ALLOWED["merge_duplicates"]["how"])}
    ),
    st.fixed_dictionaries(
        {"kind": st.just("fill_gaps")},
        optional={"target": st.sampled_from(ALLOWED["fill_gaps"]["target"]), "causal": st.just(True)},
    ),
    st.just({"kind": "fill_gaps", "target": "interpolate", "causal": False}),
    st.fixed_dictionaries({"kind": st.just("fill_covariates")}),
    st.fixed_dictionaries(
        {
            "kind": st.just("resample"), "freq": st.sampled_from(["D", "d", "daily", "W", "W-SUN", "MS", "monthly"]),
            "target": st.sampled_from(ALLOWED["resample"]["target"]),
        }
    ),
    st.fixed_dictionaries(
        {"kind": st.just("outliers")},
        optional={"action": st.sampled_from(ALLOWED["outliers"]["action"]), "threshold": st.integers(1, 20)},
    ),
)  # fmt: skip


@examples(max_examples=200, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=6), st.randoms())
def test_an_id_ignores_the_order_of_keys_and_defaults_that_are_spelled_out(
    steps: list[dict[str, Any]], chance: random.Random
) -> None:
    named = preprocessing_id(steps_from_dicts(steps))
    spelled = []
    for step in steps:
        items = list(step_to_dict(step_from_dict(step)).items())
        chance.shuffle(items)
        spelled.append(dict(items))
    assert preprocessing_id(steps_from_dicts(spelled)) == named
    assert preprocessing_id(steps_from_dicts([*steps, {"kind": "fill_covariates"}])) != named
