"""The same run, bundle and bytes, whatever is killed on the way and wherever it is made."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import corridor_toy
import pytest
from conftest import Answer, Desk
from training_toys import register, rows, train

from mcp_forecast.settings import Settings, child_environment

ROOT = Path(__file__).parent.parent.parent
PARTS = ("mcp_forecast", "engine", "policy", "audit", "tool_contracts")


def outcome(answer: Answer) -> tuple[str, str]:
    """State and the digests of everything the run made."""
    artifacts = answer["result"]["result"]["artifacts"]
    return answer["result"]["state"], json.dumps([[artifact["name"], artifact["digest"]] for artifact in artifacts])


QUICK = (
    "started", "preprocess:stored", "evaluate:made", "evaluate:recorded", "train:stored", "gate:stored",
    "result:stored",
)  # fmt: skip
STEPS = tuple(
    f"{step}:{moment}"
    for step in ("preprocess", "evaluate", "train", "gate")
    for moment in ("made", "stored", "recorded")
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
from mcp_forecast.calls.caller import Caller
from mcp_forecast.calls.pipeline import call
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


@pytest.mark.parametrize(
    ("tool", "point"),
    [
        ("publish_bundle", "insert registry_event"),
        ("publish_bundle", "publish_bundle:written"),
        ("publish_bundle", "committed"),
        ("promote_bundle", "insert active_bundle"),
        ("promote_bundle", "answered"),
    ],
)
def test_a_server_killed_while_it_publishes_or_promotes_leads_where_an_undisturbed_one_leads(
    walked: Walked, tmp_path: Path, tool: str, point: str
) -> None:
    place = walked.starts[tool].copied(tmp_path / "home", "")
    assert corridor_toy.Server(place, point).killed()
    with corridor_toy.opened(place.settings()) as desk:
        assert corridor_toy.to_the_end(place, desk) == walked.expected
    assert walked.expected["wrong"] == []


@dataclass(frozen=True)
class Walked:
    """Homes to start from, by the call that comes next, and the end that an undisturbed corridor comes to."""

    starts: dict[str, corridor_toy.Place]
    expected: corridor_toy.Ending


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    folder, starts = tmp_path_factory.mktemp("corridor"), {}
    place = corridor_toy.begin(folder / "home")
    for tool in corridor_toy.CALLS:
        starts[tool] = place.copied(folder / tool, "")
        with corridor_toy.opened(place.settings()) as desk:
            place = corridor_toy.go_on(place, desk)
            expected = corridor_toy.ending(place, desk)
    return Walked(starts, expected)


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
from mcp_forecast.calls.caller import Caller
from mcp_forecast.calls.pipeline import call
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
