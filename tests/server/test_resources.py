"""Resources take the one path of a call: its scopes, its refusals, its pages; contracts need no home at all."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from door_stand_in import caller_of
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from mcp_forecast.calls.caller import Caller
from mcp_forecast.mcp.opening import Desk, Envelope, Opening, Report
from mcp_forecast.mcp.resources import MOST_BYTES, PAGE, call_of, contract_links, contract_text
from mcp_forecast.mcp.server import build_server
from mcp_forecast_contracts import catalogue

pytestmark = pytest.mark.asyncio
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
DIGEST = "sha256:" + "a" * 64


class ScriptedDesk:
    """Answers by a table; keeps what was asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Any, str]] = []

    async def call(self, tool: str, arguments: Any, caller: Caller, progress: Report | None = None) -> Envelope:
        self.asked.append((tool, arguments, caller.id))
        answer = self.answers[tool]
        made = answer(arguments) if callable(answer) else answer
        if isinstance(made, str):
            error = {"code": made, "message": f"refused: {made}", "retry_after_s": 2.5}
            return {"ok": False, "error": error, "request_id": "req_1", "replayed": False, "warnings": []}
        return {"ok": True, "result": made, "request_id": "req_1", "replayed": False, "warnings": ["look"]}


@asynccontextmanager
async def client_of(desk: ScriptedDesk, mode: str = "auto") -> AsyncIterator[Client]:
    opening = Opening(lambda: Desk(call=desk.call, close=lambda: None), lambda error: {"ok": False, "error": {}})
    async with Client(build_server(opening, caller_of("someone")), mode=mode) as client:
        yield client


def lines(runs: int, datasets: int) -> dict[str, Any]:
    at = "2026-01-01T00:00:00.000Z"
    return {
        "list_runs": {
            "runs": [
                {"run_id": f"run_{n:024x}", "kind": "training", "state": "RUNNING", "created_at": at}
                for n in range(runs)
            ]
        },
        "list_artifacts": {"artifacts": [{"dataset_id": f"ds_{n:024x}", "created_at": at} for n in range(datasets)]},
    }


@ERAS
@pytest.mark.parametrize(("runs", "datasets"), [(0, 0), (20, 20), (3, 1)])
async def test_the_pages_of_the_list_hold_everything_once(mode: str, runs: int, datasets: int) -> None:
    desk = ScriptedDesk(lines(runs, datasets))
    found: list[str] = []
    cursor: str | None = None
    async with client_of(desk, mode) as client:
        while True:
            page = await client.list_resources(cursor=cursor)
            assert len(page.resources) <= PAGE
            found += [str(one.uri) for one in page.resources]
            cursor = page.next_cursor
            if cursor is None:
                break
    assert len(found) == len(set(found)) == runs + datasets + len(contract_links())
    assert [tool for tool, _, _ in desk.asked] == ["list_runs", "list_artifacts"]
    assert {caller for _, _, caller in desk.asked} == {"someone"}


@ERAS
@pytest.mark.parametrize("code", ["FORBIDDEN", "RATE_LIMITED", "STORE_UNAVAILABLE", "ARTIFACT_CORRUPT"])
async def test_a_refused_call_is_an_error_that_carries_our_body(mode: str, code: str) -> None:
    desk = ScriptedDesk({"get_run_status": code, "list_runs": code})
    async with client_of(desk, mode) as client:
        for work in (lambda: client.read_resource("forecast://runs/run_1"), client.list_resources):
            with pytest.raises(MCPError) as caught:
                await work()
            error = caught.value.error
            assert error.code == -32010
            assert (error.data["code"], error.data["retry_after_s"], error.data["request_id"]) == (code, 2.5, "req_1")


@ERAS
async def test_what_a_desk_does_not_survive_stays_inside(mode: str) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("secret detail")

    desk = ScriptedDesk({"get_run_status": broken})
    opening = Opening(
        lambda: Desk(call=desk.call, close=lambda: None),
        lambda error: {"ok": False, "error": {"code": "INTERNAL", "message": "a fault"}},
    )
    async with Client(build_server(opening, caller_of()), mode=mode) as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource("forecast://runs/run_1")
    assert caught.value.error.data["code"] == "INTERNAL"
    assert "secret" not in repr(caught.value.error)


