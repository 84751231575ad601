"""The HTTP door as a client meets it: real uvicorn on loopback, the token, both eras, and what the SDK refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import uvicorn
from door_stand_in import SECRET, StandInDesk, opening_of
from door_wire import META, MODERN
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from mcp_forecast.calls.caller import Caller
from mcp_forecast.http.callers import Callers
from mcp_forecast.http.server import build_http, listen, serve_http
from mcp_forecast.http.token import TokenUnsafe, token_of
from mcp_forecast.settings import Settings

TOKEN = "t" * 43
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
SERVE = """
import sys
from mcp_forecast.calls.caller import Caller
from mcp_forecast.http.server import serve_http
from mcp_forecast.settings import process_settings
sys.exit(serve_http(process_settings()))
"""
WRONG = (None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN, "Bearer \xe9")
BIG = b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":"' + b"y" * 5_000_000 + b'"}}'


@dataclass(frozen=True)
class Served:
    url: str
    desk: StandInDesk

    def connect(self, mode: str, token: str = TOKEN) -> AbstractAsyncContextManager[Client]:
        http = httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=10)
        return Client(streamable_http_client(f"{self.url}/mcp", http_client=http), mode=mode)

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> httpx2.Response:
        usual = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json",
                 "accept": "application/json, text/event-stream"}  # fmt: skip
        return httpx2.post(f"{self.url}/mcp", content=body, headers={**usual, **(headers or {})}, timeout=10)


@contextmanager
def serving(desk: StandInDesk) -> Iterator[Served]:
    settings = Settings(scopes=("forecast:read",))
    listener = listen("127.0.0.1", 0)
    app = build_http(opening_of(desk), settings, TOKEN)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", desk)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(StandInDesk()) as door:
        yield door


@ERAS
def test_a_client_with_the_token_calls_as_that_token(served: Served, mode: str) -> None:
    async def story() -> Any:
        async with served.connect(mode) as client:
            await client.list_tools()
            return await client.call_tool("anything", {"a": 1})

    answer = anyio.run(story)
    ((tool, arguments, caller),) = served.desk.seen
    assert (tool, arguments, answer.is_error) == ("anything", {"a": 1}, False)
    assert caller == Caller("token:local", frozenset({"forecast:read"}), "http")


@ERAS
def test_progress_and_faults_reach_a_client_over_http(served: Served, mode: str) -> None:
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async def story() -> str:
        async with served.connect(mode) as client:
            await client.call_tool("progress", {}, progress_callback=hear)
            return (await client.call_tool("raise", {})).model_dump_json()

    fault = anyio.run(story)
    assert heard == [1, 2, 3]
    assert "INTERNAL" in fault
    assert SECRET not in fault


@ERAS
def test_a_client_that_gives_up_cancels_the_call_over_http(served: Served, mode: str) -> None:
    async def story() -> None:
        async with served.connect(mode) as client:
            with anyio.move_on_after(0.3):
                await client.call_tool("wait", {})
            with anyio.fail_after(5):
                while not served.desk.cancelled:
                    await anyio.sleep(0)

    anyio.run(story)


@pytest.mark.parametrize("header", WRONG)
def test_without_the_token_there_is_no_door(served: Served, header: str | None) -> None:
    headers = {} if header is None else {b"authorization": header.encode("latin-1")}
    answer = httpx2.post(f"{served.url}/mcp", json={}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert served.desk.seen == []


def test_health_needs_no_token_and_tells_no_secret(served: Served) -> None:
    answer = httpx2.get(f"{served.url}/healthz")
    assert answer.status_code == 200
    assert answer.json().keys() == {"ok", "version"}


@pytest.mark.parametrize("params", [{"name": "x", "arguments": [1]}, {"name": "x", "arguments": 5}])
def test_a_malformed_call_gets_an_envelope_over_http(served: Served, params: dict[str, object]) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {**params, "_meta": META}}
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "x"}
    answer = served.post(json.dumps(request).encode(), headers)
    result = answer.json()["result"]
    assert (result["resultType"], result["isError"]) == ("complete", False)
    assert served.desk.seen[0][:2] == ("x", params["arguments"])


def test_what_is_no_message_is_refused_by_status(served: Served) -> None:
    assert served.post(b"garbage").status_code == 400
    assert served.post(b"[" * 250).status_code == 400
    assert served.post(BIG).status_code == 413
    assert served.post(b"{}", {"host": "evil.example"}).status_code == 421
    assert served.post(b"{}", {"origin": "https://evil.example"}).status_code == 403


def test_the_desk_is_closed_when_the_server_ends() -> None:
    desk = StandInDesk()
    with serving(desk) as door:
        httpx2.get(f"{door.url}/healthz")
    assert desk.closed


def test_the_first_start_makes_a_token_that_only_its_owner_can_read(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    first, made = token_of(home)
    assert (made, len(first) >= 43) == (True, True)
    assert (home / "token").stat().st_mode & 0o777 == 0o600
    assert token_of(home) == (first, False)
    assert [file.name for file in home.iterdir()] == ["token"]
    assert token_of(tmp_path / "other")[0] != first


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    token_of(tmp_path)
    (tmp_path / "token").chmod(mode)
    with pytest.raises(TokenUnsafe, match="chmod 600"):
        token_of(tmp_path)
    assert serve_http(Settings(home=tmp_path)) == 2


@pytest.mark.parametrize("text", ["", "short", "x" * 20 + " " + "x" * 20])
def test_a_token_file_without_a_token_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    (tmp_path / "token").chmod(0o600)
    with pytest.raises(TokenUnsafe, match="holds no token"):
        token_of(tmp_path)


def test_servers_that_start_together_agree_on_one_token(tmp_path: Path) -> None:
    found: list[tuple[str, bool]] = []
    threads = [threading.Thread(target=lambda: found.append(token_of(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({token for token, _ in found}) == 1
    assert [made for _, made in found].count(True) == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "example.com", "::"])
def test_an_address_that_others_can_reach_is_refused(
    tmp_path: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve_http(replace(Settings(home=tmp_path), http_host=host)) == 2
    assert "127.0.0.1" in capsys.readouterr().err
    assert not (tmp_path / "token").exists()


def test_a_port_in_use_is_said_plainly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert serve_http(Settings(home=tmp_path, http_port=taken.getsockname()[1])) == 2
    assert "in use" in capsys.readouterr().err


def test_answers_are_not_held_back_by_the_network_stack() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # asyncio's condition for TCP_NODELAY


def test_only_the_token_itself_is_known(tmp_path: Path) -> None:
    known = Callers(tmp_path, TOKEN, ("forecast:read",))
    assert anyio.run(known.verify_token, TOKEN) is not None
    assert [anyio.run(known.verify_token, wrong) for wrong in ("", "t", TOKEN + "t", "é")] == [None] * 4
    assert TOKEN not in repr(vars(known))


def test_a_server_says_its_token_once_and_ends_on_a_signal(tmp_path: Path) -> None:
    env = {**os.environ, "MCP_FORECAST_HOME": str(tmp_path), "MCP_FORECAST_HTTP_PORT": "0"}
    for start, says_token in ((1, True), (2, False)):
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE], env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stderr is not None
        said = ""
        while "serving " not in said:
            said += process.stderr.readline().decode()
            assert process.poll() is None, (start, said)
        assert ("token (shown once" in said) is says_token
        url = re.search(r"http://\S+", said)
        assert url is not None
        assert httpx2.get(url[0].replace("/mcp", "/healthz")).json()["ok"] is True
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=5)
        assert out == b""
