"""Homes that are backed up and restored, and a caller that works meanwhile."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from conftest import ENDED, Answer, Desk

from mcp_forecast.home.sealing import origin_of
from mcp_forecast.home.signing_key import signer_of
from mcp_forecast.settings import Settings, child_environment
from mcp_forecast.upkeep.backup import take_backup
from mcp_forecast.upkeep.manifest import Manifest
from mcp_forecast.upkeep.restore import restore_home
from mcp_forecast_audit.seal import seal
from mcp_forecast_audit.stored import standing
from mcp_forecast_engine.store.artifacts import ArtifactStore

ROWS = [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d + 3 * m)} for m in range(1, 13) for d in range(1, 29)]


class Load(threading.Thread):
    """A caller that registers, trains and forecasts without end, each call under a key of its own."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(daemon=True)
        self.desk, self.over = desk, threading.Event()
        self.answered: list[tuple[str, dict[str, Any], Answer]] = []

    def run(self) -> None:
        number = 0
        while not self.over.is_set():
            rows = [{**row, "y": row["y"] + number % 7} for row in ROWS]
            dataset = self.ask("register_dataset", {"rows": rows, "freq": "D"}, number)["dataset_id"]
            run = self.ask("run_training", {"dataset_id": dataset, "horizon": 3 + number % 5}, number)
            if number % 3 == 0 and self.desk.finish(run["run_id"])["result"]["state"] in ENDED:
                self.ask("run_inference", {"run_id": run["run_id"]}, number)
            number += 1

    def ask(self, tool: str, request: dict[str, Any], number: int) -> dict[str, Any]:
        request = {**request, "idempotency_key": f"k{number}"}
        answer = self.desk.call(tool, request)
        assert answer["ok"], answer
        self.answered.append((tool, request, answer))
        result: dict[str, Any] = answer["result"]
        return result


def has_forecast(load: Load) -> bool:
    return any(tool == "run_inference" for tool, _, _ in load.answered)


def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    return replace(settings, home=tmp_path / "new" / "home", database="")


def without_places(value: Any) -> Any:
    """An answer without where its artifacts lie: that is the home's."""
    if isinstance(value, dict):
        return {name: without_places(inner) for name, inner in value.items() if name not in ("uri", "links", "cpu_s")}
    return [without_places(inner) for inner in value] if isinstance(value, list) else value


def backed_up(settings: Settings, target: Path) -> Manifest:
    return take_backup(settings, target)


def restored(settings: Settings, source: Path) -> Manifest:
    return restore_home(settings, source)


def finished(desk: Desk, horizon: int = 5) -> str:
    dataset = desk.call("register_dataset", {"rows": ROWS, "freq": "D"})["result"]["dataset_id"]
    run_id: str = desk.call("run_training", {"dataset_id": dataset, "horizon": horizon})["result"]["run_id"]
    assert desk.finish(run_id)["result"]["state"] in ENDED
    return run_id


def home_id(settings: Settings) -> str:
    return (settings.home / "home.id").read_text().strip()


def any_artifact(folder: Path) -> Path:
    return next(file.path for file in ArtifactStore(folder / "artifacts").files())


def sealed(desk: Desk, settings: Settings) -> str:
    """Seal the log and write the checkpoint outside, as a server does; returns the checkpoint."""
    signer = signer_of(settings.home, origin_of(home_id(settings)))
    with desk.app.database.command() as connection:
        note: str = seal(connection, standing(connection), signer, now=time.time())
    return note


def command(settings: Settings, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "mcp_forecast.cli", *arguments],
        env=child_environment(settings), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr
