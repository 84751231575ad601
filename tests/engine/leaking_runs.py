"""Each leak of leakage/mutants.toml in a real training: registered, planned, submitted, claimed and worked on, with the
leak in the code or the data, and the guards as they are."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from data_mutants import (
    COLUMNS,
    REVISED,
    REVISED_RUNS,
    REVISED_WINDOWS,
    believed,
    read_immature,
    staggered_rows,
    told_by,
)
from evaluation_mutants import CASES, MUTANTS, Patch
from forecast_toys import REFERENCES_ONLY
from label_toys import ASOF, revised_rows
from leakage_toys import Case
from runtime_toy import Home, open_home
from sqlalchemy import func, select

from mcp_forecast.home.run_ends import enter_end
from mcp_forecast_engine.data.frame import Frame, Panel
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.data.registration import DatasetRequest
from mcp_forecast_engine.engine import Engine
from mcp_forecast_engine.errors import RunFailed
from mcp_forecast_engine.evaluation.budget import BUDGETS
from mcp_forecast_engine.factory import request
from mcp_forecast_engine.factory.guard import CLEAN, MEND
from mcp_forecast_engine.registry.scope import Scope
from mcp_forecast_engine.runtime import lease
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.runtime.worker import work
from mcp_forecast_engine.store.tables import BundleRow, RegistryEventRow

LISTED: Final[dict[str, str]] = {
    mutant["id"]: mutant["guard"]
    for mutant in tomllib.loads((Path(__file__).parent / "leakage" / "mutants.toml").read_text())["mutant"]
}
# Those that the suite runs; all of them: `make torture ONLY=leaks`.
IN_SUITE: Final = (
    *(mutant for mutant, guard in LISTED.items() if guard in ("labels", "manifest")),
    "target_copy", "doubled_window", "fits_on_newest", "fit_on_test", "filled_from_future",
)  # fmt: skip
PINNED: Final = {"profile": "default", "covariates": None, "season_length": None, "test_windows": None}
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Work:
    """What a run trains on, and what it is asked. columns: of the registration; cpu_s: the budget that is pinned."""

    rows: Callable[[], Rows]
    asked: dict[str, Any]
    columns: dict[str, Any] = field(default_factory=dict)
    covariates: tuple[dict[str, Any], ...] = ()
    cpu_s: float = 0.0


@dataclass(frozen=True)
class Ended:
    """How a run ended in its home. guards: status by name, as the run stored them; empty where it stored none."""

    home: Home
    engine: Engine
    run: Run
    guards: dict[str, str]

    @property
    def caught_by(self) -> list[str]:
        """The guards that found something."""
        return [name for name, status in self.guards.items() if status == "violated"]

    @property
    def alarms(self) -> list[str]:
        """What an honest training is accused of, or failed by: nothing, if all is well."""
        wrong = [f"{name} is {status}" for name, status in self.guards.items() if status not in CLEAN]
        return wrong + ([] if self.run.state in ("PASS", "FAIL") else [f"it ended {self.run.state}: {self.run.error}"])

    def holes(self, guard: str) -> list[str]:
        """What is not as it has to be where this guard catches a leak: nothing, if all is well."""
        error = self.run.error or {}
        kept = self.home.steps(self.run.run_id)
        with self.home.database.read() as connection:
            rows = {table: connection.scalar(select(func.count()).select_from(table)) for table in TABLES}
        asked = {"run_id": self.run.run_id, "dataset_id": None, "horizon": None, "future": None, "levels": (80,)}
        checks = {
            f"the run ended {self.run.state}": self.run.state == "FAILED" and self.run.result is None,
            f"the reason is {error.get('reason')}": error.get("reason") == "LEAKAGE_GUARD_VIOLATION",
            f"the error names {error.get('field')}": error.get("field") in self.caught_by[:1],
            f"the advice is {error.get('next_step')}": error.get("next_step") == MEND[error.get("field", "")],
            f"guard {guard} did not find it, {self.caught_by} did": guard in self.caught_by,
            "there is a report or a receipt": not {"report", "pack", "gate"} & kept.keys(),
            "it may be published": _refused(lambda: self.engine.shelf.prepare(self.run.run_id)),
            "it is served": _refused(lambda: self.engine.plan_inference(**asked)),
            f"the registry has rows: {rows}": not any(rows.values()),
        }
        return [what for what, holds in checks.items() if not holds]


TABLES: Final = (BundleRow, RegistryEventRow)


def _refused(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except RunFailed:
        return True
    return False


def trained(work_of: Work, folder: Path, patch: Patch, put_in: Callable[[Patch], None] | None = None) -> Ended:
    """A training from its registration to its end, in this process, with a leak in it or with none."""
    patch.setitem(BUDGETS, "small", replace(REFERENCES_ONLY, cpu_s=work_of.cpu_s))
    patch.setattr(request, "installed_extras", lambda: ())  # a network would take seconds and add nothing here
    if put_in is not None:
        put_in(patch)
    home = open_home(folder)
    engine = Engine(home.database, home.artifacts, wall_limit_s=300.0)
    data = engine.datasets.prepare_rows(
        work_of.rows(), DatasetRequest(columns=work_of.columns, covariates=work_of.covariates)
    )
    with home.database.command() as connection:
        engine.datasets.record(connection, data, now=1.0)
    plan = engine.plan_training(
        requester="test", scope=Scope(), dataset_id=data.dataset_id, **{**PINNED, **work_of.asked}
    )
    with home.database.command() as connection:
        engine.submit(connection, plan, caller="test", now=home.database.clock())
    claimed = home.claim(lease_s=300.0)
    assert claimed is not None
    work(
        claimed.run_id, claimed.epoch, database=home.database, artifacts=home.artifacts, perform=engine.perform,
        clock=home.database.clock, milestone=lambda name: None, lease_s=300.0, ended=enter_end,
    )  # fmt: skip
    return Ended(home, engine, home.run(claimed.run_id), _guards(home, claimed.run_id))


def leaked(mutant: str, folder: Path, patch: Patch) -> Ended:
    """The training with this leak."""
    put_in, of = LEAKS[mutant]
    return trained(of, folder, patch, put_in)


def _guards(home: Home, run_id: str) -> dict[str, str]:
    with home.database.read() as connection:
        digest = lease.step_artifact(connection, run_id, "guard")
    if digest is None:
        return {}
    return {guard["name"]: guard["status"] for guard in json.loads(home.artifacts.get(digest))["guards"]}


def rows_of(told: Frame | Panel) -> Rows:
    """The rows of a frame or a panel as a caller sends them."""
    names = np.repeat(np.array(told.unique_id), np.diff(told.offsets))
    rows: Rows = []
    for at, name in enumerate(names):
        stamp = int(told.ds[at]) if told.axis.kind == "integer" else time_text(int(told.ds[at]), told.axis)
        row = {"ds": stamp, "unique_id": str(name), "y": float(told.y[at])}
        for column, values in told.covariates.items():
            words = told.categories.get(column)
            row[column] = words[int(values[at])] if words else float(values[at])
        rows.append({column: value for column, value in row.items() if value == value})
    return rows


def work_on(frame: Frame | Panel, horizon: int, **more: Any) -> Work:
    """A training on these rows, every column in the role that it has there."""
    covariates = tuple({"name": name, "role": role} for name, role in frame.roles.items())
    return Work(lambda: rows_of(frame), {"horizon": horizon}, {"series": ["unique_id"]}, covariates, **more)


def work_of_case(case: Case) -> Work:
    made = work_on(case.frame, case.horizon, cpu_s=case.budget.cpu_s)
    return replace(made, asked={**made.asked, "season_length": case.season})


REVISIONS: Final = Work(revised_rows, {"horizon": 7, "label_asof": ASOF}, REVISED)
STAGGERED: Final = replace(REVISIONS, rows=staggered_rows)
WORKS: Final = {name: work_of_case(case) for name, case in CASES.items()}
MATURING: Final = replace(REVISIONS, asked={**REVISIONS.asked, "maturity_days": 10})
# Trainings without a leak, beside those with one.
HONEST: Final = {"revisions": REVISIONS, "staggered": STAGGERED, "maturing": MATURING, **WORKS}
LEAKS: Final[dict[str, tuple[Callable[[Patch], None], Work]]] = {
    **{name: (put_in, REVISIONS) for name, put_in in REVISED_RUNS.items()},
    **{name: (put_in, STAGGERED) for name, put_in in REVISED_WINDOWS.items()},
    "read_immature": (read_immature, MATURING),
    **{name: (believed, work_on(told_by(24, **columns), 24)) for name, columns in COLUMNS.items()},
    **{name: (put_in, WORKS[case]) for name, (put_in, case) in MUTANTS.items()},
}
