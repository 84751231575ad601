"""What a client of the door sees, in both protocol eras: lists, envelopes, malformed calls, and no leaks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from door_stand_in import SECRET, StandInDesk, caller_of, opening_of, unopened
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolRequest, CallToolRequestParams, CallToolResult

from mcp_forecast.mcp.instructions import INSTRUCTIONS
from mcp_forecast.mcp.opening import Desk, Opening
from mcp_forecast.mcp.server import PAGE, RawCall, build_server, result_of, tools_page
from mcp_forecast_contracts import catalogue

pytestmark = pytest.mark.asyncio
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


@asynccontextmanager
async def client_of(desk: StandInDesk, mode: str, opening: Opening | None = None) -> AsyncIterator[Client]:
    server = build_server(opening or opening_of(desk), caller_of("someone"))
    async with Client(server, mode=mode) as client:
        yield client


@ERAS
async def test_the_tools_are_listed_as_the_contracts_have_them(mode: str) -> None:
    async with client_of(StandInDesk(), mode) as client:
        listed = [
            tool.model_dump(mode="json", by_alias=True, exclude_unset=True)
            for tool in (await client.list_tools()).tools
        ]
    assert listed == json.loads(json.dumps(catalogue.tools()))


@ERAS
async def test_only_what_is_there_is_announced(mode: str) -> None:
    async with client_of(StandInDesk(), mode) as client:
        announced = client.server_capabilities.model_dump(exclude_none=True, by_alias=True)
        assert announced == {
            "completions": {},
            "prompts": {"listChanged": False},
            "resources": {"listChanged": False, "subscribe": False},
            "tools": {"listChanged": False},
        }
        assert client.instructions == INSTRUCTIONS
        info = client.server_info
        assert info is not None
        assert (info.name, bool(info.version)) == ("mcp-forecast", True)


async def test_the_instructions_fit_what_every_client_keeps_and_name_every_tool_that_exists() -> None:
    assert len(INSTRUCTIONS) <= 2000
    assert [tool["name"] for tool in catalogue.tools() if tool["name"] not in INSTRUCTIONS] == []


async def test_a_cursor_nobody_gave_out_is_refused() -> None:
    assert "nextCursor" not in tools_page(None)
    assert len(catalogue.tools()) <= PAGE
    for cursor in ("50", "0", "-1", "x", ""):
        with pytest.raises(MCPError, match="Invalid cursor"):
            tools_page(cursor)


@ERAS
async def test_the_envelope_comes_back_as_text_and_as_structure(mode: str) -> None:
    arguments = {"a": "12", "b": True, "c": 12.0, "d": None, "é": 2**60, "e": [{}]}
    desk = StandInDesk()
    async with client_of(desk, mode) as client:
        answer = await client.call_tool("anything", arguments)
    assert answer.structured_content == {
        "ok": True,
        "result": {"tool": "anything", "arguments": arguments, "progress": True},
    }
    assert text_of(answer) == json.dumps(answer.structured_content, ensure_ascii=False, separators=(",", ":"))
    assert not answer.is_error
    assert [(tool, sent, caller.id) for tool, sent, caller in desk.seen] == [("anything", arguments, "someone")]


@ERAS
async def test_an_envelope_that_is_not_ok_is_an_error_result(mode: str) -> None:
    async with client_of(StandInDesk(), mode) as client:
        answer = await client.call_tool("refuse", {})
    assert answer.is_error
    assert answer.structured_content is not None
    assert answer.structured_content["ok"] is False


@ERAS
@pytest.mark.parametrize("tool", ["raise", "nan", "surrogate"])
async def test_a_fault_of_ours_is_a_typed_answer_that_leaks_no_text(mode: str, tool: str) -> None:
    async with client_of(StandInDesk(), mode) as client:
        answer = await client.call_tool(tool, {})
    assert answer.is_error
    assert answer.structured_content is not None
    assert answer.structured_content["error"]["code"] == "INTERNAL"
    assert SECRET not in answer.model_dump_json()


@ERAS
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the client is made to send what its types forbid
@pytest.mark.parametrize("broken", [[1], 5, "text", True, [{"a": 1}]])
async def test_arguments_that_are_no_object_reach_the_one_path(mode: str, broken: Any) -> None:
    desk = StandInDesk()
    async with client_of(desk, mode) as client:
        params = CallToolRequestParams.model_construct(name="anything", arguments=broken)
        answer = await client.session.send_request(
            CallToolRequest.model_construct(method="tools/call", params=params), CallToolResult
        )
    assert desk.seen[0][:2] == ("anything", broken)
    assert answer.structured_content is not None


async def test_a_call_keeps_what_was_sent_beside_what_the_sdk_accepts() -> None:
    for params, tool, arguments in (({"name": 5}, 5, None), ({}, None, None), (None, None, None), ([1], None, None)):
        raw = RawCall(params)
        assert (raw.tool, raw.arguments) == (tool, arguments)
        CallToolRequestParams.model_validate(raw)


@ERAS
async def test_progress_reaches_a_client_that_asked_for_it(mode: str) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with client_of(StandInDesk(), mode) as client:
        await client.call_tool("progress", {}, progress_callback=hear)
        with anyio.fail_after(5):
            while len(heard) < 3:
                await anyio.lowlevel.checkpoint()
    assert heard == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]


@ERAS
async def test_a_client_that_gives_up_cancels_the_call(mode: str) -> None:
    desk = StandInDesk()
    async with client_of(desk, mode) as client:
        with anyio.move_on_after(0.1):
            await client.call_tool("wait", {})
        with anyio.fail_after(5):
            while not desk.cancelled:
                await anyio.lowlevel.checkpoint()
    assert desk.cancelled == ["wait"]


@ERAS
async def test_a_home_that_does_not_open_is_a_typed_answer_and_is_tried_again_after_a_second(mode: str) -> None:
    desk, now, tries = StandInDesk(), [100.0], []

    def open_desk() -> Desk:
        tries.append(now[0])
        if len(tries) == 1:
            raise OSError(SECRET)
        return Desk(call=desk.call, close=desk.close)

    opening = Opening(open_desk, unopened, clock=lambda: now[0])
    async with client_of(desk, mode, opening) as client:
        first = await client.call_tool("anything", {})
        soon = await client.call_tool("anything", {})
        now[0] += 1.0
        later = await client.call_tool("anything", {})
    assert first.structured_content == {"ok": False, "error": {"code": "INTERNAL", "reason": "OSError"}}
    assert (first.is_error, soon.is_error, later.is_error) == (True, True, False)
    assert tries == [100.0, 101.0]
    opening.close()
    assert desk.closed


async def test_calls_that_come_together_open_the_home_once() -> None:
    desk, tries = StandInDesk(), []

    def open_desk() -> Desk:
        tries.append(1)
        return Desk(call=desk.call, close=desk.close)

    async with client_of(desk, "auto", Opening(open_desk, unopened)) as client, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(client.call_tool, "anything", {})
    assert (len(tries), len(desk.seen)) == (1, 20)


async def test_a_result_that_is_no_json_is_refused_before_the_wire() -> None:
    for value in (float("nan"), float("inf"), "\ud800"):
        with pytest.raises((ValueError, UnicodeEncodeError)):
            result_of({"ok": True, "result": value})


def text_of(answer: CallToolResult) -> str:
    (content,) = answer.content
    assert content.type == "text"
    return content.text
