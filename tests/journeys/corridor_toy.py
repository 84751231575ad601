"""A small corridor, from data to what is ACTIVE, whose calls are killed: by a server that ends itself at a point.

python corridor_toy.py TOOL ARGUMENTS POINT    a server that opens its home, says so, and makes one call when told to;
                                               an empty POINT ends it nowhere

Points are the milestones of the call, each statement of its transaction that writes, and the answer sent; the server
prints those that it passed. Repeating the call under its key has to lead where an undisturbed one leads.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from anyio.from_thread import start_blocking_portal
from conftest import AGENT, Answer, Desk
from gate_data import passing
from sqlalchemy import Engine, event, text

from mcp_forecast.app import open_app
from mcp_forecast.calls.pipeline import call
from mcp_forecast.home.reconciliation import reconciled
from mcp_forecast.home.sealing import home_id_of, origin_of
from mcp_forecast.settings import Settings, child_environment, process_settings, read_settings
from mcp_forecast_audit.verify import verify
from mcp_forecast_engine.factory.gathering import CLOCKED
from mcp_forecast_engine.store.named_artifacts import COSTS

CALLS: Final = ("run_training", "publish_bundle", "promote_bundle")
MEASURED: Final = (CLOCKED, COSTS)  # steps whose bytes tell how long something took
_WRITES: Final = re.compile(r"\s*(INSERT INTO|UPDATE|DELETE FROM) (\w+)")
Ending = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A home and where its rows are, with what was asked in it so far. address: empty for SQLite."""

    home: Path
    address: str
    asked: Mapping[str, Mapping[str, Any]]

    def settings(self, **more: str) -> Settings:
        """Its settings; no limits."""
        environ = {"HOME": str(self.home), "DATABASE": self.address, "RATE_PER_S": "1e9", "RATE_BURST": "1e9", **more}
        return read_settings({f"MCP_FORECAST_{name}": value for name, value in environ.items()}, self.home.parent)

    def copied(self, home: Path, address: str) -> Place:
        """The same in another folder; its rows, unless they are in the folder, were copied to that address."""
        shutil.copytree(self.home, home)
        return Place(home, address, self.asked)


@contextmanager
def opened(settings: Settings) -> Iterator[Desk]:
    """A server on a home, in this process."""
    with start_blocking_portal() as portal:
        app = open_app(settings)
        try:
            yield Desk(app, portal)
        finally:
            app.close()


def begin(home: Path, address: str = "") -> Place:
    """A new home with data that a training passes its gate on."""
    with opened(Place(home, address, {}).settings()) as desk:
        dataset = _done(desk.call("register_dataset", {"rows": passing(), "freq": "D"}))["dataset_id"]
    asked = {"dataset_id": dataset, "horizon": 7, "covariates": [], "idempotency_key": "train"}
    return Place(home, address, {"run_training": asked})


def go_on(place: Place, desk: Desk) -> Place:
    """Make the newest call of a place, and say what is asked next; the last one is made again, and replays."""
    tool, asked = list(place.asked.items())[-1]
    result = _done(desk.call(tool, dict(asked)))
    if tool == "run_training":
        ended = desk.finish(result["run_id"])["result"]["state"]
        assert ended == "PASS", ended
        following = {"publish_bundle": {"run_id": result["run_id"], "idempotency_key": "publish"}}
    else:
        bundle = {"bundle_id": result.get("bundle_id", asked.get("bundle_id")), "expected_token": 0}
        following = {"promote_bundle": {**bundle, "reason": "its gate passed", "idempotency_key": "promote"}}
    return Place(place.home, place.address, {**place.asked, **following})


def to_the_end(place: Place, desk: Desk) -> Ending:
    """Make the newest call and all that follow it."""
    for _ in CALLS[len(place.asked) - 1 :]:
        place = go_on(place, desk)
    return ending(place, desk)


