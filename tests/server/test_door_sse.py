"""The SSE door: behind the same token and host checks, bounded, and a client that goes ends its calls."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import anyio
import httpx2
import pytest
from door_stand_in import StandInDesk
from mcp.client import Client
from mcp.client.sse import sse_client
from test_door_http import TOKEN, Served, serving

from mcp_forecast.http import sse

AUTH = {"authorization": f"Bearer {TOKEN}"}
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(StandInDesk()) as door:
        yield door


@ERAS
def test_calls_over_sse_come_from_the_token_and_name_their_door(served: Served, mode: str) -> None:
    async def story() -> None:
        async with Client(sse_client(f"{served.url}/sse", headers=AUTH), mode=mode) as client:
            await client.call_tool("anything", {"a": 1})

    anyio.run(story)
    ((tool, arguments, caller),) = served.desk.seen
    assert (tool, arguments, caller.id, caller.door) == ("anything", {"a": 1}, "token:local", "sse")


@ERAS
def test_a_client_that_goes_away_ends_its_calls(served: Served, mode: str) -> None:
    async def story() -> None:
        async with (
            Client(sse_client(f"{served.url}/sse", headers=AUTH), mode=mode) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(client.call_tool, "wait", {})
            while not served.desk.seen:
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            while not served.desk.cancelled:
                await anyio.sleep(0.01)

    anyio.run(story)


def test_a_cut_connection_ends_its_calls(served: Served) -> None:
    with stream(served) as opened:
        path = endpoint(opened)
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "wait", "arguments": {}}}
        for body in (INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"}, call):
            assert httpx2.post(f"{served.url}{path}", json=body, headers=AUTH).status_code == 202
        anyio.run(until, served, "seen")
    anyio.run(until, served, "cancelled")
    assert httpx2.post(f"{served.url}{path}", json=INITIALIZE, headers=AUTH).status_code == 404


def test_without_the_token_there_is_no_stream_and_no_message(served: Served) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}):
        assert httpx2.get(f"{served.url}/sse", headers=headers).status_code == 401
        answer = httpx2.post(f"{served.url}/messages/?session_id={'0' * 32}", json=INITIALIZE, headers=headers)
        assert answer.status_code == 401


def test_a_foreign_host_or_page_is_refused(served: Served) -> None:
    assert httpx2.get(f"{served.url}/sse", headers={**AUTH, "host": "evil.example"}).status_code == 421
    assert httpx2.get(f"{served.url}/sse", headers={**AUTH, "origin": "https://evil.example"}).status_code == 403


def test_what_is_no_stream_or_no_message_is_refused_by_status(served: Served) -> None:
    assert httpx2.post(f"{served.url}/sse", headers=AUTH).status_code == 405
    assert httpx2.post(f"{served.url}/messages/", json={}, headers=AUTH).status_code == 400
    assert httpx2.get(f"{served.url}/messages/", headers=AUTH).status_code == 405
    with stream(served) as opened:
        path = endpoint(opened)
        assert httpx2.post(f"{served.url}{path}", content=b"garbage", headers=AUTH).status_code == 400
        assert httpx2.post(f"{served.url}{path}", content=b"x" * 5_000_000, headers=AUTH).status_code == 413


def test_a_caller_may_hold_so_many_streams_and_no_more(served: Served) -> None:
    with ExitStack() as stack:
        for _ in range(sse.MOST_PER_CALLER):
            endpoint(stack.enter_context(stream(served)))
        refused = httpx2.get(f"{served.url}/sse", headers=AUTH)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    anyio.run(opened_again, served)


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}


def stream(served: Served) -> socket.socket:
    """A raw stream, so that it can be cut like a cable."""
    host, port = served.url.removeprefix("http://").split(":")
    opened = socket.create_connection((host, int(port)), timeout=10)
    opened.sendall(f"GET /sse HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode())
    return opened


def endpoint(opened: socket.socket) -> str:
    """Where the stream wants its messages."""
    text = b""
    while b"session_id=" not in text or not text.endswith(b"\n"):
        text += opened.recv(4096)
    path = text.split(b"data: ")[1].split()[0].decode()
    assert path.startswith("/messages/?session_id=")
    return path


async def until(served: Served, what: str) -> None:
    with anyio.fail_after(5):
        while not getattr(served.desk, what):
            await anyio.sleep(0.01)


async def opened_again(served: Served) -> None:
    """Streams that were closed leave room: the server notices within a moment."""
    with anyio.fail_after(5):
        async with httpx2.AsyncClient(headers=AUTH) as client:
            while True:
                async with client.stream("GET", f"{served.url}/sse") as answer:
                    if answer.status_code == 200:
                        return
                await anyio.sleep(0.01)
