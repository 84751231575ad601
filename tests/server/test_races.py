"""Many callers, one home: each key works once, nobody gets an untyped answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from conftest import Answer, Desk
from gate_data import passing
from sqlalchemy import text

from mcp_forecast.settings import Settings, child_environment

BOTH_DATABASES = True
ROWS = [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d + 3 * m)} for m in range(1, 13) for d in range(1, 29)]
RACER = """
import json, sys, threading
from anyio.from_thread import start_blocking_portal
from mcp_forecast.app import open_app
from mcp_forecast.calls.caller import Caller
from mcp_forecast.calls.pipeline import call
from mcp_forecast.settings import process_settings
app = open_app(process_settings())
me = Caller("racer", frozenset({"forecast:read", "forecast:write"}), "test")
request = json.loads(sys.argv[1])
with start_blocking_portal() as portal:
    print("ready", flush=True)
    sys.stdin.readline()
    for key in range(10):
        asked = {**request, "horizon": 7 + key, "idempotency_key": f"k{key}"}
        answer = portal.call(call, app, "run_training", asked, me)
        print(json.dumps([answer["ok"], answer.get("result", {}).get("run_id")]), flush=True)
app.close()
"""


PUBLISHER = """
import json, sys
from anyio.from_thread import start_blocking_portal
from mcp_forecast.app import open_app
from mcp_forecast.calls.caller import Caller
from mcp_forecast.calls.pipeline import call
from mcp_forecast.settings import process_settings
app = open_app(process_settings())
me = Caller("racer", frozenset({"registry:read", "registry:write"}), "test")
with start_blocking_portal() as portal:
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(portal.call(call, app, "publish_bundle", json.loads(sys.argv[1]), me)), flush=True)
app.close()
"""


def runs_and_keys(desk: Desk) -> tuple[int, int]:
    with desk.app.database.read() as connection:
        runs = connection.execute(text("SELECT count(*) FROM run")).scalar_one()
        keys = connection.execute(text("SELECT count(*) FROM idempotency_key WHERE tool = 'run_training'")).scalar_one()
    return runs, keys


def test_many_threads_with_the_same_keys_make_one_run_per_key(
    open_desk: Callable[[Settings], Desk], settings: Settings
) -> None:
    desk = open_desk(replace(settings, workers=0))
    dataset = desk.call("register_dataset", {"rows": ROWS, "freq": "D"})["result"]["dataset_id"]
    answers: list[Answer] = []

    def ask() -> None:
        for key in range(3):
            request = {"dataset_id": dataset, "horizon": 7 + key, "idempotency_key": f"k{key}"}
            answers.append(desk.call("run_training", request))

    threads = [threading.Thread(target=ask) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer["ok"] for answer in answers] == [True] * 192
    assert len({answer["result"]["run_id"] for answer in answers}) == 3
    assert sum(not answer["replayed"] for answer in answers) == 3
    assert runs_and_keys(desk) == (3, 3)


def test_several_processes_on_one_home_make_one_run_per_key(
    open_desk: Callable[[Settings], Desk], settings: Settings, tmp_path: Path
) -> None:
    settings = replace(settings, workers=0)
    desk = open_desk(settings)
    dataset = desk.call("register_dataset", {"rows": ROWS, "freq": "D"})["result"]["dataset_id"]
    command = [sys.executable, "-c", RACER, json.dumps({"dataset_id": dataset})]
    racers = [
        subprocess.Popen(
            command, env=child_environment(settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    outputs = [[json.loads(line) for line in racer.communicate(timeout=60)[0].splitlines()] for racer in racers]
    assert all(ok for lines in outputs for ok, _ in lines)
    assert [len(lines) for lines in outputs] == [10, 10, 10, 10]
    assert len({run for lines in outputs for _, run in lines}) == 10
    assert runs_and_keys(desk) == (10, 10)
    assert os.environ.get("MCP_FORECAST_HOME") is None


def test_a_run_published_by_many_threads_and_processes_at_once_is_one_bundle_and_one_event(
    open_desk: Callable[[Settings], Desk], settings: Settings
) -> None:
    desk = open_desk(settings)
    dataset = desk.call("register_dataset", {"rows": passing(), "freq": "D"})["result"]["dataset_id"]
    asked = {"dataset_id": dataset, "horizon": 7, "covariates": []}
    run_id = desk.call("run_training", asked)["result"]["run_id"]
    assert desk.finish(run_id)["result"]["state"] == "PASS"
    others = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, json.dumps({"run_id": run_id, "idempotency_key": f"process-{number}"})],
            env=child_environment(settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    for other in others:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
    answers: list[Answer] = []

    def publish(key: str) -> None:
        answers.append(desk.call("publish_bundle", {"run_id": run_id, "idempotency_key": key}))

    threads = [threading.Thread(target=publish, args=(f"thread-{number}",)) for number in range(16)]
    for other in others:
        assert other.stdin is not None
        other.stdin.write("go\n")
        other.stdin.flush()
    for thread in threads:
        thread.start()
    answers += [json.loads(other.communicate(timeout=60)[0]) for other in others]
    for thread in threads:
        thread.join()
    assert [answer["ok"] for answer in answers] == [True] * 20
    told = [answer["result"] for answer in answers]
    assert sorted(one.pop("status") for one in told) == ["ALREADY_PUBLISHED"] * 19 + ["PUBLISHED"]
    assert told == [told[0]] * 20
    again = [desk.call("publish_bundle", {"run_id": run_id, "idempotency_key": "thread-3"}) for _ in range(2)]
    assert [(one["replayed"], one["result"]["manifest"]) for one in again] == [(True, told[0]["manifest"])] * 2
    with desk.app.database.read() as connection:
        bundles = connection.execute(text("SELECT bundle_id, manifest FROM bundle")).all()
        events = connection.execute(text("SELECT event_type, bundle_id FROM registry_event")).all()
    assert [tuple(one) for one in bundles] == [(told[0]["bundle_id"], told[0]["manifest"])]
    assert [tuple(one) for one in events] == [("BUNDLE_PUBLISHED", told[0]["bundle_id"])]
    assert desk.call("get_run_status", {"run_id": run_id})["result"]["state"] == "PUBLISHED"
