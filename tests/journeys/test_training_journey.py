"""From rows to a trusted forecast through the pipeline; and the same again, whatever is killed on the way."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Answer, Desk

from mcp_forecast.settings import Settings, child_environment
from mcp_forecast_contracts.catalogue import documents

ROOT = Path(__file__).parent.parent.parent
PARTS = ("mcp_forecast", "engine", "policy", "audit", "tool_contracts")


def rows(days: int, *, known: int = 0) -> list[dict[str, Any]]:
    """A daily series with a weekly season, a promotion that lifts it, and `known` days of promotions ahead."""
    made, chance = [], random.Random(11)
    for day in range(days + known):
        promotion = int(chance.random() < 0.3)
        y = 100 + 20 * math.sin(2 * math.pi * day / 7) + 30 * promotion + chance.gauss(0, 3)
        row: dict[str, Any] = {"ds": (date(2023, 1, 1) + timedelta(days=day)).isoformat(), "promotion": promotion}
        if day < days:
            row["y"] = round(y, 6)
        made.append(row)
    return made


def register(desk: Desk, *, known: int = 14) -> str:
    answer = desk.call("register_dataset", {"rows": rows(700, known=known)})
    assert answer["ok"], answer
    return str(answer["result"]["dataset_id"])


def train(desk: Desk, dataset: str, **more: Any) -> Answer:
    started = desk.call("run_training", {"dataset_id": dataset, "horizon": 7, **more})
    assert started["ok"], started
    return desk.finish(started["result"]["run_id"])


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
    assert again["result"]["state"] == "SUCCEEDED"
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


def outcome(answer: Answer) -> tuple[str, str]:
    """State and the digests of everything the run made."""
    artifacts = answer["result"]["result"]["artifacts"]
    return answer["result"]["state"], json.dumps([[artifact["name"], artifact["digest"]] for artifact in artifacts])


QUICK = ("started", "preprocess:stored", "evaluate:made", "evaluate:recorded", "train:stored", "result:stored")
STEPS = tuple(
    f"{step}:{moment}" for step in ("preprocess", "evaluate", "train") for moment in ("made", "stored", "recorded")
)
WORKER_POINTS = [
    pytest.param(point, marks=() if point in QUICK else pytest.mark.slow)
    for point in ("started", *STEPS, "result:stored", "finished")
]


@pytest.mark.parametrize("point", WORKER_POINTS)
def test_a_worker_killed_at_a_step_ends_in_the_same_run_and_bytes(
    open_desk: Callable[[Settings], Desk], settings: Settings, point: str, unkilled: tuple[str, str]
) -> None:
    killed = open_desk(replace(settings, lease_s=1.0, crash_at=point))
    assert outcome(train(killed, register(killed))) == unkilled


SERVER = """
import json, sys
from anyio.from_thread import start_blocking_portal
from mcp_forecast.app import open_app
from mcp_forecast.caller import Caller
from mcp_forecast.pipeline import call
from mcp_forecast.settings import process_settings
app = open_app(process_settings())
me = Caller("agent", frozenset({"forecast:read", "forecast:write"}), "test")
with start_blocking_portal() as portal:
    print(json.dumps(portal.call(call, app, "run_training", json.loads(sys.argv[1]), me)), flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("point", ["run_training:begun", "run_training:written", "committed", "claimed", "spawned"])
def test_a_server_killed_at_a_point_loses_no_run_and_a_retry_doubles_none(
    open_desk: Callable[[Settings], Desk], settings: Settings, point: str, unkilled: tuple[str, str]
) -> None:
    settings = replace(settings, lease_s=1.0)
    first = open_desk(replace(settings, workers=0))
    request = {"dataset_id": register(first), "horizon": 7, "idempotency_key": "once"}
    environment = child_environment(replace(settings, crash_at=point))
    command = [sys.executable, "-c", SERVER, json.dumps(request)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.wait(timeout=60) == -signal.SIGKILL
    second = open_desk(settings)
    retried = second.call("run_training", request)
    assert retried["ok"]
    assert outcome(second.finish(retried["result"]["run_id"])) == unkilled
    assert second.call("list_runs")["result"]["total"] == 1


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The outcome of an undisturbed run, made by a copy of the sources at another path, in a home of its own."""
    elsewhere = tmp_path_factory.mktemp("another") / "checkout"
    for part in PARTS:
        shutil.copytree(ROOT / part, elsewhere / part, ignore=shutil.ignore_patterns("__pycache__"))
    paths = [elsewhere, *(elsewhere / part for part in PARTS[1:])]
    home = elsewhere.parent / "home"
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "MCP_FORECAST_HOME": str(home),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, json.dumps(rows(700, known=14))],
        env=environment, cwd=elsewhere, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["source"].startswith(str(elsewhere))
    for artifact in (home / "artifacts").rglob("*"):
        if artifact.is_file():
            data = artifact.read_bytes()
            assert str(elsewhere).encode() not in data
            assert str(ROOT).encode() not in data
    return outcome(answer)


ELSEWHERE = """
import json, sys
from anyio.from_thread import start_blocking_portal
import mcp_forecast
from mcp_forecast.app import open_app
from mcp_forecast.caller import Caller
from mcp_forecast.pipeline import call
from mcp_forecast.settings import process_settings
app = open_app(process_settings())
me = Caller("agent", frozenset({"forecast:read", "forecast:write"}), "test")
with start_blocking_portal() as portal:
    ask = lambda tool, arguments: portal.call(call, app, tool, arguments, me)
    dataset = ask("register_dataset", {"rows": json.loads(sys.argv[1])})["result"]["dataset_id"]
    run = ask("run_training", {"dataset_id": dataset, "horizon": 7})["result"]["run_id"]
    while (answer := ask("get_run_status", {"run_id": run, "wait_s": 25}))["result"]["state"] in ("QUEUED", "RUNNING"):
        pass
app.close()
print(json.dumps({**answer, "source": mcp_forecast.__file__}))
"""


def test_two_homes_and_two_checkouts_give_the_same_bytes(desk: Desk, unkilled: tuple[str, str]) -> None:
    assert outcome(train(desk, register(desk))) == unkilled


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
    other, past = forecast["result"]["result"]["warnings"]
    assert dataset in other
    assert short in other
    assert reads > 20
    assert f"20 steps, the model reads {reads}" in past
    # They are the run's, so whoever reads it later sees them too; said once.
    assert forecast["warnings"] == []
    later = desk.call("get_run_status", {"run_id": forecast["result"]["run_id"]})
    assert later["result"]["result"]["warnings"] == [other, past]


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
