"""The facade the tools call: datasets, plans, runs and their documents; numeric code is imported when first needed."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from mcp_forecast_engine.errors import NotFound, RunFailed, RunNotReady
from mcp_forecast_engine.runtime import ledger
from mcp_forecast_engine.runtime.run import Run, State
from mcp_forecast_engine.store import datasets, named_artifacts, preprocessing

if TYPE_CHECKING:
    from mcp_forecast_engine.data.registration import DatasetRequest, PreparedDataset
    from mcp_forecast_engine.factory.plan import TrainingPlan
    from mcp_forecast_engine.factory.preprocessing import PreparedPreprocessing
    from mcp_forecast_engine.models.pretrained_folder import PretrainedFolder
    from mcp_forecast_engine.runtime.job import Job
    from mcp_forecast_engine.serving.inference import Serving
    from mcp_forecast_engine.serving.plan import InferencePlan
    from mcp_forecast_engine.store.artifacts import ArtifactStore
    from mcp_forecast_engine.store.database import Database
    from mcp_forecast_engine.store.named_artifacts import NamedArtifact, Position

INLINE_SERIES: Final = 1000  # a forecast of more series is a queued run
CACHED_DOCUMENTS: Final = 64


class _OutOfTime(Exception):
    """The caller will not wait longer: the same plan is queued for a worker instead."""


class Engine:
    """Datasets, runs and forecasts of one home. Methods that take a connection run a few short statements on it."""

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        *,
        clock: Callable[[], float],
        wall_limit_s: float,
        pretrained: PretrainedFolder | None = None,
        cores: int = 1,
    ) -> None:
        """pretrained: the operator's folder of pretrained models, which only `perform` loads; plans pin it.

        cores: threads that `perform` trains on; its results are the same with any number.
        """
        self._cores = cores
        self._pretrained = pretrained
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

    # preprocessing

    def prepare_preprocessing(
        self, dataset_id: str, *, steps: list[dict[str, Any]] | None, by_id: str | None, season_length: int | None
    ) -> PreparedPreprocessing:
        """Apply steps (the default ones if neither they nor an id is given) to a dataset and store the report.

        Raises NotFound, DataInvalid, ArtifactCorrupt.
        """
        from mcp_forecast_engine.data.steps import DEFAULT_STEPS, steps_from_dicts
        from mcp_forecast_engine.factory.preprocessing import prepare_preprocessing

        given = None if steps is None else steps_from_dicts(steps)
        with self._database.read() as connection:
            summary = datasets.summary(connection, dataset_id)
            if by_id is not None:
                given = steps_from_dicts(preprocessing.steps(connection, by_id))
        return prepare_preprocessing(summary, DEFAULT_STEPS if given is None else given, season_length, self.artifacts)

    def record_preprocessing(self, connection: Connection, prepared: PreparedPreprocessing, *, now: float) -> bool:
        """Give the steps their name and enter the report; False when they had the name before."""
        preprocessing.record_report(
            connection, dataset_id=prepared.dataset_id, preprocessing_id=prepared.preprocessing_id,
            season_length=prepared.shape.season_length, artifact=prepared.artifact, now=now,
        )  # fmt: skip
        return preprocessing.record(connection, prepared.preprocessing_id, prepared.steps, now=now)

    # plans

    def plan_training(self, **asked: Any) -> TrainingPlan:
        """Pin a training request (arguments of `factory.request.resolve`). Raises NotFound and what cannot train."""
        from mcp_forecast_engine.data.steps import DEFAULT_STEPS, steps_from_dicts
        from mcp_forecast_engine.factory.request import resolve

        steps, by_id = DEFAULT_STEPS, asked.get("preprocessing_id")
        shown: list[int] = []
        with self._database.read() as connection:
            summary = datasets.summary(connection, asked["dataset_id"])
            if by_id is not None:
                steps = steps_from_dicts(preprocessing.steps(connection, by_id))
                shown = preprocessing.seasons(connection, dataset_id=asked["dataset_id"], preprocessing_id=by_id)
        return resolve(summary, self.artifacts, steps=steps, seasons=shown, pretrained=self._pretrained, **asked)

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
        """The plan with its forecast, or as it was: too many series, no time, or a model that only a worker runs."""

        def told(done: int, total: int, text: str) -> None:
            if should_stop():
                raise _OutOfTime

        if plan.series_count > INLINE_SERIES or should_stop() or not self._serving().inline(plan.body):
            return plan
        try:
            made = self._serving().document(plan.body, told)
        except _OutOfTime:
            return plan
        digest = self.artifacts.put(made)
        self._keep(digest, json.loads(made))  # the commit shows it, and must not read it from disk
        return replace(plan, result=digest)

    # runs

    def submit(
        self, connection: Connection, plan: TrainingPlan | InferencePlan, *, caller: str, now: float
    ) -> tuple[Run, bool]:
        """Put a plan into the ledger, or find the run that is the same; one computed inline is entered as finished.

        The bool tells whether this is a new run or attempt.
        """
        asked: dict[str, Any] = {
            "run_id": plan.run_id, "run_key": plan.run_key, "kind": plan.kind, "plan": plan.body, "caller": caller,
        }  # fmt: skip
        if plan.result is not None:
            return ledger.record_finished(connection, **asked, result=plan.result, now=now)
        return ledger.submit(connection, **asked, wall_limit_s=self._wall_limit_s, now=now)

    def has_run(self, connection: Connection, plan: TrainingPlan | InferencePlan) -> bool:
        """Whether the run of this plan was asked for before."""
        return ledger.find(connection, plan.run_id) is not None

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

    def details(self, run: Run) -> dict[str, Any]:
        """The same with all that is behind it: the pinned plan and, of a training run, evaluation and preprocessing
        report as stored. Raises ArtifactCorrupt."""
        from mcp_forecast_engine.factory.evidence import evidence, shown

        key = _details_of(run)
        with self._lock:
            known = self._documents.get(key)
        document = self.document(run)
        return known or self._keep(key, {**document, **shown(evidence(document, self.artifacts)), "plan": run.plan})

    def compare(self, run_ids: Sequence[str]) -> dict[str, Any]:
        """SUCCEEDED training runs side by side, the first as the baseline (`factory.comparing`).

        Raises NotFound, RunNotReady, RunFailed, ArtifactCorrupt.
        """
        from mcp_forecast_engine.factory.comparing import TrainedRun, compare_runs
        from mcp_forecast_engine.factory.evidence import evidence

        with self._database.read() as connection:
            runs = [self.run(connection, run_id) for run_id in run_ids]
        found = []
        for run in runs:
            document = self._trained(run, field="run_ids")
            evaluation = evidence(document, self.artifacts)["evaluation"]
            found.append(TrainedRun(run.run_id, run.plan, document, evaluation))
        return compare_runs(found)

    # artifacts

    def artifacts_page(
        self, connection: Connection, *, wanted: Mapping[str, str], after: Position | None, limit: int
    ) -> tuple[list[NamedArtifact], int]:
        """Artifacts that rows name, newest first, after a position, and how many there are.

        wanted: values of run_id, dataset_id or name, all of which must hold.
        """
        found = named_artifacts.page(connection, wanted=wanted, after=after, limit=limit)
        return found, named_artifacts.total(connection, wanted=wanted)

    def artifact(self, digest: str) -> tuple[NamedArtifact, bytes]:
        """An artifact by digest, verified, and the newest row that names it. Raises NotFound, ArtifactCorrupt."""
        with self._database.read() as connection:
            found = named_artifacts.named(connection, digest)
        return found, self.artifacts.get(digest)

    def has_document(self, run: Run, *, detailed: bool = False) -> bool:
        """Whether the result document (or all its details) is at hand, so that reading it costs nothing."""
        with self._lock:
            return (_details_of(run) if detailed else run.result) in self._documents

    def reopens(self, run: Run) -> bool:
        """Whether asking for this run again starts a new attempt."""
        return run.reopens_within(self._wall_limit_s)

    def perform(self, job: Job) -> bytes:
        """The work of a run, in its worker process; returns the result document's bytes."""
        from mcp_forecast_engine.models.pretrained_folder import PretrainedFolder, reading_from

        folder = self._pretrained or PretrainedFolder(None)
        if job.run.kind == "training":
            folder = folder.pinned(job.run.plan.get("pretrained", {}))
        with reading_from(folder):
            if job.run.kind == "training":
                from mcp_forecast_engine.factory.execution import train

                return train(job, self.artifacts, cores=self._cores)
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

    def _trained(self, run: Run, *, field: str = "run_id") -> dict[str, Any]:
        if run.kind != "training":
            raise NotFound(
                f"{run.run_id} is an {run.kind} run, not a training run",
                field=field,
                allowed="a SUCCEEDED training run",
            )
        if run.state == "SUCCEEDED":
            return self.document(run)
        if run.ended:
            raise RunFailed(f"{run.run_id} ended as {run.state}", field=field, next_step="get_run_status says why")
        raise RunNotReady(f"{run.run_id} is {run.state}", field=field, next_step="wait with get_run_status")


def _details_of(run: Run) -> str:
    return f"details of {run.result}"
