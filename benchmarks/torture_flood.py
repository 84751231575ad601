"""One caller floods the HTTP door while another works: the first is limited, the second hardly notices.

python benchmarks/torture_flood.py [rounds] [calls a second of the flood]
Goal: with at least 1,000 calls a second from one caller, the other's p99 stays below twice what it is alone; on /mcp,
and with the flood on /sse. Short phases alternate (alone, beside a flood on each door) and are pooled, so that what
else the machine does strikes all of them alike.
"""

from __future__ import annotations

import json
import os
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

PHASE_S: Final = 3.0
DOORS: Final = ("mcp", "sse")
CONNECTIONS: Final = 8
NORMAL_PER_S: Final = 18  # within the server's own limits, as they come
SCOPES: Final = ("forecast:read", "forecast:write")


def main(rounds: int, flood_per_s: int) -> int:
    """Run the phases on one server, print the figures; 0 when the goal holds."""
    from filled_home import fill

    from mcp_forecast.http.token import token_of
    from mcp_forecast.http.tokens import add_token

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        run_id = fill(home, entries=10_000)
        port = wire.free_port()
        usual = wire.environment(home, port)
        env = {name: value for name, value in usual.items() if not name.startswith("MCP_FORECAST_RATE_")}
        server = wire.HttpServer(wire.HTTP, env, port, token_of(home)[0])
        floods = {door: Flooding(door, port, add_token(home, f"flood-{door}", SCOPES), run_id) for door in DOORS}
        try:
            _normal(server, run_id, PHASE_S)  # opens the home
            alone: list[float] = []
            for _ in range(rounds):
                for flood in floods.values():
                    alone += _normal(server, run_id, PHASE_S)
                    flood.begin(PHASE_S + 0.1, flood_per_s)
                    flood.beside += _normal(server, run_id, PHASE_S)
                    flood.end()
        finally:
            for flood in floods.values():
                flood.close()
            server.close()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    held = [_report(flood, alone) for flood in floods.values()]
    return 0 if all(held) else 1


class Flooding:
    """A process that floods one door whenever it is told to, and the other's calls meanwhile."""

    def __init__(self, door: str, port: int, token: str, run_id: str) -> None:
        command = [sys.executable, __file__, "--flood", door, str(port), token, run_id]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asked, self._told = self._process.stdin, self._process.stdout
        self.door = door
        self.beside: list[float] = []
        self.floods: list[dict[str, Any]] = []

    def begin(self, seconds: float, per_s: int) -> None:
        """Start a flood and return as its first call is sent."""
        print(seconds, per_s, file=self._asked, flush=True)
        assert self._told.readline() == "begun\n"

    def end(self) -> None:
        """Wait for the end of the flood, and keep its figures."""
        self.floods.append(json.loads(self._told.readline()))

    def close(self) -> None:
        """End the process."""
        self._asked.close()
        self._process.wait(timeout=20)


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


def flood_when_asked(door: str, port: int, token: str, run_id: str) -> None:
    """Flood as often as a line with seconds and calls a second comes in; prints what came of each."""
    for line in sys.stdin:
        seconds, per_s = line.split()
        with Senders(door, port, token, run_id) as senders:
            print(json.dumps(_flood(senders, float(seconds), int(per_s))), flush=True)


