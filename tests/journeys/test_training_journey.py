"""From rows to a trusted forecast through the pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import jsonschema
from conftest import ENDED, Desk
from training_toys import register, rows, train

from mcp_forecast.settings import Settings
from mcp_forecast_contracts.catalogue import documents


def test_a_forecast_is_trusted_where_it_earned_it_and_follows_its_covariate(desk: Desk) -> None:
    dataset = register(desk)
    trained = train(desk, dataset)
    jsonschema.validate(trained, documents()["get_run_status"]["output_schema"])
    result = trained["result"]["result"]
    assert result["uplift"][0]["low"] > 0.5
    assert result["trust"]["verdict"] == "trust"
    assert result["trust"]["skill"]["low"] > 0
    assert result["serving"]["needs_future"] == ["promotion"]
    request = {"run_id": trained["result"]["run_id"]}
    forecast = desk.call("run_inference", request)
    assert forecast["ok"], forecast
    jsonschema.validate(forecast, documents()["run_inference"]["output_schema"])
    series = forecast["result"]["result"]["series"][0]
    assert len(series["median"]) == 7
    for low95, low80, middle, high80, high95 in zip(
        *(series[name] for name in ("lo-95", "lo-80", "median", "hi-80", "hi-95")), strict=True
    ):
        assert low95 <= low80 <= middle <= high80 <= high95
    lifted = [{"ds": at[:10], "promotion": 1} for at in series["ds"]]
    plain = [{"ds": at[:10], "promotion": 0} for at in series["ds"]]
    medians = [
        desk.call("run_inference", {**request, "future": future})["result"]["result"]["series"][0]["median"]
        for future in (lifted, plain)
    ]
    assert all(with_it - without > 20 for with_it, without in zip(*medians, strict=True))


def test_the_same_request_is_the_same_run_and_a_key_replays_it(desk: Desk) -> None:
    dataset = register(desk)
    first = train(desk, dataset, covariates=[])
    again = desk.call("run_training", {"dataset_id": dataset, "horizon": 7, "covariates": []})
    assert again["result"]["run_id"] == first["result"]["run_id"]
    assert again["result"]["state"] in ENDED
    assert desk.call("list_runs", {"kind": "training"})["result"]["total"] == 1


def test_missing_future_values_are_named_with_what_is_needed(desk: Desk) -> None:
    trained = train(desk, register(desk, known=0))
    error = desk.call("run_inference", {"run_id": trained["result"]["run_id"]})["error"]
    assert error["code"] == "COVARIATES_MISMATCH"
    assert "promotion" in error["message"]
    assert "7" in error["message"]


def test_a_cancelled_run_starts_again_under_the_same_id(
    open_desk: Callable[[Settings], Desk], settings: Settings
) -> None:
    desk = open_desk(replace(settings, workers=0))
    request = {"dataset_id": register(desk), "horizon": 7, "idempotency_key": "t"}
    run_id = desk.call("run_training", request)["result"]["run_id"]
    cancelled = desk.call("cancel_run", {"run_id": run_id, "idempotency_key": "c"})
    assert cancelled["result"]["state"] == "CANCELLED"
    again = desk.call("run_training", request)
    assert not again["replayed"]
    assert (again["result"]["run_id"], again["result"]["attempt"]) == (run_id, 2)
    assert desk.call("run_training", request)["replayed"]


def test_a_model_is_not_asked_for_another_target_or_other_series_columns(desk: Desk) -> None:
    request = {"run_id": train(desk, register(desk), covariates=[])["result"]["run_id"]}
    other = [{"ds": row["ds"], "revenue": row["y"]} for row in rows(100)]
    stores = [{"ds": row["ds"], "y": row["y"], "store": store} for store in ("a", "b") for row in rows(100)]
    sources = ({"rows": other}, {"rows": stores, "series": ["store"]})
    for source, told in zip(sources, (("'y'", "'revenue'"), ("none", "'store'")), strict=True):
        dataset = desk.call("register_dataset", source)["result"]["dataset_id"]
        error = desk.call("run_inference", {**request, "dataset_id": dataset})["error"]
        assert (error["code"], error["field"]) == ("DATA_INVALID", "dataset_id")
        assert all(name in error["message"] for name in told), error


def test_a_forecast_from_other_and_shorter_data_says_so(desk: Desk) -> None:
    dataset = register(desk)
    trained = train(desk, dataset, covariates=[])["result"]
    request, reads = {"run_id": trained["run_id"]}, trained["result"]["serving"]["lookback"]
    assert desk.call("run_inference", request)["result"]["result"]["warnings"] == []
    short = desk.call("register_dataset", {"rows": rows(20)})["result"]["dataset_id"]
    forecast = desk.call("run_inference", {**request, "dataset_id": short})
    other, past, *told = forecast["result"]["result"]["warnings"]
    assert dataset in other
    assert short in other
    assert reads > 20
    assert f"20 steps, the model reads {reads}" in past
    # They are the run's, so whoever reads it later sees them too; said once.
    assert forecast["warnings"] == []
    later = desk.call("get_run_status", {"run_id": forecast["result"]["run_id"]})
    assert later["result"]["result"]["warnings"] == [other, past, *told]


def test_future_rows_that_the_model_does_not_read_change_nothing_and_are_told(desk: Desk) -> None:
    request = {"run_id": train(desk, register(desk), covariates=[])["result"]["run_id"]}
    plain = desk.call("run_inference", request)
    told = desk.call("run_inference", {**request, "future": [{"ds": "2024-12-01", "promotion": 1}]})
    assert told["result"]["run_id"] == plain["result"]["run_id"]
    assert told["warnings"] == ["the model reads no future covariates; the future rows were not used"]


def ahead(first: int, last: int) -> list[dict[str, Any]]:
    """Future rows of the days after the 700 of history, promotion on odd ones."""
    start = date(2023, 1, 1) + timedelta(days=699)
    return [{"ds": (start + timedelta(days=n)).isoformat(), "promotion": n % 2} for n in range(first, last + 1)]


def test_a_shorter_forecast_is_the_beginning_of_the_long_one_and_needs_its_future(desk: Desk) -> None:
    request = {"run_id": train(desk, register(desk, known=0))["result"]["run_id"]}
    few = desk.call("run_inference", {**request, "horizon": 3, "future": ahead(1, 3)})["error"]
    assert few["code"] == "COVARIATES_MISMATCH"
    assert "all 7 steps it was trained for, also when fewer are forecast" in few["message"]
    whole = desk.call("run_inference", {**request, "future": ahead(1, 7)})
    short = desk.call("run_inference", {**request, "horizon": 3, "future": ahead(1, 7)})
    long, cut = (answer["result"]["result"]["series"][0] for answer in (whole, short))
    assert cut == {name: value[:3] if isinstance(value, list) else value for name, value in long.items()}
    # A change at step 7 moves step 1: that is why a shorter forecast cannot do with fewer rows.
    turned = [*ahead(1, 6), {**ahead(7, 7)[0], "promotion": 0}]
    moved = desk.call("run_inference", {**request, "future": turned})["result"]["result"]["series"][0]
    assert moved["median"][0] != long["median"][0]
    beyond = desk.call("run_inference", {**request, "future": ahead(0, 9)})
    assert beyond["result"]["result"]["warnings"] == [
        "3 of 10 future rows lie outside the 7 steps after the data; not used"
    ]
    assert beyond["result"]["result"]["series"] == whole["result"]["result"]["series"]
    past = desk.call("run_inference", {**request, "future": ahead(-9, 0)})["error"]
    assert past["code"] == "DATA_INVALID"
    assert "2024-12-01" in past["message"] + json.dumps(past["allowed"])


def test_training_says_early_that_future_rows_will_be_needed(desk: Desk) -> None:
    request = {"dataset_id": register(desk, known=5), "horizon": 7}
    (told,) = desk.call("run_training", request)["warnings"]
    assert "5 of 7 future steps of promotion" in told
    assert desk.call("run_training", {**request, "covariates": []})["warnings"] == []


def test_a_forecast_whose_time_is_up_between_two_steps_is_left_to_a_worker(desk: Desk) -> None:
    run_id = train(desk, register(desk), covariates=[])["result"]["run_id"]
    plan = desk.app.engine.plan_inference(run_id=run_id, dataset_id=None, horizon=None, future=None, levels=(80,))
    # The looks at the clock: before the work, with the data read, after the batch, before the document is written.
    for looks in range(4):
        in_time = iter([False] * looks)
        assert desk.app.engine.try_inline(plan, should_stop=lambda left=in_time: next(left, True)) == plan
    in_time = iter([False] * 4)
    assert desk.app.engine.try_inline(plan, should_stop=lambda: next(in_time, True)).result is not None
