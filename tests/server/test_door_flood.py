"""A limited caller is answered by the one path, and what it sends too fast waits for its turn on either door."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from door_home import DoorHome, door_home
from door_wire import META, MODERN
from hypothesis import given
from hypothesis import strategies as st
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from mcp_forecast.calls.limits import Limits
from mcp_forecast.errors import Refusal
from mcp_forecast.http.callers import LOCAL, Callers
from mcp_forecast.http.flood import GAP_S, LONGEST_S, FloodGuard, Pace
from mcp_forecast.http.tokens import add_token

BURST = 3
ARRIVALS = st.lists(st.tuples(st.floats(min_value=0, max_value=3), st.integers(1, 150)), min_size=1, max_size=8)
MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoorHome]:
    with door_home(tmp_path_factory.mktemp("flood"), rate_per_s=0.001, rate_burst=BURST) as opened:
        yield opened


@MODES
@pytest.mark.parametrize("door", ["http", "sse"])
def test_a_limited_caller_gets_the_typed_answer_and_every_call_is_on_record(
    home: DoorHome, door: str, mode: str
) -> None:
    name = f"{door}-{mode}-flood"
    token = add_token(home.settings.home, name, ("forecast:read",))

    async def story() -> list[Any]:
        async with home.over(door, token, mode) as client:
            return [await client.call_tool("get_service_status", {}) for _ in range(BURST + 4)]

    answers = [answer.structured_content for answer in home.run(story)]
    assert [answer["ok"] for answer in answers] == [True] * BURST + [False] * 4
    error = answers[-1]["error"]
    assert (error["code"], error["disposition"], error["retry_after_s"] > 0) == ("RATE_LIMITED", "retryable", True)
    assert len({answer["request_id"] for answer in answers}) == BURST + 4
    home.await_entry(f"token:{name}", "get_service_status", "RATE_LIMITED", door, times=4)
    assert [code for _, code, _ in home.entries(f"token:{name}")] == ["OK"] * BURST + ["RATE_LIMITED"] * 4


def test_one_callers_flood_leaves_the_other_its_calls(home: DoorHome) -> None:
    spent = limited(home, "spent")
    other = add_token(home.settings.home, "other", ("forecast:read",))
    assert post(home, spent, call("get_service_status")).json()["result"]["isError"] is True
    assert post(home, other, call("get_service_status")).json()["result"]["isError"] is False


@pytest.mark.parametrize("arguments", [[1], 5, None, {"run_id": "x" * 300_000}])
def test_any_tool_call_of_a_limited_caller_is_limited(home: DoorHome, arguments: object) -> None:
    token = limited(home, f"any-{type(arguments).__name__}")
    result = post(home, token, call("get_run_status", arguments)).json()["result"]
    assert result["structuredContent"]["error"]["code"] == "RATE_LIMITED"
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]


REJECTED = [
    ({"host": "evil.example"}, 421),
    ({"origin": "https://evil.example"}, 403),
    ({"mcp-protocol-version": "2025-11-25", "mcp-session-id": "0" * 32}, 404),
    ({"accept": "text/plain"}, 406),
    ({"mcp-name": "another"}, 400),
]


@pytest.mark.parametrize(("headers", "status"), REJECTED)
def test_a_limited_caller_is_rejected_by_the_transport_as_any_other(
    home: DoorHome, headers: dict[str, str], status: int
) -> None:
    token = limited(home, f"rejected-{status}")
    assert post(home, token, call("get_service_status")).json()["result"]["isError"] is True
    assert post(home, token, call("get_service_status"), **headers).status_code == status


def test_what_is_no_tool_call_is_served_to_a_limited_caller(home: DoorHome) -> None:
    token = limited(home, "passes")
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}}
    assert post(home, token, json.dumps(listing).encode(), method="tools/list").json()["result"]["tools"]
    for body in (b"garbage", b"[]", b'{"jsonrpc":"1.0","id":1,"method":"tools/call"}'):
        assert post(home, token, body).status_code == 400
    assert post(home, token, b"x" * 5_000_000).status_code == 413


def test_a_limited_caller_reads_no_resource_but_contracts(home: DoorHome) -> None:
    token = limited(home, "reads")

    async def story() -> Any:
        async with home.over("http", token) as client:
            await client.read_resource("forecast://contracts/errors")
            with pytest.raises(MCPError) as caught:
                await client.list_resources()
            return caught.value.error

    error = home.run(story)
    assert (error.code, error.data["code"]) == (-32010, "RATE_LIMITED")
    assert error.data["retry_after_s"] > 0


def limited(home: DoorHome, name: str) -> str:
    """The token of a caller that has used its calls up."""
    token = add_token(home.settings.home, name.lower(), ("forecast:read",))
    for _ in range(BURST):
        assert post(home, token, call("get_service_status")).json()["result"]["isError"] is False
    return token


def call(tool: str, arguments: object = None) -> bytes:
    params = {"name": tool, "arguments": arguments, "_meta": META}
    if arguments is None:
        del params["arguments"]
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).encode()


def headers_of(token: str, method: str) -> dict[str, str]:
    return {
        "authorization": f"Bearer {token}", "content-type": "application/json",
        "accept": "application/json, text/event-stream", "mcp-protocol-version": MODERN, "mcp-method": method,
    }  # fmt: skip


def post(home: DoorHome, token: str, body: bytes, method: str = "tools/call", **changed: str) -> httpx2.Response:
    headers = headers_of(token, method)
    if method == "tools/call" and body.startswith(b'{"jsonrpc": "2.0"'):
        headers["mcp-name"] = json.loads(body)["params"]["name"]
    return httpx2.post(f"{home.url}/mcp", content=body, headers={**headers, **changed}, timeout=10)


def test_blanks_around_a_header_are_no_part_of_it(home: DoorHome) -> None:
    token = add_token(home.settings.home, "blanks", ("forecast:read",))
    connection = http.client.HTTPConnection(home.url.removeprefix("http://"), timeout=10)
    headers = {**headers_of(token, "tools/call"), "mcp-name": "  get_service_status \t"}
    connection.request("POST", "/mcp", call("get_service_status"), headers)
    assert connection.getresponse().status == 200
    connection.close()


class Clock:
    """A monotonic clock that stands until it is set forward."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(ARRIVALS)