class Senders:
    """Connections of one caller, with what waits to be sent on them and what came back."""

    def __init__(self, door: str, port: int, token: str, run_id: str) -> None:
        self._port, self._token = port, token
        self.came = Counter[str]()
        self._streams: list[socket.socket] = []
        paths = ["/mcp"] * CONNECTIONS if door == "mcp" else [self._stream() for _ in range(CONNECTIONS)]
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in paths]
        params = {"name": "get_run_status", "arguments": {"run_id": run_id}, "_meta": wire.META}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        self._requests = [self._request(path, call) for path in paths]
        self._waiting = [bytearray() for _ in paths]
        self._next = 0
        for one in self._sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.setblocking(False)

    def __enter__(self) -> Senders:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (*self._sockets, *self._streams):
            one.close()

    def add(self, calls: int) -> None:
        """Put calls behind what waits, over the connections in turn."""
        for _ in range(calls):
            self._waiting[self._next] += self._requests[self._next]
            self._next = (self._next + 1) % CONNECTIONS

    def send(self) -> None:
        """Send what the connections take."""
        for one, data in zip(self._sockets, self._waiting, strict=True):
            with suppress(BlockingIOError):
                while data:
                    del data[: one.send(data[:65_536])]

    def take(self) -> None:
        """Count the answers that are there."""
        for one in select.select([*self._sockets, *self._streams], [], [], 0)[0]:
            data = one.recv(1 << 20)
            self.came["limited"] += data.count(b'"code":"RATE_LIMITED"')
            self.came["ok"] += data.count(b'"isError":false')

    def _stream(self) -> str:
        """Open a stream and its session; the path of its messages."""
        opened = socket.create_connection(("127.0.0.1", self._port))
        opened.sendall(f"GET /sse HTTP/1.1\r\n{self._headers()}\r\n".encode())
        text = b""
        while b"session_id=" not in text or not text.endswith(b"\n"):
            text += opened.recv(4096)
        self._streams.append(opened)
        return text.split(b"data: ")[1].split()[0].decode()

    def _request(self, path: str, message: dict[str, Any]) -> bytes:
        body = json.dumps(message).encode()
        head = (
            f"POST {path} HTTP/1.1\r\n{self._headers()}content-type: application/json\r\n"
            f"accept: application/json, text/event-stream\r\nmcp-protocol-version: {wire.MODERN}\r\n"
            f"mcp-method: tools/call\r\nmcp-name: get_run_status\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _headers(self) -> str:
        return f"host: 127.0.0.1:{self._port}\r\nauthorization: Bearer {self._token}\r\n"


def _flood(senders: Senders, seconds: float, per_s: int) -> dict[str, Any]:
    """Send evenly and without waiting for answers; limited_s: until the first answer that says so."""
    made, limited_s, marks = 0, seconds, [0]
    print("begun", flush=True)
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < seconds:
        if now >= len(marks):
            marks.append(made)
        due = int(now * per_s)
        senders.add(due - made)
        made = due
        senders.send()
        senders.take()
        if senders.came["limited"]:
            limited_s = min(limited_s, now)
        time.sleep(0.004)
    least = min((after - before for before, after in pairwise(marks)), default=0)
    return {"made": made, "seconds": seconds, "least": least, "limited_s": limited_s, **senders.came}


def _report(flood: Flooding, alone: list[float]) -> bool:
    made, limited, good = (sum(one.get(name, 0) for one in flood.floods) for name in ("made", "limited", "ok"))
    seconds = sum(one["seconds"] for one in flood.floods)
    least = min(one["least"] for one in flood.floods)
    first = max(one["limited_s"] for one in flood.floods)
    print(f"flood on /{flood.door}: {made / seconds:,.0f} calls a second, {least:,} in the least one, "
          f"over {CONNECTIONS} connections; limited after at most {first:.2f} s; {good:,} answered, "
          f"{limited:,} limited, {made - limited - good:,} waited at the end")  # fmt: skip
    ratios = []
    for percent in (50, 99):
        before, during = (wire.percentile(values, percent) * 1e3 for values in (alone, flood.beside))
        ratios.append(during / before)
        print(f"  other caller p{percent}: {before:.2f} ms alone, {during:.2f} ms beside the flood, {ratios[-1]:.2f} x")
    held = ratios[1] < 2 and least >= 1000 and limited > 0
    print(f"  {len(alone)} + {len(flood.beside)} calls of the other; {'holds' if held else 'DOES NOT HOLD'}")
    return held


if __name__ == "__main__":
    if sys.argv[1:2] == ["--flood"]:
        flood_when_asked(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
        sys.exit(0)
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8, int(sys.argv[2]) if len(sys.argv) > 2 else 1200))
