"""The runbook: every command and call in it is run as it stands, in its order, and it names every code and state."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Desk
from gate_data import passing

from mcp_forecast.cli import main
from mcp_forecast_contracts.catalogue import documents
from mcp_forecast_contracts.errors import CODES, ERRORS
from mcp_forecast_engine.runtime.run import STATES

RUNBOOK = Path(__file__).parent.parent.parent / "skills" / "forecast-ops" / "references" / "runbook.md"
TEXT = RUNBOOK.read_text(encoding="utf-8")
LINES = [
    (kind, line) for kind, block in re.findall(r"```(sh|call)\n(.*?)```", TEXT, re.S) for line in block.splitlines()
]
ROWS = [f"{row['ds']},{row['y']}" for row in passing()]


class Operator:
    """Somebody who follows the runbook line by line; `names` are the things that stand in capitals there."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        file = folder / "sales.csv"
        file.write_text("\n".join(["ds,y", *ROWS]), encoding="utf-8")
        self.desk, self.names = desk, {"FILE": str(file), "KEY": "k"}

    def filled(self, line: str) -> str:
        return re.sub(r"\b(RUN|BUNDLE|KEY|FILE|DATASET)\b", lambda found: self.names[found[1]], line)

    def call(self, line: str) -> None:
        tool, arguments = self.filled(line).split(" ", 1)
        answer = self.desk.call(tool, json.loads(arguments))
        jsonschema.validate(answer, documents()[tool]["output_schema"])
        assert answer["ok"], (line, answer)
        result: dict[str, Any] = answer["result"]
        if tool == "register_dataset":
            self.names["DATASET"] = result["dataset_id"]
        elif tool == "run_training":
            self.names.setdefault("RUN", result["run_id"])
        elif tool == "get_run_status":
            assert "result" in self.desk.finish(self.names["RUN"])["result"]
        elif tool == "get_service_status":
            assert result["work"]["unexplained"] == []
        elif "lineage" in arguments:
            assert {node["bytes"] for node in result["lineage"] if "digest" in node} == {"as_named"}

    def shell(self, line: str, capsys: pytest.CaptureFixture[str]) -> None:
        _, *arguments = shlex.split(self.filled(line))
        if arguments[0] == "worker":
            return _worked(arguments)
        assert main(arguments) == 0, (line, capsys.readouterr().err)
        told = capsys.readouterr().out
        if arguments[:2] == ["bundles", "publish"]:
            wanted = "ALREADY_PUBLISHED" if "BUNDLE" in self.names else "PUBLISHED"
            assert told.startswith(wanted), told
            self.names["BUNDLE"] = re.findall(r"bnd_[0-9a-f]{24}", told)[0]
        return None


def _worked(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "mcp_forecast.cli", *arguments]
    with subprocess.Popen(command, env=dict(os.environ), text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready: ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_every_line_of_the_runbook_does_what_it_says(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MCP_FORECAST_HOME", str(desk.app.settings.home))
    operator = Operator(desk, tmp_path / "data")
    for kind, line in LINES:
        if kind == "sh":
            operator.shell(line, capsys)
        else:
            operator.call(line)
    assert len(LINES) > 20


def test_the_runbook_names_every_code_with_what_it_allows_and_every_state() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (\w+) \|", TEXT, re.M))
    assert {code: rows.get(code) for code in CODES} == {code: meaning.disposition for code, meaning in ERRORS.items()}
    assert set(rows) == set(CODES)
    assert [state for state in STATES if f"`{state}`" not in TEXT] == []