def ending(place: Place, desk: Desk) -> Ending:
    """Everything that has to be the same however it came about; `wrong` tells what no home may have."""
    with desk.app.database.read() as connection:

        def rows(statement: str) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in connection.execute(text(statement))]

        found = {
            "runs": rows("SELECT run_id, kind, state, attempt, result, error FROM run"),
            "steps": [(step, made) for step, made in rows("SELECT step, artifact FROM run_step ORDER BY step")
                      if step not in MEASURED],
            "bundles": rows("SELECT bundle_id, version, run_id, manifest, gate_receipt, seq FROM bundle"),
            "events": rows("SELECT seq, event_type, environment, mode, slot, bundle_id, version, from_bundle_id "
                           "FROM registry_event ORDER BY seq"),
            "keys": rows("SELECT tool, key FROM idempotency_key ORDER BY tool"),
        }  # fmt: skip
        agreed = reconciled(connection)
    with desk.app.database.read() as connection:
        origin = origin_of(home_id_of(connection))
    log = verify(desk.app.database.read, origin=origin)
    wrong = [*map(str, log.problems), *agreed["unexplained"], *_unentered(desk, place)]
    wrong += [str(check) for check in agreed["reconciliation"] if not check["agrees"]]
    actives = _done(desk.call("list_bundles"))["active"]
    return {**found, "active": actives, "wrong": wrong}


def epochs(desk: Desk) -> dict[str, int]:
    """Which worker, counted from 1, made each step that stands."""
    with desk.app.database.read() as connection:
        return {row.step: row.epoch for row in connection.execute(text("SELECT step, epoch FROM run_step"))}


def workers(desk: Desk) -> int:
    """How many workers had the training, one after the other: no step was made more often."""
    with desk.app.database.read() as connection:
        return int(connection.execute(text("SELECT epoch FROM run")).scalar_one())


def step_points(desk: Desk) -> list[str]:
    """Every point of a worker, in the order in which an undisturbed one passes them."""
    with desk.app.database.read() as connection:
        steps = list(connection.execute(text("SELECT step FROM run_step ORDER BY ended_at")).scalars())
    points = [f"{step}:{moment}" for step in steps for moment in ("made", "stored", "recorded")]
    after = points.index("report:recorded") + 1
    return ["started", *points[:after], "evaluated", *points[after:], "result:stored", "finished"]


class Server:
    """A process that makes the newest call of a place; it ends itself at a point, if one is named."""

    def __init__(self, place: Place, point: str = "") -> None:
        tool, asked = list(place.asked.items())[-1]
        command = [sys.executable, __file__, tool, json.dumps(asked), point]
        environment = child_environment(place.settings(WORKERS="0"))
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def go(self) -> None:
        """Let it make the call, once it is ready."""
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        assert self.process.stdout.readline() == "ready\n"
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def killed(self) -> bool:
        """Let it make the call and wait for its end; whether it was the kill."""
        self.go()
        self.process.communicate(timeout=120)
        return self.process.returncode == -signal.SIGKILL

    def passed(self) -> list[str]:
        """Let it make the call undisturbed; the points that it passed."""
        self.go()
        output, _ = self.process.communicate(timeout=120)
        points: list[str] = json.loads(output.splitlines()[-1])
        return points


def _unentered(desk: Desk, place: Place) -> Iterator[str]:
    """States that the log does not explain: each call that was made is answered once, and the training ended once."""
    with desk.app.database.read() as connection:
        bodies = [json.loads(body) for body in connection.execute(text("SELECT body FROM audit_entry")).scalars()]
    first = Counter(one["tool"] for one in bodies if one["code"] == "OK" and one.get("replay_of") is None)
    first["run"] = sum(one["tool"] == "run" and one["code"] == "PASS" for one in bodies)
    for what in (*CALLS, "run"):
        if first[what] != 1:
            yield f"{first[what]} entries of {what} in the log"


def _done(answer: Answer) -> dict[str, Any]:
    assert answer["ok"], answer
    result: dict[str, Any] = answer["result"]
    return result


def _serve(tool: str, asked: str, point: str) -> None:
    app = open_app(process_settings())
    passed, seen, writer = list[str](), Counter[str](), list[int]()

    def reach(name: str) -> None:
        seen[name] += 1
        numbered = name if seen[name] == 1 else f"{name} {seen[name]}"
        passed.append(numbered)
        if numbered == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def milestone(name: str) -> None:
        # Statements count while the call's own transaction is open, on the one thread that has it.
        writer[:] = [threading.get_ident()] if name == f"{tool}:begun" else []
        reach(name)

    def executed(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        found = _WRITES.match(statement)
        if found is not None and writer == [threading.get_ident()]:
            reach(f"{found[1].split()[0].lower()} {found[2]}")

    app.milestone = milestone
    event.listen(Engine, "after_cursor_execute", executed)
    with start_blocking_portal() as portal:
        print("ready", flush=True)
        sys.stdin.readline()
        answer = portal.call(call, app, tool, json.loads(asked), AGENT)
        print(json.dumps(answer), flush=True)
        reach("answered")
    app.close()
    print(json.dumps(passed), flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:4])
