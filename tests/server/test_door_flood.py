"""A limited caller is answered before the protocol works for it, as the path of a call would have answered."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import httpx2
import pytest
from door_home import DoorHome, door_home
from door_wire import META, MODERN
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError

from mcp_forecast.http.flood import AT_ONCE, LONGEST_S, Pace
from mcp_forecast.http.tokens import add_token

BURST = 3
MOMENTS = st.lists(st.floats(min_value=0, max_value=0.5), min_size=1, max_size=60)
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


def test_what_is_no_tool_call_passes_the_guard(home: DoorHome) -> None:
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


def post(home: DoorHome, token: str, body: bytes, method: str = "tools/call") -> httpx2.Response:
    headers = headers_of(token, method)
    if method == "tools/call" and body.startswith(b'{"jsonrpc": "2.0"'):
        headers["mcp-name"] = json.loads(body)["params"]["name"]
    return httpx2.post(f"{home.url}/mcp", content=body, headers=headers, timeout=10)


def test_blanks_around_a_header_are_no_part_of_it(home: DoorHome) -> None:
    token = add_token(home.settings.home, "blanks", ("forecast:read",))
    connection = http.client.HTTPConnection(home.url.removeprefix("http://"), timeout=10)
    headers = {**headers_of(token, "tools/call"), "mcp-name": "  get_service_status \t"}
    connection.request("POST", "/mcp", call("get_service_status"), headers)
    assert connection.getresponse().status == 200
    connection.close()


@given(MOMENTS)
def test_messages_begin_no_faster_than_the_pace_after_a_few_at_once(gaps: list[float]) -> None:
    now, spacing, starts = 0.0, 0.01, []
    pace = Pace(lambda: now)
    for gap in gaps:
        now += gap
        starts.append(now + pace.wait_s("a", spacing_s=spacing))
    for first, last in combinations(range(len(starts)), 2):
        if last - first > AT_ONCE:
            assert starts[last] - starts[first] >= (last - first - AT_ONCE - 1) * spacing - 1e-9


def test_a_pace_is_one_callers_own_and_never_holds_a_message_for_long() -> None:
    pace = Pace(lambda: 0.0)
    waits = [pace.wait_s("flood", spacing_s=0.05) for _ in range(100)]
    assert waits[:AT_ONCE] == [0.0] * AT_ONCE
    assert max(waits) <= LONGEST_S
    assert pace.wait_s("other", spacing_s=0.05) == 0.0
