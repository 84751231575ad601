"""Many callers, few keys: one run per key, every answer typed, and how long the slowest waited.

    python benchmarks/torture_races.py

64 threads × 50 keys in one process on its one event loop (a closed loop: every thread always has one call under way),
then 4 processes that start together on one home. Nothing trains here: no worker is started.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal
from sqlalchemy import text

from mcp_forecast.app import App, open_app
from mcp_forecast.caller import Caller
from mcp_forecast.pipeline import call
from mcp_forecast.settings import Settings, child_environment, process_settings, read_settings

THREADS, PROCESSES, KEYS = 64, 4, 50
ROWS = [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d + 3 * m)} for m in range(1, 13) for d in range(1, 29)]
ME = Caller("racer", frozenset({"forecast:read", "forecast:write"}), "test")


def settings_of(home: Path) -> Settings:
    """Limits raised, no workers."""
    raised = {"MCP_FORECAST_RATE_PER_S": "1e9", "MCP_FORECAST_RATE_BURST": "1e9", "MCP_FORECAST_WORKERS": "0"}
    return replace(read_settings({"MCP_FORECAST_HOME": str(home), **raised}, home))


def race(app: App, dataset: str, threads: int) -> list[tuple[float, dict[str, Any]]]:
    """Every thread asks for every key, one after the other; seconds and answer of each call."""
    done: list[tuple[float, dict[str, Any]]] = []
    with start_blocking_portal() as portal:

        def ask() -> None:
            for key in range(KEYS):
                request = {"dataset_id": dataset, "horizon": 2 + key, "idempotency_key": f"k{key}"}
                began = time.perf_counter()
                answer = portal.call(call, app, "run_training", request, ME)
                done.append((time.perf_counter() - began, answer))

        workers = [threading.Thread(target=ask) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return done


def registered(app: App) -> str:
    """A dataset to train on."""
    with start_blocking_portal() as portal:
        answer = portal.call(call, app, "register_dataset", {"rows": ROWS, "freq": "D"}, ME)
    return str(answer["result"]["dataset_id"])


def report(name: str, seconds: Sequence[float], typed: bool, app: App) -> None:
    """One row of the table."""
    with app.database.read() as connection:
        runs = connection.execute(text("SELECT count(*) FROM run")).scalar_one()
        keys = connection.execute(text("SELECT count(*) FROM idempotency_key WHERE tool = 'run_training'")).scalar_one()
    ordered = sorted(seconds)
    p50, p99 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99))
    print(f"| {name} | {len(ordered)} | {keys} | {runs} | {'all' if typed else 'NOT ALL'} | {p50:.0f} | {p99:.0f} |")


def one_process() -> None:
    """64 threads in one process."""
    with tempfile.TemporaryDirectory() as folder:
        app = open_app(settings_of(Path(folder)))
        done = race(app, registered(app), THREADS)
        report(f"{THREADS} threads × {KEYS} keys", [s for s, _ in done], all(a["ok"] for _, a in done), app)
        app.close()


def many_processes() -> None:
    """4 processes that start together."""
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(Path(folder))
        app = open_app(settings)
        command = [sys.executable, __file__, registered(app)]
        racers = [
            subprocess.Popen(
                command, env=child_environment(settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(PROCESSES)
        ]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        lines = [json.loads(line) for racer in racers for line in racer.communicate(timeout=300)[0].splitlines()]
        report(f"{PROCESSES} processes × {KEYS} keys", [s for s, _ in lines], all(ok for _, ok in lines), app)
        app.close()


def racer(dataset: str) -> None:
    """What each of the processes does."""
    app = open_app(process_settings())
    print("ready", flush=True)
    sys.stdin.readline()
    for seconds, answer in race(app, dataset, 1):
        print(json.dumps([seconds, answer["ok"]]))
    app.close()


def main() -> None:
    """Print the table."""
    if len(sys.argv) > 1:
        racer(sys.argv[1])
        return
    print("| race | calls | keys | runs | typed answers | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|")
    one_process()
    many_processes()


if __name__ == "__main__":
    main()
