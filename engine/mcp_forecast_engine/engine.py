"""The facade the tools call: datasets, plans, runs and their documents; numeric code is imported when first needed."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from mcp_forecast_engine.errors import NotFound, RunFailed, RunNotReady
from mcp_forecast_engine.runtime import ledger
from mcp_forecast_engine.runtime.run import Run, State
from mcp_forecast_engine.store import datasets

if TYPE_CHECKING:
    from mcp_forecast_engine.data.registration import DatasetRequest, PreparedDataset
    from mcp_forecast_engine.factory.plan import TrainingPlan
    from mcp_forecast_engine.runtime.job import Job
    from mcp_forecast_engine.serving.inference import Serving
    from mcp_forecast_engine.serving.plan import InferencePlan
    from mcp_forecast_engine.store.artifacts import ArtifactStore
    from mcp_forecast_engine.store.database import Database

INLINE_SERIES: Final = 1000  # a forecast of more series is a queued run
CACHED_DOCUMENTS: Final = 64


class _OutOfTime(Exception):
    """The caller will not wait longer: the same plan is queued for a worker instead."""


class Engine:
    """Datasets, runs and forecasts of one home. Methods that take a connection run a few short statements on it."""

    def __init__(
        self, database: Database, artifacts: ArtifactStore, *, clock: Callable[[], float], wall_limit_s: float
    ) -> None:
        self._database, self.artifacts, self._clock, self._wall_limit_s = database, artifacts, clock, wall_limit_s
        self._documents: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._served_by: Serving | None = None
        self._lock = threading.Lock()

    # datasets

    def prepare_file(self, data: bytes, path: str, request: DatasetRequest) -> PreparedDataset:
        """Read a file's bytes into a stored dataset that no row names yet. Raises DataInvalid and its kinds."""
        from mcp_forecast_engine.data.registration import from_file

        return from_file(data, path, request, self.artifacts)

    def prepare_rows(self, rows: list[dict[str, Any]], request: DatasetRequest) -> PreparedDataset:
        """The same for inline rows."""
        from mcp_forecast_engine.data.registration import from_rows

        return from_rows(rows, request, self.artifacts)

    def record_dataset(self, connection: Connection, prepared: PreparedDataset, *, now: float) -> bool:
        """Give a prepared dataset its row; False when it was registered before."""
        return datasets.record(connection, prepared.dataset_id, prepared.digest, prepared.summary, now=now)

    def dataset_summary(self, connection: Connection, dataset_id: str) -> dict[str, Any]:
        """What was found in a dataset. Raises NotFound."""
        return datasets.summary(connection, dataset_id)

    def series_page(self, summary: dict[str, Any], *, after: int, limit: int) -> tuple[list[dict[str, Any]], int]:
        """Series `after` … `after + limit` of a dataset and how many there are. Raises ArtifactCorrupt."""
        from mcp_forecast_engine.data.dataset import decode
        from mcp_forecast_engine.data.listing import series_lines

        frame = decode(self.artifacts.get(summary["digest"])).frame
        return series_lines(frame, first=after, count=limit), len(frame.unique_id)

    # plans

    def plan_training(self, **asked: Any) -> TrainingPlan:
        """Pin a training request (arguments of `factory.request.resolve`). Raises NotFound and what cannot train."""
        from mcp_forecast_engine.factory.request import resolve

        with self._database.read() as connection:
            summary = datasets.summary(connection, asked["dataset_id"])
        return resolve(summary, **asked)

    def plan_inference(self, **asked: Any) -> InferencePlan:
        """Pin a forecast request (arguments of `serving.request.resolve`). Raises NotFound, RunNotReady, RunFailed."""
        from mcp_forecast_engine.serving.request import resolve

        with self._database.read() as connection:
            trained = self.run(connection, asked["run_id"])
        document = self._trained(trained)
        with self._database.read() as connection:
            summary = datasets.summary(connection, asked["dataset_id"] or trained.plan["dataset_id"])
        return resolve(trained, document, summary, self.artifacts, **asked)

    def try_inline(self, plan: InferencePlan, *, should_stop: Callable[[], bool]) -> InferencePlan:
        """The plan with its forecast, or as it was when there are too many series or no time."""

        def told(done: int, total: int, text: str) -> None:
            if should_stop():
                raise _OutOfTime

        if plan.series_count > INLINE_SERIES or should_stop():
            return plan
        try:
            made = self._serving().document(plan.body, told)
        except _OutOfTime:
            return plan
        digest = self.artifacts.put(made)
        document = self._keep(digest, json.loads(made))  # the commit shows it, and must not read it from disk
        found = tuple(text for text in document["warnings"] if text not in plan.warnings)
        return replace(plan, result=digest, warnings=(*plan.warnings, *found))

    # runs

    def submit(self, connection: Connection, plan: TrainingPlan | InferencePlan, *, caller: str, now: float) -> Run:
        """Put a plan into the ledger, or find the run that is the same; one computed inline is entered as finished."""
        asked: dict[str, Any] = {
            "run_id": plan.run_id, "run_key": plan.run_key, "kind": plan.kind, "plan": plan.body, "caller": caller,
        }  # fmt: skip
        if plan.result is not None:
            return ledger.record_finished(connection, **asked, result=plan.result, now=now)
        return ledger.submit(connection, **asked, wall_limit_s=self._wall_limit_s, now=now)[0]

    def run(self, connection: Connection, run_id: str) -> Run:
        """A run as it is now. Raises NotFound."""
        return ledger.get(connection, run_id)

    def cancel(self, connection: Connection, run_id: str, *, now: float) -> Run:
        """Cancel a run. Raises NotFound."""
        return ledger.request_cancel(connection, run_id, now)

    def runs_page(
        self, connection: Connection, kind: str | None, state: State | None, after: tuple[float, str] | None, limit: int
    ) -> list[Run]:
        """Runs, newest first, after a position (created_at, run_id)."""
        return ledger.page(connection, kind, state, after, limit)

    def runs_total(self, connection: Connection, kind: str | None, state: State | None) -> int:
        """How many runs there are of a kind and state."""
        return ledger.total(connection, kind, state)

    def run_counts(self, connection: Connection) -> dict[str, int]:
        """How many runs are in each state."""
        return {str(state): number for state, number in ledger.counts(connection).items()}

    def document(self, run: Run) -> dict[str, Any]:
        """The result document of a finished run, verified when read from disk. Raises ArtifactCorrupt."""
        assert run.result is not None
        with self._lock:
            known = self._documents.get(run.result)
        if known is None:
            known = self._keep(run.result, json.loads(self.artifacts.get(run.result)))
        return known

    def has_document(self, run: Run) -> bool:
        """Whether the result document is at hand, so that reading it costs nothing."""
        with self._lock:
            return run.result in self._documents

    def reopens(self, run: Run) -> bool:
        """Whether asking for this run again starts a new attempt."""
        return run.reopens_within(self._wall_limit_s)

    def perform(self, job: Job) -> bytes:
        """The work of a run, in its worker process; returns the result document's bytes."""
        if job.run.kind == "training":
            from mcp_forecast_engine.factory.execution import train

            return train(job, self.artifacts)
        return self._serving().infer(job)

    def _serving(self) -> Serving:
        with self._lock:
            if self._served_by is None:
                from mcp_forecast_engine.serving.inference import Serving

                self._served_by = Serving(self.artifacts)
            return self._served_by

    def _keep(self, digest: str, document: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self._documents[digest] = document
            while len(self._documents) > CACHED_DOCUMENTS:
                self._documents.popitem(last=False)
        return document

    def _trained(self, run: Run) -> dict[str, Any]:
        if run.kind != "training":
            raise NotFound(
                f"{run.run_id} is an {run.kind} run, not a training run",
                field="run_id",
                allowed="a SUCCEEDED training run",
            )
        if run.state == "SUCCEEDED":
            return self.document(run)
        if run.ended:
            raise RunFailed(f"{run.run_id} ended as {run.state}", field="run_id", next_step="get_run_status says why")
        raise RunNotReady(f"{run.run_id} is {run.state}", field="run_id", next_step="wait with get_run_status")
