"""One home behind every door: in this process, over stdio, over HTTP and over SSE, for clients of both eras."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import uvicorn
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from mcp_forecast.calls.caller import Caller
from mcp_forecast.http.server import build_http, listen
from mcp_forecast.http.token import token_of
from mcp_forecast.http.tokens import add_token
from mcp_forecast.mcp.opening import open_home
from mcp_forecast.mcp.server import build_server
from mcp_forecast.settings import PREFIX, Settings, child_environment

SCOPES = ("forecast:read", "forecast:write")
STDIO = ["-c", "from mcp_forecast.cli import main; main(['serve'])"]
DOORS = ("memory", "stdio", "http", "sse")
ERAS = {"modern": "2026-07-28", "legacy": "2025-11-25"}


class DoorHome:
    """A home with its servers; clients are opened once per door and era, and closed at the end."""

    def __init__(self, settings: Settings, portal: BlockingPortal, url: str, stack: ExitStack) -> None:
        self.settings, self.portal, self.url, self._stack = settings, portal, url, stack
        self._clients: dict[tuple[str, str], Client] = {}
        self.callers: dict[tuple[str, str], str] = {}

    def client(self, door: str, era: str) -> Client:
        """The client of this door and era."""
        found = self._clients.get((door, era))
        if found is None:
            made = self._made(door, era)
            found = self._stack.enter_context(self.portal.wrap_async_context_manager(made))
            self._clients[door, era] = found
        return found

    def run(self, work: Any, *arguments: Any, **named: Any) -> Any:
        """Await one of a client's methods on the clients' loop."""
        return self.portal.call(partial(work, *arguments, **named))

    def entries(self, caller: str) -> list[tuple[str, str, str]]:
        """Tool, code and door of this caller's entries in the log."""
        with sqlite3.connect(self.settings.home / "forecast.db") as connection:
            query = "SELECT tool, code, json_extract(CAST(body AS TEXT), '$.door') FROM audit_entry WHERE caller = ?"
            return connection.execute(f"{query} ORDER BY seq", (caller,)).fetchall()

    def await_entry(self, caller: str, *entry: str, times: int = 1) -> None:
        """Wait until the log has this entry; it comes 0.1 s after the answer. Raises AssertionError after 5 s."""
        for _ in range(100):
            if self.entries(caller).count(entry) >= times:
                return
            self.portal.call(anyio.sleep, 0.05)
        raise AssertionError(self.entries(caller))

    def _made(self, door: str, era: str) -> Client:
        mode = "legacy" if era == "legacy" else "auto"
        if door in ("http", "sse"):
            self.callers[door, era] = f"token:{door}-{era}"
            token = add_token(self.settings.home, f"{door}-{era}", SCOPES)
            return self.over(door, token, mode)
        self.callers[door, era] = f"{door}-{era}"
        if door == "stdio":
            env = {**child_environment(self.settings), f"{PREFIX}CALLER": self.callers[door, era]}
            return Client(stdio_client(StdioServerParameters(command=sys.executable, args=STDIO, env=env)), mode=mode)
        caller = Caller(self.callers[door, era], frozenset(SCOPES), "test")
        opening = open_home(self.settings)
        self._stack.callback(opening.close)
        return Client(build_server(opening, lambda: caller), mode=mode)

    def over(self, door: str, token: str, mode: str = "auto") -> Client:
        """A client with this token, not yet connected."""
        headers = {"authorization": f"Bearer {token}"}
        if door == "sse":
            return Client(sse_client(f"{self.url}/sse", headers=headers), mode=mode)
        http = httpx2.AsyncClient(headers=headers, timeout=30)
        return Client(streamable_http_client(f"{self.url}/mcp", http_client=http), mode=mode)


@contextmanager
def door_home(folder: Path, **changed: Any) -> Iterator[DoorHome]:
    """A fresh home that starts no worker, served over HTTP and SSE; the other doors open when they are used."""
    (folder / "data").mkdir()
    settings = Settings(
        home=folder / "home", roots=(folder / "data",), caller="nobody", workers=0, rate_per_s=1e5, rate_burst=1e5,
        http_port=0,
    )  # fmt: skip
    settings = Settings(**{**vars(settings), **changed})
    listener = listen("127.0.0.1", 0)
    token, _ = token_of(settings.home)
    app = build_http(open_home(settings), settings, token)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with start_blocking_portal() as portal, ExitStack() as stack:
            yield DoorHome(settings, portal, f"http://127.0.0.1:{listener.getsockname()[1]}", stack)
    finally:
        server.should_exit = True
        thread.join()
