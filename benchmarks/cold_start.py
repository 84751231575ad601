"""How soon a spawned server lists its tools and answers a call, and what memory it holds, beside a bare SDK echo.

python benchmarks/cold_start.py [starts]; starts are interleaved; prints the best and the median, as ratios too.
Goals: tools/list in <= 1.3 x the echo's time and <= 1.25 x its memory; first governed read <= 2 x; memory after the
first inference <= 2.2 x.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psutil
import wire
from filled_home import fill

NOT_MADE = "(no trained run: {})"
FIRST_DAY = date(2024, 1, 1)
Figures = dict[str, float]


def main(starts: int) -> None:
    """Measure interleaved starts and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        run_id = fill(home)
        trained = _trained_run(home)
        kinds: dict[str, Callable[[int], Figures]] = {
            "echo": lambda _: _start_echo(),
            "existing home": lambda _: _start_ours(home, run_id, trained),
            "empty home": lambda number: _start_ours(Path(folder) / f"empty-{number}", None, None),
        }
        rows: dict[str, list[Figures]] = {name: [] for name in kinds}
        for number in range(starts):
            for name, start in kinds.items():
                rows[name].append(start(number))
        _print(rows)


def _start_echo() -> Figures:
    begun = time.perf_counter()
    server = wire.echo("MCPServer echo", {"ok": True})
    try:
        server.request("tools/list", {})
        listed = time.perf_counter()
        figures = {"list ms": (listed - begun) * 1e3, "list MiB": _memory(server)}
        server.time_call("echo", {})
        return {**figures, "first call ms": (time.perf_counter() - begun) * 1e3, "inference MiB": _memory(server)}
    finally:
        server.close()


def _start_ours(home: Path, run_id: str | None, trained: dict[str, Any] | None) -> Figures:
    begun = time.perf_counter()
    server = wire.StdioServer(wire.STDIO, wire.environment(home))
    try:
        server.request("tools/list", {})
        listed = time.perf_counter()
        figures = {"list ms": (listed - begun) * 1e3, "list MiB": _memory(server)}
        if run_id is None:
            server.time_call("get_service_status", {})
        else:
            server.time_call("get_run_status", {"run_id": run_id})
        figures["first call ms"] = (time.perf_counter() - begun) * 1e3
        figures["first call MiB"] = _memory(server)
        if trained is not None:
            server.time_call("run_inference", {**trained, "idempotency_key": f"bench-{time.time_ns()}"})
            figures["inference MiB"] = _memory(server)
        return figures
    finally:
        server.close()


def _trained_run(home: Path) -> dict[str, Any] | None:
    """Train on a small series through the server itself; the arguments of an inference, None when it did not work."""
    rows = [
        {"ds": str(FIRST_DAY + timedelta(n)), "y": 10 + 3 * math.sin(n * math.tau / 7) + n / 50} for n in range(400)
    ]
    server = wire.StdioServer(wire.STDIO, wire.environment(home))

    def call(tool: str, **arguments: Any) -> dict[str, Any]:
        envelope = server.request("tools/call", {"name": tool, "arguments": arguments})["structuredContent"]
        if not envelope["ok"]:
            raise RuntimeError(str(envelope["error"]))
        result: dict[str, Any] = envelope["result"]
        return result

    try:
        registered = call("register_dataset", name="bench", rows=rows, idempotency_key="bench-data")
        run = call("run_training", dataset_id=registered["dataset_id"], horizon=7, idempotency_key="bench-train")
        while run["state"] in ("QUEUED", "RUNNING", "EVAL_READY"):
            run = call("get_run_status", run_id=run["run_id"], wait_s=25)
        if run["state"] not in ("SUCCEEDED", "PASS", "FAIL"):
            raise RuntimeError(str(run.get("error")))
        return {"run_id": run["run_id"]}
    except RuntimeError as error:
        print(NOT_MADE.format(str(error)[:500]))
        return None
    finally:
        server.close()


def _memory(server: wire.StdioServer) -> float:
    return float(psutil.Process(server.process.pid).memory_info().rss) / 2**20


def _print(rows: dict[str, list[Figures]]) -> None:
    echo = {key: [row[key] for row in rows["echo"]] for key in rows["echo"][0]}
    echo["first call MiB"] = echo["list MiB"]
    print(f"{'':16}{'':16}{'best':>9}{'median':>9}{'x echo best':>13}{'x median':>10}")
    for name, made in rows.items():
        for key in made[0]:
            values, other = [row[key] for row in made], echo[key]
            best, median = min(values), wire.percentile(values, 50)
            ratios = f"{best / min(other):13.2f}{median / wire.percentile(other, 50):10.2f}"
            print(f"{name:16}{key:16}{best:9.1f}{median:9.1f}{ratios}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 13)
