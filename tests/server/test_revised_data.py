"""Data that says when it became known, by the tools: registered, described, and shown as it stands now."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from conftest import ENDED, Desk

ROWS: list[dict[str, Any]] = [
    {
        "ds": (date(2024, 1, 1) + timedelta(days=day)).isoformat(),
        "y": 100.0 + day % 7 + 50.0 * late,
        "seen": f"{date(2024, 1, 2) + timedelta(days=day + 20 * late)}T06:00:00Z",
    }
    for day in range(80)
    for late in range(2 if day % 5 == 0 else 1)
]


def test_revised_data_is_registered_described_and_shown_as_it_stands_now(desk: Desk) -> None:
    made = desk.call("register_dataset", {"rows": ROWS, "observed": "seen"})["result"]
    told = {"column": "seen", "first": "2024-01-02T06:00:00Z", "last": "2024-04-06T06:00:00Z"}
    assert made["observed"] == {**told, "rows": 96, "revisions": 16, "conflicts": 0}
    assert (made["rows"], made["duplicates"]) == (80, 0)
    described = desk.call("describe_dataset", {"dataset_id": made["dataset_id"]})["result"]
    assert described["observed"] == made["observed"]
    assert (described["series_page"][0]["rows"], described["series_page"][0]["last"]) == (80, 102.0)
    shown = desk.call("run_preprocessing", {"dataset_id": made["dataset_id"]})
    assert any(text.startswith("as of 2024-04-06T06:00:00Z: 100.0% of 80 targets") for text in shown["warnings"])
    assert shown["result"]["panel"]["steps"] == 80


def test_a_target_that_was_observed_before_its_time_is_refused_with_what_to_check(desk: Desk) -> None:
    early = [*ROWS, {"ds": "2024-03-21", "y": 1.0, "seen": "2024-03-20T00:00:00Z"}]
    error = desk.call("register_dataset", {"rows": early, "observed": "seen"})["error"]
    # The dates have no zone, so that a day may begin fourteen hours before it does in UTC.
    assert (error["code"], error["field"]) == ("DATA_INVALID", "observed")
    assert "96" in error["message"]
    unknown = desk.call("register_dataset", {"rows": ROWS, "observed": "published"})["error"]
    assert (unknown["code"], unknown["field"]) == ("DATA_INVALID", "observed")


def test_a_training_says_as_of_when_and_another_time_is_another_run(desk: Desk) -> None:
    dataset = desk.call("register_dataset", {"rows": ROWS, "observed": "seen"})["result"]["dataset_id"]
    asked = {"dataset_id": dataset, "horizon": 7}
    error = desk.call("run_training", asked)["error"]
    assert (error["code"], error["details"]["reason"]) == ("DATA_INVALID", "LABEL_ASOF_MISSING")
    assert "2024-04-06T06:00:00Z" in str(error["allowed"]) + error["next_step"] + error["message"]
    known = {name: {**asked, "label_asof": f"{name}T06:00:00Z"} for name in ("2024-04-06", "2024-03-15")}
    runs = {name: desk.call("run_training", one)["result"]["run_id"] for name, one in known.items()}
    assert len(set(runs.values())) == 2
    again = desk.call("run_training", {**asked, "label_asof": "2024-04-06T08:00:00+02:00"})["result"]["run_id"]
    assert again == runs["2024-04-06"]
    ended = {name: desk.finish(run)["result"] for name, run in runs.items()}
    forecast = desk.call("run_inference", {"run_id": runs["2024-03-15"]})["result"]["result"]
    assert ended["2024-03-15"]["state"] in ENDED
    assert forecast["series"][0]["ds"][0] == "2024-03-15T00:00:00"


def test_data_without_observed_times_has_no_as_of(desk: Desk) -> None:
    plain = [{"ds": row["ds"], "y": row["y"]} for row in ROWS if row["y"] < 150]
    dataset = desk.call("register_dataset", {"rows": plain})["result"]["dataset_id"]
    for argument in ({"label_asof": "2024-04-06T06:00:00Z"}, {"maturity_days": 3}):
        error = desk.call("run_training", {"dataset_id": dataset, "horizon": 7, **argument})["error"]
        assert error["code"] == "DATA_INVALID", error
