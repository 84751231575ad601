"""`mcp-forecast worker`: a process without doors that takes the runs which a server leaves to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Desk
from sqlalchemy import select

from mcp_forecast.home.tables import ProcessRow
from mcp_forecast.settings import Settings, child_environment

BOTH_DATABASES = True
ROWS = [{"ds": f"2025-{month:02d}-{day:02d}", "y": float(day % 7)} for month in range(1, 7) for day in range(1, 29)]
Opener = Callable[[Settings], Desk]


@contextmanager
def worker(environ: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "mcp_forecast.cli", "worker", *arguments]
    process = subprocess.Popen(command, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(desk: Desk) -> list[bool]:
    """Whether each process on record has ended, the oldest first."""
    table = ProcessRow.__table__  # type: ignore[attr-defined]
    with desk.app.database.read() as connection:
        rows = connection.execute(select(table.c.ended_at).order_by(table.c.started_at)).all()
    return [row.ended_at is not None for row in rows]


def test_a_worker_takes_the_run_of_a_server_that_starts_none_and_ends_cleanly_on_sigterm(
    open_desk: Opener, settings: Settings
) -> None:
    desk = open_desk(replace(settings, workers=0))
    dataset = desk.call("register_dataset", {"rows": ROWS, "freq": "D"})["result"]["dataset_id"]
    run = desk.call("run_training", {"dataset_id": dataset, "horizon": 2, "covariates": []})["result"]
    assert run["state"] == "QUEUED"
    profile = "dev" if settings.database else "local"
    with worker(child_environment(settings), "--profile", profile) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready: srv_"), line
        assert f"{desk.app.database.kind}, profile {profile}" in line
        answer = desk.finish(run["run_id"])
        assert "result" in answer["result"], answer
        process.send_signal(signal.SIGTERM)
        said, complained = process.communicate(timeout=20)
        assert (process.returncode, complained) == (0, "")
        assert said.startswith("ended")
    assert ended(desk) == [False, True]
    entries = desk.call("get_audit_trail", {"tool": "server"})["result"]["entries"]
    assert sorted(entry["code"] for entry in entries) == ["STARTED", "STARTED", "STOPPED"]


@pytest.mark.parametrize(
    ("profile", "variables", "told"),
    [
        ("prod", {}, "MCP_FORECAST_DATABASE is not set"),
        ("dev", {}, "MCP_FORECAST_DATABASE is not set"),
        ("local", {"MCP_FORECAST_DATABASE": "postgresql://me@/nowhere"}, "names another database"),
        ("local", {"MCP_FORECAST_WORKERS": "0"}, "would work on nothing"),
    ],
)
def test_a_worker_refuses_settings_that_are_not_its_profiles(
    tmp_path: Path, profile: str, variables: dict[str, str], told: str
) -> None:
    home = tmp_path / "home"
    with worker({**os.environ, "MCP_FORECAST_HOME": str(home), **variables}, "--profile", profile) as process:
        said, complained = process.communicate(timeout=20)
        assert (process.returncode, said) == (2, "")
    assert told in complained
    assert not home.exists()