def artifact(data: bytes, media_type: str, page: int) -> Any:
    def read(arguments: dict[str, Any]) -> dict[str, Any]:
        start = arguments.get("offset", 0)
        part = data[start : start + page]
        end = start + len(part)
        text = media_type == "application/json"
        more = {"has_more": end < len(data)} | ({"next_offset": end} if end < len(data) else {})
        shown = part.decode() if text else base64.b64encode(part).decode()
        return {"size": len(data), "media_type": media_type, "data": shown, "offset": start, **more,
                "encoding": "utf-8" if text else "base64"}  # fmt: skip

    return read


@ERAS
@pytest.mark.parametrize("size", [0, 1, 10, 11, 25])
async def test_an_artifact_of_several_parts_comes_whole(mode: str, size: int) -> None:
    data = bytes(range(size))
    desk = ScriptedDesk({"read_artifact": artifact(data, "application/octet-stream", page=10)})
    async with client_of(desk, mode) as client:
        (content,) = (await client.read_resource(f"forecast://artifacts/{DIGEST}")).contents
    assert base64.b64decode(content.blob) == data
    assert content.mime_type == "application/octet-stream"
    assert len(desk.asked) == max(1, -(-size // 10))


async def test_a_json_artifact_is_text() -> None:
    text = json.dumps({"name": "x" * 30})
    desk = ScriptedDesk({"read_artifact": artifact(text.encode(), "application/json", page=10)})
    async with client_of(desk) as client:
        (content,) = (await client.read_resource(f"forecast://artifacts/{DIGEST}")).contents
    assert content.text == text


async def test_an_artifact_beyond_the_bound_is_refused_with_the_way_to_read_it() -> None:
    whole = {"size": MOST_BYTES + 1, "media_type": "x/y", "data": "", "encoding": "base64", "has_more": True}
    desk = ScriptedDesk({"read_artifact": whole})
    async with client_of(desk) as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource(f"forecast://artifacts/{DIGEST}")
    assert "read_artifact" in caught.value.error.data["next_step"]
    assert len(desk.asked) == 1


async def test_the_content_of_a_run_is_its_result_and_names_the_call() -> None:
    desk = ScriptedDesk({"get_run_status": {"run_id": "run_1", "é": [1]}})
    async with client_of(desk) as client:
        answer = await client.read_resource("forecast://runs/run_1")
    (content,) = answer.contents
    assert content.text == '{"run_id":"run_1","é":[1]}'
    assert content.meta == {"io.github.mcp-forecast/call": {"request_id": "req_1", "warnings": ["look"]}}
    assert (answer.cache_scope, answer.ttl_ms) == ("private", 0)


async def test_contracts_and_shapes_are_read_without_a_home() -> None:
    def no_home() -> Desk:
        raise AssertionError("nobody opens it")

    opening = Opening(no_home, lambda error: {"ok": False, "error": {}})
    async with Client(build_server(opening, caller_of())) as client:
        for link in contract_links():
            (content,) = (await client.read_resource(link["uri"])).contents
            assert json.loads(content.text)
        assert len((await client.list_resource_templates()).resource_templates) == 5


async def test_only_the_shapes_that_are_promised_become_calls() -> None:
    assert call_of("forecast://runs/run_1") == ("get_run_status", {"run_id": "run_1"})
    assert call_of(f"forecast://artifacts/{DIGEST}") == ("read_artifact", {"digest": DIGEST})
    for uri in ("", "forecast://", "forecast://runs/", "forecast://runs/a/b", "forecast://run/a", "FORECAST://runs/a"):
        assert call_of(uri) is None
        assert contract_text(uri) is None
    assert contract_text("errors") is None
    assert contract_text("run_training/" + catalogue.documents()["run_training"]["version"]) is None


async def test_a_contract_is_read_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys; from mcp_forecast.mcp.resources import contract_links, contract_text\n"
        "from mcp_forecast.mcp import server\n"
        "assert all(contract_text(link['uri']) for link in contract_links())\n"
        "heavy = {'sqlalchemy', 'alembic', 'numpy', 'jsonschema', 'psycopg', 'mcp_forecast.calls.pipeline'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
