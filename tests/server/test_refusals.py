"""A call that does not fit its contract hears which field it was, however deep, and what that field takes."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Desk

DATASET = "ds_" + "0" * 24


def refused(desk: Desk, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    error: dict[str, Any] = desk.call(tool, arguments)["error"]
    assert error["code"] == "INVALID_ARGUMENTS", error
    assert error["next_step"]
    return error


def test_a_misspelt_name_inside_a_step_is_answered_with_the_names_of_a_step(desk: Desk) -> None:
    step = {"kind": "resample", "frq": "D", "target": "sum"}
    error = refused(desk, "run_preprocessing", {"dataset_id": DATASET, "steps": [step]})
    assert error["field"] == "steps.0.frq"
    assert "did you mean freq?" in error["message"]
    assert "threshold" in error["allowed"]
    assert "dataset_id" not in error["allowed"]


def test_a_wrong_word_inside_a_step_is_answered_with_the_words_of_that_field(desk: Desk) -> None:
    steps = [{"kind": "fill_gaps"}, {"kind": "resampel"}]
    error = refused(desk, "run_preprocessing", {"dataset_id": DATASET, "steps": steps})
    assert (error["field"], error["allowed"][:2]) == ("steps.1.kind", ["merge_duplicates", "fill_gaps"])
    assert "resampel" in error["message"]
    absent = refused(desk, "run_preprocessing", {"dataset_id": DATASET, "steps": [{"how": "mean"}]})
    assert (absent["field"], absent["allowed"]) == ("steps.0.kind", error["allowed"])


@pytest.mark.parametrize(
    ("arguments", "field", "allowed"),
    [
        ({"horizon": 0}, "horizon", "1 to 8760"),
        ({"horizon": None}, "horizon", "1 to 8760"),
        ({}, "horizon", "1 to 8760"),
        ({"horizon": 3, "profile": "best"}, "profile", "default"),
        ({"horizon": 3, "covariates": [5]}, "covariates.0", "type: string"),
        ({"horizon": 3, "dataset_id": "mine"}, "dataset_id", "pattern: ^ds_[0-9a-f]{24}$"),
    ],
)
def test_the_bounds_words_or_pattern_of_the_field_at_fault_are_told(
    desk: Desk, arguments: dict[str, Any], field: str, allowed: str
) -> None:
    error = refused(desk, "run_training", {"dataset_id": DATASET, **arguments})
    assert error["field"] == field
    assert allowed in error["allowed"]


def test_null_inside_a_step_is_named_with_its_place(desk: Desk) -> None:
    steps = [{"kind": "fill_gaps", "target": None}]
    error = refused(desk, "run_preprocessing", {"dataset_id": DATASET, "steps": steps})
    assert error["field"] == "steps.0.target"
    assert "leave the field out" in error["message"]
    assert "seasonal" in error["allowed"]


def test_unknown_covariates_are_answered_with_where_names_are(desk: Desk) -> None:
    rows = [{"ds": f"2025-01-{d:02d}", "y": float(d), "x": d % 3} for d in range(1, 31)]
    dataset = desk.call("register_dataset", {"rows": rows})["result"]["dataset_id"]
    asked = {"dataset_id": dataset, "horizon": 2, "covariates": ["w"]}
    error = desk.call("run_training", asked)["error"]
    assert (error["code"], error["field"], error["allowed"]) == ("COVARIATES_MISMATCH", "covariates", ["x"])
    assert "describe_dataset" in error["next_step"]
