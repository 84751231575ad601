"""Raw callers of spawned servers that keep several calls under way: what came back under which id, and how late."""

from __future__ import annotations

import http.client
import itertools
import json
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import wire

LEGACY: Final = "2025-11-25"
LATE_S: Final = 2.0
GIVEN_UP_S: Final = 20.0


@dataclass(frozen=True)
class Asked:
    """One call: a tool and what stands in the place of its arguments."""

    tool: str
    arguments: Any


@dataclass(frozen=True)
class Heard:
    """What came back for a call: every message under its id, and seconds until the first; no message means lost."""

    asked: Asked
    messages: tuple[dict[str, Any], ...]
    seconds: float


class StdioCaller:
    """A server on its stdin and stdout, asked `window` calls ahead of its answers."""

    def __init__(self, env: Mapping[str, str], era: str, window: int = 4) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        self.process = subprocess.Popen(
            wire.STDIO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=dict(env)
        )
        self.strays: list[dict[str, Any]] = []  # answers under no id of ours
        self._era, self._window, self._id = era, threading.Semaphore(window), 0
        self._sent: dict[int, float] = {}
        self._heard: dict[int, list[tuple[float, dict[str, Any]]]] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if era == LEGACY:
            self.ask_raw(_initialize())
            self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def ask_all(self, calls: Sequence[Asked]) -> list[Heard]:
        """Ask all of them and wait for the last answer, or until nothing came for 20 seconds."""
        ids = [self._send("tools/call", {"name": c.tool, "arguments": c.arguments}) for c in calls]
        self._wait(ids)
        return [self._taken(request_id, asked) for request_id, asked in zip(ids, calls, strict=True)]

    def ask_raw(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answer of one request of any method. Raises RuntimeError when none comes."""
        request_id = self._send(message["method"], message["params"])
        self._wait([request_id])
        heard = self._taken(request_id, Asked(message["method"], None))
        if not heard.messages:
            self.log.seek(0)
            raise RuntimeError(self.log.read().decode())
        return heard.messages[0]

    def close(self) -> None:
        """End its input and wait."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self._reader.join()
        self.log.close()

    def _send(self, method: str, params: dict[str, Any]) -> int:
        self._window.acquire(timeout=GIVEN_UP_S)
        self._id += 1
        self._heard[self._id] = []
        self._sent[self._id] = time.perf_counter()
        self._write(request(self._id, method, params, self._era))
        return self._id

    def _write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message, allow_nan=False).encode() + b"\n")
        self.process.stdin.flush()

    def _wait(self, ids: Sequence[int]) -> None:
        end = time.monotonic() + GIVEN_UP_S
        while not all(self._heard[i] for i in ids) and time.monotonic() < end and self._reader.is_alive():
            time.sleep(0.002)

    def _taken(self, request_id: int, asked: Asked) -> Heard:
        came = self._heard[request_id]
        return Heard(
            asked, tuple(message for _, message in came), came[0][0] - self._sent[request_id] if came else float("inf")
        )

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            at, message = time.perf_counter(), json.loads(line)
            if message.get("id") not in self._heard:
                self.strays.append(message)
                continue
            self._heard[message["id"]].append((at, message))
            self._window.release()


