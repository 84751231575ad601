"""Many callers, few keys: one run per key, every answer typed, and how long the slowest waited.

    python benchmarks/torture_races.py [--database sqlite]

64 threads × 50 keys in one process on its one event loop (a closed loop: every thread always has one call under way),
then 8 processes that start together on one home. Nothing trains here: no worker is started. Exits with 1 unless every
answer was ok, every key has one run, and all who asked under one key were told the same run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from anyio.from_thread import start_blocking_portal
from databases import KINDS, Fresh, fresh_databases
from sqlalchemy import text

from mcp_forecast.app import App, open_app
from mcp_forecast.calls.caller import Caller
from mcp_forecast.calls.pipeline import call
from mcp_forecast.settings import Settings, child_environment, process_settings, read_settings

THREADS, PROCESSES, KEYS = 64, 8, 50
RACER: Final = "racer"  # the word that makes this file one of the processes
ROWS = [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d + 3 * m)} for m in range(1, 13) for d in range(1, 29)]
ME = Caller("racer", frozenset({"forecast:read", "forecast:write"}), "test")


def settings_of(home: Path, address: str) -> Settings:
    """Limits raised, no workers."""
    raised = {
        "MCP_FORECAST_RATE_PER_S": "1e9", "MCP_FORECAST_RATE_BURST": "1e9", "MCP_FORECAST_WORKERS": "0",
        "MCP_FORECAST_RUNS_AT_ONCE": "1000000", "MCP_FORECAST_DATABASE": address,
    }  # fmt: skip
    return read_settings({"MCP_FORECAST_HOME": str(home), **raised}, home)


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


def report(name: str, answers: Sequence[tuple[float, int, str | None]], app: App) -> bool:
    """One row of the table from (seconds, key, run) of each answer; True if each key made one run, told to all."""
    with app.database.read() as connection:
        runs = connection.execute(text("SELECT count(*) FROM run")).scalar_one()
        keys = connection.execute(text("SELECT count(*) FROM idempotency_key WHERE tool = 'run_training'")).scalar_one()
    told = {(key, run) for _, key, run in answers}
    typed = all(run is not None for _, _, run in answers)
    ordered = sorted(seconds for seconds, _, _ in answers)
    p50, p99 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99))
    good = "all" if typed else "NOT ALL"
    print(f"| {name} | {len(ordered)} | {keys} | {runs} | {good} | {p50:.0f} | {p99:.0f} |", flush=True)
    return typed and keys == runs == KEYS == len(told)


def one_process(kind: str, fresh: Fresh) -> bool:
    """64 threads in one process."""
    with tempfile.TemporaryDirectory() as folder, fresh() as address:
        app = open_app(settings_of(Path(folder), address))
        done = race(app, registered(app), THREADS)
        good = report(f"{kind}: {THREADS} threads × {KEYS} keys", [_line(*one) for one in done], app)
        app.close()
    return good


def many_processes(kind: str, fresh: Fresh) -> bool:
    """8 processes that start together."""
    with tempfile.TemporaryDirectory() as folder, fresh() as address:
        settings = settings_of(Path(folder), address)
        app = open_app(settings)
        command = [sys.executable, __file__, RACER, registered(app)]
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
        good = report(f"{kind}: {PROCESSES} processes × {KEYS} keys", lines, app)
        app.close()
    return good and len(lines) == PROCESSES * KEYS


def racer(dataset: str) -> None:
    """What each of the processes does."""
    app = open_app(process_settings())
    print("ready", flush=True)
    sys.stdin.readline()
    for done in race(app, dataset, 1):
        print(json.dumps(_line(*done)))
    app.close()


def _line(seconds: float, answer: dict[str, Any]) -> tuple[float, int, str | None]:
    """Seconds, what was asked for and the run that was told, if any."""
    result = answer.get("result", {})
    return seconds, result.get("request", {}).get("horizon", -1), result.get("run_id")


def main() -> int:
    """Print the table for the databases that were asked for."""
    if sys.argv[1:2] == [RACER]:
        racer(sys.argv[2])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=KINDS, action="append", help="default: both")
    print("| race | calls | keys | runs | typed answers | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|")
    good = True
    for kind in parser.parse_args().database or KINDS:
        with fresh_databases(kind) as fresh:
            good &= one_process(kind, fresh) and many_processes(kind, fresh)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
