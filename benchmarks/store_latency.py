"""One command and one read through the whole path of a call, on SQLite and on PostgreSQL 18: p50 and p99 in ms.

    python benchmarks/store_latency.py [--calls 500]

PostgreSQL is the test wheel's on a Unix socket with fsync on; both commit durably. The command registers data that is
there already under a new key, so that what is measured is the path and its commit; the read is list_runs. The last
column is the commands that four processes get done in a second on one home.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from anyio.from_thread import start_blocking_portal
from postgres_server import PostgresServer

from mcp_forecast.app import App, open_app
from mcp_forecast.calls.caller import Caller
from mcp_forecast.calls.pipeline import call
from mcp_forecast.settings import Settings, child_environment, process_settings, read_settings

ME = Caller("bench", frozenset({"forecast:read", "forecast:write"}), "bench")
ROWS = [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d + m)} for m in range(1, 5) for d in range(1, 29)]
PROCESSES = 4


def register(name: str) -> tuple[str, dict[str, Any]]:
    """A command under a key of its own."""
    return "register_dataset", {"rows": ROWS, "freq": "D", "idempotency_key": name}


def timed(app: App, calls: int, made: Callable[[int], tuple[str, dict[str, Any]]]) -> list[float]:
    """Milliseconds of each call, one after the other, sorted."""
    taken = []
    with start_blocking_portal() as portal:
        for number in range(calls):
            tool, arguments = made(number)
            began = time.perf_counter()
            answer = portal.call(call, app, tool, arguments, ME)
            taken.append((time.perf_counter() - began) * 1000)
            assert answer["ok"], answer
    return sorted(taken)


def compete(settings: Settings, calls: int) -> float:
    """Commands a second that PROCESSES processes get done together."""
    command = [sys.executable, __file__, "--as-one-of-many", str(calls)]
    many = [
        subprocess.Popen(command, env=child_environment(settings), stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    spans = [json.loads(one.communicate()[0]) for one in many]
    return PROCESSES * calls / (max(end for _, end in spans) - min(began for began, _ in spans))


def one_of_many(calls: int) -> None:
    """What each of them does; prints when it began and ended."""
    app = open_app(process_settings())
    began = time.time()
    timed(app, calls, lambda number: register(f"{app.process_id}-{number}"))
    print(json.dumps([began, time.time()]))
    app.close()


def measure(name: str, settings: Settings, calls: int) -> None:
    """Print one line of the table."""
    app = open_app(settings)
    timed(app, 30, lambda number: register(f"warm-{number}"))
    commands = timed(app, calls, lambda number: register(f"key-{number}"))
    reads = timed(app, calls, lambda number: ("list_runs", {}))
    app.close()
    figures = [f(taken) for taken in (commands, reads) for f in (statistics.median, lambda t: t[len(t) * 99 // 100])]
    print(f"{name:12}" + "".join(f"{f:14.2f}" for f in figures) + f"{compete(settings, calls // 4):14.0f}", flush=True)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--as-one-of-many", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.as_one_of_many:
        one_of_many(asked.as_one_of_many)
        return 0
    heads = ("command p50", "command p99", "read p50", "read p99", "4 proc. /s")
    print(f"{'database':12}" + "".join(f"{head:>14}" for head in heads))
    server = PostgresServer(durable=True)
    try:
        for name, address in (("sqlite", ""), ("postgresql", server.fresh())):
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                settings = read_settings({"MCP_FORECAST_HOME": folder, "MCP_FORECAST_DATABASE": address}, Path(folder))
                measure(name, replace(settings, rate_per_s=1e6, rate_burst=1e6, workers=0), asked.calls)
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