class HttpCaller:
    """A server behind kept connections on loopback, one call at a time on each."""

    def __init__(self, env: Mapping[str, str], era: str, port: int, token: str, connections: int = 4) -> None:
        self._door = wire.HttpServer(wire.HTTP, env, port, token)
        self.process, self.strays = self._door.process, list[dict[str, Any]]()
        self._era, self._port, self._token, self._many = era, port, token, connections
        self._session: dict[str, str] = {}
        self._held, self._numbers = threading.local(), itertools.count(1_000_000)
        if era == LEGACY:
            connection = self._connect()
            _, headers = self._post(connection, _initialize() | {"jsonrpc": "2.0", "id": 0})
            self._session = {"mcp-session-id": session} if (session := headers.get("mcp-session-id")) else {}
            self._post(connection, {"jsonrpc": "2.0", "method": "notifications/initialized"})
            connection.close()

    def ask_all(self, calls: Sequence[Asked]) -> list[Heard]:
        """Ask all of them, over all connections."""
        left: queue.SimpleQueue[tuple[int, Asked]] = queue.SimpleQueue()
        heard: dict[int, Heard] = {}
        for number, asked in enumerate(calls):
            left.put((number, asked))

        def work() -> None:
            connection = self._connect()
            while True:
                try:
                    number, asked = left.get_nowait()
                except queue.Empty:
                    break
                heard[number] = self._ask(connection, number + 1, asked)
            connection.close()

        threads = [threading.Thread(target=work) for _ in range(self._many)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [heard[number] for number in range(len(calls))]

    def ask_over_one(self, asked: Asked) -> Heard:
        """Ask one call over a connection that the calling thread keeps."""
        held: http.client.HTTPConnection | None = getattr(self._held, "connection", None)
        if held is None:
            held = self._held.connection = self._connect()
        return self._ask(held, next(self._numbers), asked)

    def ask_raw(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answer of one request of any method."""
        connection = self._connect()
        messages, _ = self._post(connection, request(1, message["method"], message["params"], self._era))
        connection.close()
        return messages[0]

    def close(self) -> None:
        """End the server."""
        self._door.close()

    def _ask(self, connection: http.client.HTTPConnection, request_id: int, asked: Asked) -> Heard:
        began = time.perf_counter()
        message = request(request_id, "tools/call", {"name": asked.tool, "arguments": asked.arguments}, self._era)
        try:
            messages, _ = self._post(connection, message)
        except (OSError, http.client.HTTPException):  # the server is gone, or went within its answer
            connection.close()
            messages = []
        self.strays += [m for m in messages if m.get("id") != request_id]
        return Heard(asked, tuple(m for m in messages if m.get("id") == request_id), time.perf_counter() - began)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=GIVEN_UP_S)

    def _post(
        self, connection: http.client.HTTPConnection, message: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], Mapping[str, str]]:
        method, params = message["method"], message.get("params", {})
        headers = {
            "content-type": "application/json", "accept": "application/json, text/event-stream",
            "authorization": f"Bearer {self._token}", **self._session,
        }  # fmt: skip
        if self._era != LEGACY or method != "initialize":
            headers["mcp-protocol-version"] = self._era
        if self._era != LEGACY:
            headers |= {"mcp-method": method} | ({"mcp-name": params["name"]} if "name" in params else {})
        connection.request("POST", "/mcp", json.dumps(message, allow_nan=False), headers)
        response = connection.getresponse()
        body = response.read()
        return _messages(body), {name.lower(): value for name, value in response.getheaders()}


Caller = StdioCaller | HttpCaller


def open_caller(door: str, era: str, home: Path, more: Mapping[str, str]) -> Caller:
    """A caller of a fresh server by this door ("stdio", "http"), in this era."""
    if door == "stdio":
        return StdioCaller({**wire.environment(home), **more}, era)
    from mcp_forecast.http.token import token_of

    port = wire.free_port()
    return HttpCaller({**wire.environment(home, port), **more}, era, port, token_of(home)[0])


def request(request_id: int, method: str, params: dict[str, Any], era: str) -> dict[str, Any]:
    """A request as a client of this era writes it."""
    meta = {} if era == LEGACY else {"_meta": wire.META}
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {**params, **meta}}


def _initialize() -> dict[str, Any]:
    client = {"name": "bench", "version": "1"}
    return {
        "method": "initialize", "params": {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client},
    }  # fmt: skip


def _messages(body: bytes) -> list[dict[str, Any]]:
    if not body:
        return []
    if body.lstrip().startswith(b"{"):
        return [json.loads(body)]
    lines = body.decode().splitlines()
    return [json.loads(line[5:]) for line in lines if line.startswith("data:") and line[5:].strip()]
