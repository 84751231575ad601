"""What a governed call costs beside an echo of the same bytes, one call to each server in turn.

python benchmarks/call_overhead.py [calls per server and door]
Goals: read p50 <= 1.25 x and command p50 <= 2 x the MCPServer echo; p99 of reads <= 25 ms.
"""

from __future__ import annotations

import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import wire
from filled_home import fill

from mcp_forecast.http.token import token_of

WARM = 50


def main(calls: int) -> None:
    """Fill a home and print the table of both doors."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        run_id = fill(home)
        for door in ("stdio", "http"):
            print(f"\n{door}: {calls} calls a server, one to each in turn")
            _measure(door, home, run_id, calls)


def _measure(door: str, home: Path, run_id: str, calls: int) -> None:
    ours = _ours(door, home)
    answer = ours.request("tools/call", {"name": "get_run_status", "arguments": {"run_id": run_id}})
    same: dict[str, Any] = answer["structuredContent"]
    spawn = wire.echo if door == "stdio" else wire.echo_http
    echoes: dict[str, wire.Server] = {name: spawn(name, same) for name in wire.ECHOES}
    taken: dict[str, list[float]] = {name: [] for name in (*echoes, "read", "command")}
    try:
        for number in range(calls + WARM):
            row = {name: server.time_call("echo", {"run_id": run_id}) for name, server in echoes.items()}
            row["read"] = ours.time_call("get_run_status", {"run_id": run_id})
            row["command"] = ours.time_call("cancel_run", {"run_id": run_id, "idempotency_key": str(uuid.uuid4())})
            if number >= WARM:
                for name, seconds in row.items():
                    taken[name].append(seconds)
    finally:
        for server in (ours, *echoes.values()):
            server.close()
    _print(taken)


def _ours(door: str, home: Path) -> wire.Server:
    if door == "stdio":
        return wire.StdioServer(wire.STDIO, wire.environment(home))
    port = wire.free_port()
    return wire.HttpServer(wire.HTTP, wire.environment(home, port), port, token_of(home)[0])


def _print(taken: dict[str, list[float]]) -> None:
    usual, floor = (wire.percentile(taken[name], 50) for name in wire.ECHOES)
    print(f"{'':18}{'p50 ms':>9}{'p99 ms':>9}{'x MCPServer':>13}{'x low-level':>13}")
    for name, values in taken.items():
        p50, p99 = (wire.percentile(values, percent) for percent in (50, 99))
        print(f"{name:18}{p50 * 1e3:9.2f}{p99 * 1e3:9.2f}{p50 / usual:13.2f}{p50 / floor:13.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
