"""Covariates from end to end: what nobody sends, what may be missing, what must not, and where each is written down."""

from __future__ import annotations

import math
import random
from datetime import date, timedelta
from typing import Any

import holidays
import jsonschema
import pytest
from conftest import ENDED, Answer, Desk

from mcp_forecast_contracts.catalogue import documents

Row = dict[str, Any]
START, DAYS, HORIZON = date(2022, 1, 1), 900, 7
OFF = set(holidays.country_holidays("US", years=range(2022, 2026)))


def rows(days: int = DAYS, *, holes: bool = True, heat: bool = True, pull: float = 3.0) -> list[Row]:
    """A daily series that a temperature and days off move; the temperature lacks a day now and then.

    pull: what a degree adds.
    """
    chance, made = random.Random(7), []
    for i in range(days):
        at = START + timedelta(days=i)
        warm = round(10 + chance.gauss(0, 5), 2)
        y = 100 + 20 * math.sin(2 * math.pi * i / 7) + pull * warm - 60 * (at in OFF) + chance.gauss(0, 2)
        row: Row = {"ds": at.isoformat(), "y": round(y, 4)}
        if heat:
            row["heat"] = None if holes and i % 97 == 5 else warm
        made.append(row)
    return made


def register(desk: Desk, given: list[Row], **asked: Any) -> Row:
    answer = desk.call("register_dataset", {"rows": given, **asked})
    assert answer["ok"], answer
    result: Row = answer["result"]
    return result


def train(desk: Desk, dataset: str, **asked: Any) -> Answer:
    started = desk.call("run_training", {"dataset_id": dataset, "horizon": HORIZON, "test_windows": 8, **asked})
    assert started["ok"], started
    ended = desk.finish(started["result"]["run_id"])
    assert ended["result"]["state"] in ENDED, ended
    jsonschema.validate(ended, documents()["get_run_status"]["output_schema"])
    return ended


HEAT = [{"name": "heat", "role": "known_future"}]


def test_a_model_says_what_it_is_bound_to_and_falls_back_where_it_may(desk: Desk) -> None:
    data = register(desk, rows(), covariates=HEAT)
    assert data["covariate_schema_hash"].startswith("sha256:")
    described = desk.call("describe_dataset", {"dataset_id": data["dataset_id"]})["result"]
    assert described["covariate_schema_hash"] == data["covariate_schema_hash"]
    trained = train(desk, data["dataset_id"])["result"]
    serving = trained["result"]["serving"]
    assert serving["needs_future"] == serving["optional_future"] == ["heat"]
    assert serving["covariate_schema_hash"] == data["covariate_schema_hash"]
    (heat,) = serving["covariates"]
    assert (heat["nullable"], heat["fallback"]["policy"]) == (True, "last_season")
    asked = {"run_id": trained["run_id"], "response_format": "detailed"}
    whole = desk.call("get_run_status", asked)["result"]["result"]
    assert whole["serving"]["input_spec"]["digest"] == serving["input_spec"]["digest"]
    tensors = {one["name"]: one for one in whole["serving"]["input_spec"]["tensors"]}
    assert tensors["cov_future"]["shape"] == ["batch", HORIZON, 1]
    assert tensors["cov_future"]["columns"] == ["heat"]
    request = {"run_id": trained["run_id"]}
    bare = desk.call("run_inference", request)
    assert bare["ok"], bare
    told, uncounted = bare["result"]["result"]["warnings"]
    assert all(part in told for part in ("'heat'", "7 of 7 future steps", "last_season"))
    assert "do not count for this forecast" in uncounted
    # The stand-in is what its name says: the same forecast as with the values of a week before.
    season = [row["heat"] for row in rows()[-7:]]
    ahead = [{"ds": (START + timedelta(days=DAYS + i)).isoformat(), "heat": season[i]} for i in range(HORIZON)]
    sent = desk.call("run_inference", {**request, "future": ahead})["result"]["result"]
    assert sent["series"] == bare["result"]["result"]["series"]
    assert sent["warnings"] == []
    without = register(desk, rows(200, heat=False))
    answer = desk.call("run_inference", {**request, "dataset_id": without["dataset_id"]})
    assert answer["ok"], answer
    assert any("'heat' is not in the data: fallback usual_value" in w for w in answer["result"]["result"]["warnings"])


def test_a_required_covariate_fails_with_its_code_before_any_work(desk: Desk) -> None:
    data = register(desk, rows(holes=False), covariates=HEAT)
    trained = train(desk, data["dataset_id"])["result"]
    assert trained["result"]["serving"]["optional_future"] == []
    request = {"run_id": trained["run_id"]}
    for given, corrections in ((rows(200, heat=False), {}), (rows(200), {"covariates": HEAT})):
        other = register(desk, given, **corrections)["dataset_id"]
        error = desk.call("run_inference", {**request, "dataset_id": other})["error"]
        assert (error["code"], error["field"]) == ("COVARIATES_MISMATCH", "dataset_id")
        assert "'heat'" in error["message"]
    assert desk.call("run_inference", request)["error"]["code"] == "COVARIATES_MISMATCH"
    assert desk.call("list_runs", {"kind": "inference"})["result"]["total"] == 0


def test_holidays_are_sent_by_nobody_and_move_the_forecast(desk: Desk) -> None:
    # The data ends on 1 July: the horizon holds a holiday.
    data = register(desk, rows(DAYS + 13, heat=False, pull=0))
    plain = train(desk, data["dataset_id"])["result"]
    known = train(desk, data["dataset_id"], holidays="US")["result"]
    assert known["run_id"] != plain["run_id"]
    assert known["request"]["holidays"] == "US"
    serving = known["result"]["serving"]
    assert serving["needs_future"] == []
    made = [desk.call("run_inference", {"run_id": run["run_id"]})["result"]["result"] for run in (plain, known)]
    fourth = [at[:10] for at in made[1]["series"][0]["ds"]].index("2024-07-04")
    assert {"holiday_US"} <= set(serving["derived"]), known["result"]["choice"]
    assert all("holidays US, release" in one["source"] for one in serving["covariates"])
    dips = [one["series"][0]["median"][fourth] for one in made]
    assert dips[1] < dips[0] - 20
    # Newer data brings its own days: nobody sends a row.
    newer = register(desk, rows(DAYS + 40, heat=False, pull=0))["dataset_id"]
    assert desk.call("run_inference", {"run_id": known["run_id"], "dataset_id": newer})["ok"]


@pytest.mark.parametrize(("code", "allowed"), [("ZZ", "DE"), ("US-XX", "US-CA")])
def test_an_unknown_calendar_is_refused_with_the_known_ones(desk: Desk, code: str, allowed: str) -> None:
    data = register(desk, rows(120, heat=False))
    asked = {"dataset_id": data["dataset_id"], "horizon": HORIZON, "holidays": code}
    error = desk.call("run_training", asked)["error"]
    assert (error["code"], error["field"]) == ("DATA_INVALID", "holidays")
    assert error["next_step"]
    assert allowed in error["allowed"] or "more" in error["allowed"][-1]


def test_step_numbers_have_no_holidays(desk: Desk) -> None:
    data = register(desk, [{"ds": i, "y": float(i % 7)} for i in range(120)])
    asked = {"dataset_id": data["dataset_id"], "horizon": HORIZON, "holidays": "US"}
    error = desk.call("run_training", asked)["error"]
    assert (error["code"], error["field"]) == ("DATA_INVALID", "holidays")
    assert desk.call("list_runs")["result"]["total"] == 0
