"""run_preprocessing from the caller's side: what each step changed, and its name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import Desk
from preprocessing_toys import CLIP, GAP, OUTLIER_DAY, TWICE, WEEKLY, day, preprocess, register

from mcp_forecast_engine.data.steps import (
    DEFAULT_STEPS,
    preprocessing_id,
    step_from_dict,
    step_to_dict,
)
from mcp_forecast_engine.errors import DataInvalid


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
