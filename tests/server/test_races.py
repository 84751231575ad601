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
from typing import Any

import pytest
from conftest import Answer, Desk
from shop import Shop, trained
from sqlalchemy import text

from mcp_forecast.settings import Settings, child_environment
from mcp_forecast.upkeep.restore import restore_home

BOTH_DATABASES = True
ROWS = [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d + 3 * m)} for m in range(1, 13) for d in range(1, 29)]
RACER = """
import json, sys
from anyio.from_thread import start_blocking_portal
from mcp_forecast.app import open_app
from mcp_forecast.calls.caller import Caller
from mcp_forecast.calls.pipeline import call
from mcp_forecast.settings import Settings, process_settings
app = open_app(process_settings())
me = Caller("racer", frozenset(Settings.scopes), "test")
with start_blocking_portal() as portal:
    print("ready", flush=True)
    sys.stdin.readline()
    for tool, asked in json.loads(sys.argv[1]):
        print(json.dumps(portal.call(call, app, tool, asked, me)), flush=True)
app.close()
"""


class Racers:
    """Processes on one home, each of which waits to make its calls: tool and arguments."""

    def __init__(self, settings: Settings, calls: list[list[tuple[str, dict[str, Any]]]]) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", RACER, json.dumps(mine)],
                env=child_environment(settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for mine in calls
        ]  # fmt: skip
        for one in self._processes:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"

    def go(self) -> None:
        for one in self._processes:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()

    def answers(self) -> list[list[Answer]]:
        """Of each process, once it has ended."""
        return [[json.loads(line) for line in one.communicate(timeout=60)[0].splitlines()] for one in self._processes]


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
    asked = [{"dataset_id": dataset, "horizon": 7 + key, "idempotency_key": f"k{key}"} for key in range(10)]
    racers = Racers(settings, [[("run_training", one) for one in asked]] * 4)
    racers.go()
    answers = racers.answers()
    assert all(answer["ok"] for mine in answers for answer in mine)
    assert [len(mine) for mine in answers] == [10, 10, 10, 10]
    assert len({answer["result"]["run_id"] for mine in answers for answer in mine}) == 10
    assert runs_and_keys(desk) == (10, 10)
    assert os.environ.get("MCP_FORECAST_HOME") is None


def test_a_run_published_by_many_threads_and_processes_at_once_is_one_bundle_and_one_event(
    open_desk: Callable[[Settings], Desk], settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    restore_home(settings, trained(tmp_path_factory))
    desk = open_desk(settings)
    run_id = Shop(desk).passed(7)
    calls = [[("publish_bundle", {"run_id": run_id, "idempotency_key": f"process-{number}"})] for number in range(2)]
    others = Racers(settings, calls)
    answers: list[Answer] = []

    def publish(key: str) -> None:
        answers.append(desk.call("publish_bundle", {"run_id": run_id, "idempotency_key": key}))

    threads = [threading.Thread(target=publish, args=(f"thread-{number}",)) for number in range(16)]
    others.go()
    for thread in threads:
        thread.start()
    answers += [answer for mine in others.answers() for answer in mine]
    for thread in threads:
        thread.join()
    assert [answer["ok"] for answer in answers] == [True] * 18
    told = [answer["result"] for answer in answers]
    assert sorted(one.pop("status") for one in told) == ["ALREADY_PUBLISHED"] * 17 + ["PUBLISHED"]
    assert told == [told[0]] * 18
    again = [desk.call("publish_bundle", {"run_id": run_id, "idempotency_key": "thread-3"}) for _ in range(2)]
    assert [(one["replayed"], one["result"]["manifest"]) for one in again] == [(True, told[0]["manifest"])] * 2
    with desk.app.database.read() as connection:
        bundles = connection.execute(text("SELECT bundle_id, manifest FROM bundle")).all()
        events = connection.execute(text("SELECT event_type, bundle_id FROM registry_event")).all()
    assert [tuple(one) for one in bundles] == [(told[0]["bundle_id"], told[0]["manifest"])]
    assert [tuple(one) for one in events] == [("BUNDLE_PUBLISHED", told[0]["bundle_id"])]
    assert desk.call("get_run_status", {"run_id": run_id})["result"]["state"] == "PUBLISHED"
