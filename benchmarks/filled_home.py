"""A home that has been used: 1,000 finished runs and 100,000 audit entries, written through the store's own tables."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from mcp_forecast.home.opening import open_home
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.entry import Entry
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.tables import RunRow

RUNS, ENTRIES = 1_000, 100_000


def fill(home: Path, *, runs: int = RUNS, entries: int = ENTRIES) -> str:
    """Fill a new home and return the id of a finished run in it."""
    database = open_home(home, home / "forecast.db")
    now = time.time()
    document = ArtifactStore(home / "artifacts").put(json.dumps(_document()).encode())
    ids = [f"run_{number:024x}" for number in range(runs)]
    try:
        with database.command() as connection:
            connection.execute(insert(RunRow), [_run(run_id, document, now) for run_id in ids])
        for first in range(0, entries, 1000):
            with database.command() as connection:
                audit_log.append(connection, [_entry(n, ids[n % runs], now) for n in range(first, first + 1000)])
    finally:
        database.close()
    return ids[runs // 2]


def _run(run_id: str, document: str, now: float) -> dict[str, Any]:
    plan = {"asked": {"dataset_id": "ds_" + "0" * 24, "horizon": 14}, "dataset_id": "ds_" + "0" * 24}
    return {
        "run_id": run_id, "run_key": f"key-{run_id}", "kind": "training", "state": "SUCCEEDED",
        "plan": json.dumps(plan),
        "caller": "local:bench", "created_at": now - 60, "started_at": now - 59, "ended_at": now - 50, "attempt": 1,
        "losses": 0, "epoch": 1, "cancel_requested": False, "wall_limit_s": 1800.0, "progress_done": 5,
        "progress_total": 5, "progress_text": "finished", "result": document,
    }  # fmt: skip


def _document() -> dict[str, Any]:
    """About what a training run leaves: trust, metrics per candidate and window, warnings."""
    scores = {
        name: round(0.1 + index / 7, 4) for index, name in enumerate(("mase", "wql", "coverage_80", "coverage_95"))
    }
    candidates = [{"model": name, **scores} for name in ("seasonal_naive", "direct_ridge", "direct_ridge_covariates")]
    windows = [{"cutoff": f"2024-{month:02d}-01T00:00:00", **scores} for month in range(1, 6)]
    trust = {"verdict": "usable", "reasons": ["beats the baseline by 31 %", "intervals cover as promised"], "gates": []}
    return {
        "kind": "training", "trust": trust, "candidates": candidates, "windows": windows, "warnings": [], "serving": {}
    }  # fmt: skip


def _entry(number: int, run_id: str, now: float) -> Entry:
    return Entry(
        request_id=f"req_{number:024x}", at=now, caller="local:bench", door="stdio", tool="get_run_status",
        contract="get_run_status@1.0.0", arguments={"digest": "sha256:" + "0" * 64, "size": 40},
        decision={"verdict": "allow", "policy_id": "scopes", "digest": "sha256:" + "1" * 64}, code="OK",
        refs={"run_id": run_id},
    )  # fmt: skip
