"""Runs of a toy home, moved through the ledger one transaction at a time."""

from __future__ import annotations

import runtime_toy as toy

from mcp_forecast_engine.runtime import lease, ledger
from mcp_forecast_engine.runtime.run import Run

DIGEST = "sha256:" + "0" * 64


def submit(home: toy.Home, name: str, now: float = 0.0, wall_limit_s: float = 60.0) -> tuple[Run, bool]:
    with home.database.command() as connection:
        return ledger.submit(
            connection, run_id=f"run_{name}", run_key=name, kind="training", plan={"name": name}, caller="me",
            wall_limit_s=wall_limit_s, now=now,
        )  # fmt: skip


def claim(home: toy.Home, now: float, *, most: int = 8) -> Run | None:
    with home.database.command() as connection:
        return lease.claim(connection, owner="host/1", lease_s=10.0, max_running=most, now=now)


def finish(home: toy.Home, name: str, now: float = 0.0) -> Run:
    with home.database.command() as connection:
        run, _ = ledger.record_finished(
            connection,
            run_id=f"run_{name}",
            run_key=name,
            kind="inference",
            plan={},
            caller="me",
            result=DIGEST,
            now=now,
        )
        return run


def fail(home: toy.Home, run: Run, disposition: str) -> Run:
    with home.database.command() as connection:
        return lease.fail(connection, run.run_id, run.epoch, error={"reason": "X", "disposition": disposition}, now=1.0)
