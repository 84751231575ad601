"""The real doors before a desk of canned answers; run as a program it serves stdio, so that tests can spawn it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
from mcp.server.lowlevel import Server

from mcp_forecast.calls.caller import Caller
from mcp_forecast.mcp.opening import Desk, Envelope, Opening, Report
from mcp_forecast.mcp.server import build_server
from mcp_forecast.mcp.stdio_door import serve_client

SECRET = "secret detail"


class StandInDesk:
    """Answers tools named after what they do; keeps the calls it saw, and those that were cancelled."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, object, Caller]] = []
        self.cancelled: list[object] = []
        self.closed = False
        self._threads = anyio.CapacityLimiter(100)

    async def call(self, tool: str, arguments: object, caller: Caller, progress: Report | None = None) -> Envelope:
        self.seen.append((tool, arguments, caller))
        if tool == "raise":
            raise RuntimeError(SECRET)
        try:
            return {"ok": tool != "refuse", "result": await self._result(tool, arguments, progress)}
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(tool)
            raise

    async def _result(self, tool: str, arguments: object, progress: Report | None) -> Any:
        if tool == "nan":
            return {"value": float("nan")}
        if tool == "surrogate":
            return {"value": "\ud800"}
        if tool == "big":
            return {"value": "x" * 1_000_000}
        if tool == "wait":
            await anyio.sleep(30)
        if tool == "block":
            await anyio.to_thread.run_sync(_block, limiter=self._threads, abandon_on_cancel=True)
        if tool == "print":
            print("stray")
            os.write(1, b"stray\n")
            subprocess.run(["echo", "stray"], check=True)
        if tool == "progress" and progress is not None:
            for step in (1, 2, 3):
                await progress(step, 3, f"step {step}")
        return {"tool": tool, "arguments": arguments, "progress": progress is not None}

    def close(self) -> None:
        self.closed = True
        print("closed", file=sys.stderr, flush=True)


def unopened(error: Exception) -> Envelope:
    """A typed envelope that never carries the error's text."""
    return {"ok": False, "error": {"code": "INTERNAL", "reason": type(error).__name__}}


def opening_of(desk: StandInDesk) -> Opening:
    return Opening(lambda: Desk(call=desk.call, close=desk.close), unopened)


def caller_of(name: str = "test") -> Callable[[], Caller]:
    return lambda: Caller(id=name, scopes=frozenset({"forecast:read"}), door="test")


def _block() -> None:
    threading.Event().wait(30)


def build() -> tuple[Server[Any], Opening]:
    print("stray, as an import would print it", flush=True)
    opening = opening_of(StandInDesk())
    return build_server(opening, caller_of()), opening


if __name__ == "__main__":
    serve_client(build)
