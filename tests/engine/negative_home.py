"""A real home with a run that passed its gate and one that failed it, to be damaged; and a check that nothing moved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gate_data import failing, passing
from label_toys import Row, revised_rows
from sqlalchemy import text

from mcp_forecast.errors import error_body, run_error
from mcp_forecast.home.opening import open_home
from mcp_forecast_engine.data.registration import DatasetRequest
from mcp_forecast_engine.engine import Engine
from mcp_forecast_engine.errors import EngineError
from mcp_forecast_engine.factory.plan import TrainingPlan
from mcp_forecast_engine.registry import lifecycle
from mcp_forecast_engine.registry.bundles import BundleRef
from mcp_forecast_engine.registry.events import Order
from mcp_forecast_engine.registry.scope import Scope
from mcp_forecast_engine.registry.shelf import Published
from mcp_forecast_engine.runtime import lease, ledger, worker
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.database import Database
from mcp_forecast_engine.store.identity import canonical_bytes

Body = dict[str, Any]
Act = Callable[[], Body]
Rows = dict[str, list[tuple[Any, ...]]]
GOOD_HORIZON: Final = 7


@dataclass(frozen=True)
class Place:
    """A home of its own for one scenario; the ids of its datasets and runs. passed, failed: what their gates said."""

    folder: Path
    database: Database
    engine: Engine
    plain: str = ""
    revised: str = ""
    passed: str = ""
    failed: str = ""

    @property
    def artifacts(self) -> ArtifactStore:
        return self.engine.artifacts

    def run(self, run_id: str) -> Run:
        with self.database.read() as connection:
            return ledger.get(connection, run_id)

    def read(self, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.artifacts.get(digest))
        return found

    def put(self, document: Any) -> str:
        return self.artifacts.put(canonical_bytes(document))

    def edit(self, statement: str, **values: Any) -> None:
        """What somebody with the database's file could do, triggers or not."""
        with self.database.command() as connection:
            named = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            for name in connection.execute(text(named)).scalars().all():
                connection.execute(text(f"DROP TRIGGER {name}"))
            connection.execute(text(statement), values)

    def register(self, rows: list[Row], **columns: Any) -> str:
        made = self.engine.datasets.prepare_rows(rows, DatasetRequest(columns=columns))
        with self.database.command() as connection:
            self.engine.datasets.record(connection, made, now=self.database.clock())
        return made.dataset_id

    def plan(self, dataset: str, **asked: Any) -> TrainingPlan:
        usual: dict[str, Any] = {
            "requester": "anna", "scope": Scope(), "horizon": GOOD_HORIZON, "profile": "default", "covariates": (),
            "season_length": None, "test_windows": None,
        }  # fmt: skip
        return self.engine.plan_training(dataset_id=dataset, **{**usual, **asked})

    def enter(self, plan: TrainingPlan) -> str:
        """Ask for the run of a plan."""
        with self.database.command() as connection:
            run, _ = self.engine.submit(connection, plan, caller="anna", now=self.database.clock())
        return run.run_id

    def work(self, run_id: str) -> Run:
        """Do the oldest queued run in this process, as a worker does; how it ended."""
        with self.database.command() as connection:
            held = lease.claim(connection, owner="here/1", lease_s=60.0, max_running=8, now=self.database.clock())
        assert held is not None
        assert held.run_id == run_id
        worker.work(
            run_id, held.epoch, database=self.database, artifacts=self.artifacts, perform=self.engine.perform,
            clock=self.database.clock, milestone=lambda name: None, lease_s=60.0, ended=lambda connection, run: None,
        )  # fmt: skip
        return self.run(run_id)

    def publish(self, run_id: str) -> Published:
        prepared = self.engine.shelf.prepare(run_id)
        with self.database.command() as connection:
            return self.engine.shelf.publish(connection, prepared, Order(actor="anna", at=self.database.clock()))

    def promote(self, ref: BundleRef, scope: Scope) -> None:
        with self.database.command() as connection:
            made = lifecycle.promote(connection, scope, ref, Order(actor="anna", at=self.database.clock()))
        assert made.changed

    def rows(self) -> Rows:
        """Every row of every table."""
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        with self.database.read() as connection:
            names = connection.execute(text(tables)).scalars().all()
            return {name: sorted(map(tuple, connection.execute(text(f"SELECT * FROM {name}"))), key=repr)
                    for name in names}  # fmt: skip

    def files(self) -> dict[str, bytes]:
        """Every file of the artifacts' folder, also unfinished ones."""
        root = self.folder / "artifacts"
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@contextmanager
def untouched(place: Place, *, but: Sequence[str] = ()) -> Iterator[None]:
    """Rows and files are the same afterwards. but: tables that may differ, "artifacts" for files that may come anew."""
    rows, files = place.rows(), place.files()
    yield
    after = place.files()
    assert {name: found for name, found in place.rows().items() if name not in but} == {
        name: found for name, found in rows.items() if name not in but
    }
    assert {name: data for name, data in after.items() if name in files} == files
    assert "artifacts" in but or not set(after) - set(files) - {".lock"}


@contextmanager
def opened(folder: Path, **ids: str) -> Iterator[Place]:
    """A home, made if there is none."""
    with closing(open_home(folder)) as database:
        yield Place(folder, database, Engine(database, ArtifactStore(folder / "artifacts"), wall_limit_s=300.0), **ids)


def made_in(folder: Path) -> dict[str, str]:
    """Make the home that scenarios copy; its ids."""
    with opened(folder) as place:
        plain = place.register(passing())
        revised = place.register(revised_rows(), series=["store"], observed="seen")
        ids = {"plain": plain, "revised": revised}
        ends = {}
        for name, dataset, state in (("passed", plain, "PASS"), ("failed", place.register(failing()), "FAIL")):
            ends[name] = place.work(place.enter(place.plan(dataset)))
            assert ends[name].state == state, ends[name].error
        return {**ids, **{name: run.run_id for name, run in ends.items()}}


@contextmanager
def copied(template: Path, ids: Mapping[str, str], to: Path) -> Iterator[Place]:
    """The same home once more, to be damaged."""
    shutil.copytree(template, to)
    with opened(to, **ids) as place:
        yield place


def told(act: Callable[[], object]) -> Body:
    """What a caller is told of a refused call."""
    try:
        act()
    except EngineError as error:
        return error_body(error, correlation_id="c")
    raise AssertionError("nothing was refused")


def told_end(place: Place, run_id: str) -> Body:
    """What a caller is told of a run that ends without a result."""
    run = place.work(run_id)
    assert (run.state, run.result) == ("FAILED", None), run.state
    assert run.error is not None
    return run_error(run.error)
