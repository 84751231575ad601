"""The stdio door before a real home: what a spawned server answers, leaves behind, and says when a home is unusable."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from pathlib import Path

import pytest
from door_wire import WireClient

from mcp_forecast.calls.pipeline import unopened
from mcp_forecast.mcp.server import result_of
from mcp_forecast_engine.errors import StoreUnavailable

SERVE = [
    sys.executable,
    "-c",
    "from mcp_forecast.mcp.stdio_door import serve_stdio\n"
    "from mcp_forecast.settings import process_settings\n"
    "serve_stdio(process_settings())",
]
ERAS = pytest.mark.parametrize("modern", [True, False], ids=["modern", "legacy"])


def serve(home: Path) -> WireClient:
    return WireClient(SERVE, {**os.environ, "MCP_FORECAST_HOME": str(home), "MCP_FORECAST_CALLER": "someone"})


@ERAS
def test_every_kind_of_call_gets_a_typed_envelope(tmp_path: Path, modern: bool) -> None:
    with serve(tmp_path) as client:
        if not modern:
            client.initialize()
        status = client.call("get_service_status", modern=modern)
        assert (status["isError"], status["structuredContent"]["result"]["caller"]) == (False, "someone")
        params: tuple[tuple[dict[str, object], str], ...] = (
            ({"name": "forecast_everything"}, "UNKNOWN_TOOL"),
            ({"name": 5}, "UNKNOWN_TOOL"),
            ({}, "UNKNOWN_TOOL"),
            ({"name": "get_run_status", "arguments": [1]}, "INVALID_ARGUMENTS"),
            ({"name": "get_run_status", "arguments": {"run_id": 5}}, "INVALID_ARGUMENTS"),
            ({"name": "get_run_status", "arguments": {"run_id": "run_" + "0" * 24}}, "NOT_FOUND"),
        )
        for sent, code in params:
            result = client.request("tools/call", sent, modern=modern)["result"]
            envelope = result["structuredContent"]
            assert (result["isError"], envelope["ok"], envelope["error"]["code"]) == (True, False, code)
            assert json.loads(result["content"][0]["text"]) == envelope


def test_a_call_just_before_the_end_of_input_is_on_record(tmp_path: Path) -> None:
    with serve(tmp_path) as client:
        answers = [client.call("get_service_status")["structuredContent"]["request_id"] for _ in range(3)]
        assert client.end_input() < 1.0
    with sqlite3.connect(tmp_path / "forecast.db") as connection:
        stored = [row[0] for row in connection.execute("SELECT request_id FROM audit_entry WHERE tool = ? ORDER BY seq",
                                                       ("get_service_status",))]  # fmt: skip
    assert stored == answers


def test_a_home_of_a_newer_version_is_refused_by_name_and_the_tools_are_still_listed(tmp_path: Path) -> None:
    with serve(tmp_path) as client:
        client.call("get_service_status")
        client.end_input()
    with sqlite3.connect(tmp_path / "forecast.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with serve(tmp_path) as client:
        assert client.request("tools/list")["result"]["tools"]
        assert client.call("get_service_status")["structuredContent"]["error"]["code"] == "HOME_NEWER"
        assert client.end_input() < 1.0


def test_a_home_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with serve(tmp_path / "file" / "home") as client:
        error = client.call("get_service_status")["structuredContent"]["error"]
        assert error["code"] == "STORE_UNAVAILABLE"
        assert client.end_input() < 1.0


def test_an_unopened_home_makes_a_result_that_the_wire_takes() -> None:
    result = result_of(unopened(StoreUnavailable("the home cannot be used")))
    assert (result["isError"], result["structuredContent"]["error"]["code"]) == (True, "STORE_UNAVAILABLE")
