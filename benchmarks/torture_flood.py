"""One caller floods the HTTP door while another works: the first is limited, the second hardly notices.

python benchmarks/torture_flood.py [seconds a phase] [calls a second of the flood]
Goal: with at least 1,000 calls a second from one caller, the other's p99 stays below twice what it is alone.
Phases alternate (alone, flood, alone, flood, ...), because the machine does not stand still either.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import wire
from filled_home import fill

from mcp_forecast.http.token import token_of
from mcp_forecast.http.tokens import add_token
from mcp_forecast.settings import Settings

ROUNDS: Final = 3
CONNECTIONS: Final = 8
BURST, PER_S = Settings.rate_burst, Settings.rate_per_s  # the server's own limits, as they come
NORMAL_PER_S: Final = 18  # within them
SCOPES: Final = ("forecast:read", "forecast:write")


def main(seconds: float, flood_per_s: int) -> int:
    """Run the phases on one server, print the figures; 0 when the goal holds."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        run_id = fill(home, entries=10_000)
        flooding, port = add_token(home, "flood", SCOPES), wire.free_port()
        usual = wire.environment(home, port)
        env = {name: value for name, value in usual.items() if not name.startswith("MCP_FORECAST_RATE_")}
        server = wire.HttpServer(wire.HTTP, env, port, token_of(home)[0])
        try:
            _normal(server, run_id, 3)  # opens the home
            alone: list[float] = []
            beside: list[float] = []
            floods: list[dict[str, Any]] = []
            for _ in range(ROUNDS):
                alone += _normal(server, run_id, seconds)
                flood = _start_flood(port, flooding, run_id, seconds + 1, flood_per_s)
                time.sleep(0.5)
                beside += _normal(server, run_id, seconds)
                floods.append(json.loads(flood.communicate(timeout=60)[0]))
        finally:
            server.close()
    return _report(alone, beside, floods)


def _normal(server: wire.HttpServer, run_id: str, seconds: float) -> list[float]:
    """Normal use: mostly reads, some commands, evenly over the time; seconds of each call."""
    taken: list[float] = []
    begun = time.monotonic()
    for number in range(int(seconds * NORMAL_PER_S)):
        time.sleep(max(0.0, begun + number / NORMAL_PER_S - time.monotonic()))
        if number % 6 == 5:
            taken.append(server.time_call("cancel_run", {"run_id": run_id, "idempotency_key": str(uuid.uuid4())}))
        elif number % 6 == 4:
            taken.append(server.time_call("list_runs", {"limit": 5}))
        else:
            taken.append(server.time_call("get_run_status", {"run_id": run_id}))
    return taken


def _start_flood(port: int, token: str, run_id: str, seconds: float, per_s: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--flood", str(port), token, run_id, str(seconds), str(per_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def flood(port: int, token: str, run_id: str, seconds: float, per_s: int) -> None:
    """Send prebuilt requests over several connections, evenly and without waiting for answers; prints what came."""
    request = _request(port, token, run_id)
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    for one in sockets:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.setblocking(False)
    waiting, came, marks = dict.fromkeys(sockets, b""), Counter[str](), [0]
    begun, made, sent = time.monotonic(), 0, 0
    while (now := time.monotonic() - begun) < seconds:
        if now >= len(marks):
            marks.append(sent)
        due = int(now * per_s)
        for number in range(made, due):
            waiting[sockets[number % CONNECTIONS]] += request
        made = due
        _push(waiting)
        sent = made - sum(len(data) for data in waiting.values()) // len(request)
        _take(sockets, came, wait_s=0)
        time.sleep(0.004)
    end = time.monotonic() + 3
    while came.total() < sent and time.monotonic() < end:
        _push(waiting)
        _take(sockets, came, wait_s=0.1)
    least = min(after - before for before, after in pairwise(marks))
    print(json.dumps({"sent": sent, "seconds": seconds, "least": least, "limited": came["limited"], "ok": came["ok"]}))


def _push(waiting: dict[socket.socket, bytes]) -> None:
    for one, data in waiting.items():
        with suppress(BlockingIOError):
            waiting[one] = data[one.send(data) :] if data else data


def _take(sockets: list[socket.socket], came: Counter[str], *, wait_s: float) -> None:
    for one in select.select(sockets, [], [], wait_s)[0]:
        data = one.recv(1 << 20)
        came["limited"] += data.count(b'"code":"RATE_LIMITED"')
        came["ok"] += data.count(b'"isError":false')


def _request(port: int, token: str, run_id: str) -> bytes:
    params = {"name": "get_run_status", "arguments": {"run_id": run_id}, "_meta": wire.META}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {token}\r\n"
        "content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
        f"mcp-protocol-version: {wire.MODERN}\r\nmcp-method: tools/call\r\nmcp-name: get_run_status\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _report(alone: list[float], beside: list[float], floods: list[dict[str, Any]]) -> int:
    sent, limited, good = (sum(one[name] for one in floods) for name in ("sent", "limited", "ok"))
    seconds = sum(one["seconds"] for one in floods)
    least = min(one["least"] for one in floods)
    print(f"flood: {sent / seconds:,.0f} calls a second, {least:,} in the least one, over {CONNECTIONS} connections; "
          f"{good:,} answered, {limited:,} limited, {sent - limited - good:,} waited in the connections at the end "
          f"({limited / max(1, limited + good):.1%} limited)")  # fmt: skip
    ratios = []
    for percent in (50, 99):
        before, during = (wire.percentile(values, percent) * 1e3 for values in (alone, beside))
        ratios.append(during / before)
        print(f"other caller p{percent}: {before:.2f} ms alone, {during:.2f} ms beside the flood, {ratios[-1]:.2f} x")
    held = (
        ratios[1] < 2 and least >= 1000 and good <= ROUNDS * BURST + PER_S * (seconds + 3 * ROUNDS) and limited > good
    )
    print(f"{len(alone)} + {len(beside)} calls of the other; {'holds' if held else 'DOES NOT HOLD'}")
    return 0 if held else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--flood"]:
        flood(int(sys.argv[2]), sys.argv[3], sys.argv[4], float(sys.argv[5]), int(sys.argv[6]))
        sys.exit(0)
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10, int(sys.argv[2]) if len(sys.argv) > 2 else 1200))
