"""A raw JSON-RPC client of a spawned stdio server: sends bytes, reads lines, keeps every one of them."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}
STAND_IN = [sys.executable, str(Path(__file__).parent / "door_stand_in.py")]


class WireClient:
    """One spawned server. Use as a context manager; it is killed at the end if it still runs."""

    def __init__(self, command: list[str], env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, env=env
        )
        self.lines: list[bytes] = []
        self._held = b""
        self._next_id = 0

    def __enter__(self) -> WireClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")

    def send_request(self, method: str, params: dict[str, Any] | None = None, *, modern: bool = True) -> int:
        """Send without waiting; returns the request's id."""
        self._next_id += 1
        meta = {"_meta": {**META, **(params or {}).get("_meta", {})}} if modern else {}
        request = {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": {**(params or {}), **meta}}
        self.send(json.dumps(request).encode())
        return self._next_id

    def read(self, timeout_s: float = 10) -> dict[str, Any]:
        """The next message. Raises TimeoutError when none comes, EOFError when the server is gone."""
        assert self.process.stdout is not None
        end = time.monotonic() + timeout_s
        while b"\n" not in self._held:
            if not select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError
            chunk = os.read(self.process.stdout.fileno(), 1 << 20)
            if not chunk:
                raise EOFError
            self._held += chunk
        line, self._held = self._held.split(b"\n", 1)
        self.lines.append(line)
        message: dict[str, Any] = json.loads(line)
        return message

    def answer(self, request_id: int, timeout_s: float = 10) -> dict[str, Any]:
        """The answer under this id; messages before it are kept in `lines` only."""
        while True:
            message = self.read(timeout_s)
            if message.get("id") == request_id and "method" not in message:
                return message

    def request(self, method: str, params: dict[str, Any] | None = None, *, modern: bool = True) -> dict[str, Any]:
        return self.answer(self.send_request(method, params, modern=modern))

    def call(self, tool: str, arguments: object = None, *, modern: bool = True) -> dict[str, Any]:
        """The result of a tool call."""
        result: dict[str, Any] = self.request(
            "tools/call", {"name": tool, "arguments": arguments or {}}, modern=modern
        )["result"]
        return result

    def initialize(self) -> dict[str, Any]:
        """Open the older era."""
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        result: dict[str, Any] = self.request("initialize", params, modern=False)["result"]
        self.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        return result

    def end_input(self) -> float:
        """Close the server's input and wait for its end; returns the seconds that took."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        begun = time.monotonic()
        self.process.wait(timeout=10)
        return time.monotonic() - begun