def test_messages_begin_in_order_and_no_faster_than_the_pace_after_a_burst(arrivals: list[tuple[float, int]]) -> None:
    clock = Clock()
    pace, starts = Pace(rate_per_s=20, burst=100, monotonic=clock), []
    for gap, messages in arrivals:
        clock.now += gap
        waits = [pace.wait_s("a") for _ in range(messages)]
        starts += [clock.now + wait for wait in waits if wait <= LONGEST_S]
    for earlier, later in pairwise(starts):
        assert later - earlier >= GAP_S - 1e-9
    for earlier, later in zip(starts, starts[100:], strict=False):
        assert later - earlier >= 0.01 - 1e-9


@given(ARRIVALS, st.sampled_from([(20, 100), (0.001, 1), (5, 300), (1000, 2)]))
def test_calls_within_the_limit_wait_only_for_the_gap_between_them(
    arrivals: list[tuple[float, int]], limit: tuple[float, float]
) -> None:
    clock, (rate_per_s, burst), begun = Clock(), limit, -1.0
    limits = Limits(rate_per_s=rate_per_s, burst=burst, monotonic=clock)
    pace = Pace(rate_per_s=rate_per_s, burst=burst, monotonic=clock)
    for gap, calls in arrivals:
        clock.now += gap
        for _ in range(calls):
            with suppress(Refusal):
                limits.take("a")
                begins = clock.now + pace.wait_s("a")
                assert begins <= max(clock.now, begun + GAP_S) + 1e-9
                begun = begins


def test_what_comes_at_once_stays_spaced_and_leaves_the_other_its_turn() -> None:
    clock = Clock()
    pace = Pace(rate_per_s=20, burst=100, monotonic=clock)
    waits = [pace.wait_s("flood") for _ in range(5_000)]
    waiting = [wait for wait in waits if wait <= LONGEST_S]
    assert waiting[:100] == pytest.approx([GAP_S * number for number in range(100)])
    assert waiting[-100:] == pytest.approx([waiting[-1] - 0.01 * number for number in range(99, -1, -1)])
    assert max(waiting) > LONGEST_S - 0.02
    assert pace.wait_s("other") == 0.0
    clock.now += 0.02
    assert pace.wait_s("flood") <= LONGEST_S  # those turned away took no turn


@pytest.mark.parametrize(("path", "spaced"), [("/mcp", True), ("/messages/", True), ("/healthz", False)])
def test_more_than_may_wait_is_turned_away_before_anything_works_for_it(
    tmp_path: Path, path: str, spaced: bool
) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await PlainTextResponse("ok")(scope, receive, send)

    async def story() -> tuple[httpx2.Response, httpx2.Response]:
        transport = httpx2.ASGITransport(FloodGuard(app, Callers(tmp_path, "own" * 20, ()), pace))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            first = await client.post(path, headers={"authorization": "Bearer " + "own" * 20})
            return first, await client.post(path, headers={"authorization": "Bearer wrong"})

    pace = Pace(rate_per_s=20, burst=100, monotonic=Clock())
    while pace.wait_s(LOCAL) <= LONGEST_S:
        pass
    mine, wrong = anyio.run(story)
    assert mine.status_code == (429 if spaced else 200)
    assert not spaced or mine.headers["retry-after"] == "10"
    assert wrong.status_code == 200  # a wrong token is the business of the usual path
    assert len(seen) == (1 if spaced else 2)


@pytest.mark.parametrize("door", ["http", "sse"])
def test_a_flood_is_spaced_on_either_door_and_every_call_is_answered_and_on_record(tmp_path: Path, door: str) -> None:
    async def story() -> list[Any]:
        answers: list[Any] = []

        async def ask(client: Client) -> None:
            answers.append((await client.call_tool("get_service_status", {})).structured_content)

        async with home.over(door, token, "legacy") as client, anyio.create_task_group() as tasks:
            for _ in range(160):
                tasks.start_soon(ask, client)
        return answers

    with door_home(tmp_path, rate_per_s=0.001, rate_burst=30) as home:
        token = add_token(home.settings.home, "flood", ("forecast:read",))
        begun = time.monotonic()
        answers = home.run(story)
        assert time.monotonic() - begun >= 0.6  # 162 messages: 100 at once, the rest at 100 a second
        codes = [answer["error"]["code"] for answer in answers if not answer["ok"]]
        assert (len(answers), codes) == (160, ["RATE_LIMITED"] * 130)
        home.await_entry("token:flood", "get_service_status", "RATE_LIMITED", door, times=130)
