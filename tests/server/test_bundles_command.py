"""`mcp-forecast bundles`: the same tools from the command line, on record as what a person did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import desk_in
from test_registry_tools import Shop

from mcp_forecast.cli import main


def test_a_run_is_published_promoted_listed_and_rolled_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_in(tmp_path) as desk:
        shop = Shop(desk)
        passed, failed = shop.passed(7), shop.failed(8)
    monkeypatch.setenv("MCP_FORECAST_HOME", str(tmp_path))

    def told(*command: str, code: int = 0) -> str:
        assert main(["bundles", *command]) == code
        return capsys.readouterr().out

    assert "nothing is published yet" in told("list")
    made: dict[str, Any] = json.loads(told("publish", passed, "--json"))
    assert made["status"] == "PUBLISHED"
    assert main(["bundles", "publish", failed]) == 2
    refused = capsys.readouterr().err
    assert "rule skill_low " in refused
    assert "run_training" in refused
    promoted = told("promote", made["bundle_id"], "--slot", "desk", "--reason", "better")
    assert promoted.startswith("PROMOTED\nlocal/live/desk: bnd_")
    assert "ACTIVE" in told("list", "--state", "ACTIVE")
    events = told("list", "--events", "--slot", "desk")
    assert "BUNDLE_PROMOTED_ACTIVE" in events
    assert "better" in events
    back = told("rollback", "--slot", "desk", "--reason", "worse", "--retire")
    assert "local/live/desk: nothing is ACTIVE" in back
    rejected = told("promote", made["bundle_id"], "--reason", "again", code=1)
    assert rejected.startswith("REJECTED: BUNDLE_RETIRED\n")
    (event, *_) = json.loads(told("list", "--events", "--json"))["events"]
    assert event["source_type"] == "HUMAN"
