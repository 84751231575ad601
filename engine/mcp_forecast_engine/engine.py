"""The facade the tools call: plans and runs, and the parts of a home; numeric code is imported when first needed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.factory.datasets import Datasets
from mcp_forecast_engine.factory.documents import Documents
from mcp_forecast_engine.ports import UNSIGNED, Signing
from mcp_forecast_engine.runtime import lease, ledger
from mcp_forecast_engine.runtime.run import Run, State
from mcp_forecast_engine.store import datasets, named_artifacts, train_requests

if TYPE_CHECKING:
    from mcp_forecast_engine.factory.governance import GovernanceProfile
    from mcp_forecast_engine.factory.lineage import Node
    from mcp_forecast_engine.factory.plan import Champion, TrainingPlan
    from mcp_forecast_engine.models.pretrained_folder import PretrainedFolder
    from mcp_forecast_engine.registry.policy import RegistryPolicy
    from mcp_forecast_engine.registry.scope import Scope
    from mcp_forecast_engine.registry.shelf import Shelf
    from mcp_forecast_engine.runtime.job import Job
    from mcp_forecast_engine.serving.inference import Serving
    from mcp_forecast_engine.serving.plan import InferencePlan
    from mcp_forecast_engine.serving.served import Source
    from mcp_forecast_engine.store.artifacts import ArtifactStore
    from mcp_forecast_engine.store.database import Database
    from mcp_forecast_engine.store.named_artifacts import NamedArtifact, Position

INLINE_SERIES: Final = 1000  # a forecast of more series is a queued run


class Engine:
    """Plans and runs of one home, its `datasets`, its `documents` and the `shelf` of its bundles.

    Methods that take a connection run a few short statements on it.
    """

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        *,
        wall_limit_s: float,
        pretrained: PretrainedFolder | None = None,
        cores: int = 1,
        signing: Signing = UNSIGNED,
        governance: Mapping[str, GovernanceProfile] | None = None,
    ) -> None:
        """pretrained: the operator's folder of pretrained models, which only `perform` loads; plans pin it.

        signing: whose key signs bundles, and whose is needed. governance: profiles that a gate may judge by; None: the
        engine's own.

        cores: threads that `perform` trains on; its results are the same with any number.
        """
        self._cores, self._pretrained, self._signing = cores, pretrained, signing
        self._governance = governance
        self._database, self.artifacts, self._wall_limit_s = database, artifacts, wall_limit_s
        self.datasets, self.documents = Datasets(database, artifacts), Documents(artifacts)
        self._served_by: Serving | None = None
        self._shelf: Shelf | None = None
        self._lock = threading.Lock()

    # plans

    def plan_training(self, *, requester: str, scope: Scope, governance: str = "default", **asked: Any) -> TrainingPlan:
        """Pin a training request (fields of `factory.request.Asked`). Raises NotFound and what cannot train.

        scope: what a bundle is meant for; its ACTIVE bundle is what the new model is measured against, unless it is the
        same work. governance: name of the profile that judges.
        """
        from mcp_forecast_engine.factory.governance import built_in, profile_named
        from mcp_forecast_engine.factory.plan import Wanted
        from mcp_forecast_engine.factory.request import Asked, resolve
        from mcp_forecast_engine.factory.train_request import Provenance, TargetScope
        from mcp_forecast_engine.registry.champion import champion_for

        summary, steps, seasons = self.datasets.with_steps(asked["dataset_id"], asked.get("preprocessing_id"))

        def champion(work_key: str) -> Champion | None:
            with self._database.read() as connection:
                return champion_for(connection, self.documents, scope, work_key)

        target, provenance = TargetScope(**scope.to_dict()), Provenance(requester=requester)
        wanted = Wanted(target, profile_named(governance, self._governance or built_in()), champion, provenance)
        return resolve(
            summary, self.artifacts, Asked(**asked), steps=steps, seasons=seasons, pretrained=self._pretrained,
            wanted=wanted,
        )  # fmt: skip

    def plan_inference(self, source: Source | None = None, **asked: Any) -> InferencePlan:
        """Pin a forecast request (arguments of `serving.request.resolve`).

        source: where its model comes from; None: the run that `run_id` names. All files of a bundle are
        checked, and its signature where one is required.

        Raises NotFound, RunNotReady, RunFailed, BundleIncompatible, CorridorRefused.
        """
        from mcp_forecast_engine.serving.request import require_known_levels, resolve
        from mcp_forecast_engine.serving.served import BY_RUN, find, needs_of

        require_known_levels(asked["levels"])
        with self._database.read() as connection:
            data = asked["dataset_id"] and datasets.summary(connection, asked["dataset_id"])
            needs = needs_of(asked["horizon"], asked["levels"], data or None)
            served = BY_RUN if source is None else find(connection, source, needs)
            trained = self.run(connection, asked["run_id"] if served.bundle is None else served.bundle.run_id)
        if served.bundle is not None:
            self.shelf.require_sound(served.bundle)
        document = self.documents.trained(trained)
        with self._database.read() as connection:
            summary = data or datasets.summary(connection, trained.plan["dataset_id"])
        return resolve(trained, document, summary, self.artifacts, served=served, **asked)

    def try_inline(self, plan: InferencePlan, *, should_stop: Callable[[], bool]) -> InferencePlan:
        """The plan with its forecast, or as it was: too many series, no time, or a model that only a worker runs."""
        if plan.series_count > INLINE_SERIES or should_stop():
            return plan
        made = self._serving().document_in_time(plan.body, should_stop)
        if made is None:
            return plan
        digest = self.artifacts.put(made)
        self.documents.keep(digest, json.loads(made))  # the commit shows it, and must not read it from disk
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
        if plan.kind == "training":
            self._enter_request(connection, plan, now)
        if plan.result is not None:
            return ledger.record_finished(connection, **asked, result=plan.result, now=now)
        return ledger.submit(connection, **asked, wall_limit_s=self._wall_limit_s, now=now)

    def _enter_request(self, connection: Connection, plan: Any, now: float) -> None:
        told = plan.request.provenance.model_dump()
        train_requests.record(connection, plan.request.train_request_id, run_id=plan.run_id, **told, now=now)

    def has_run(self, connection: Connection, plan: TrainingPlan | InferencePlan) -> bool:
        """Whether the run of this plan was asked for before."""
        return ledger.find(connection, plan.run_id) is not None

    def run(self, connection: Connection, run_id: str) -> Run:
        """A run as it is now. Raises NotFound."""
        return ledger.get(connection, run_id)

    def costs(self, run: Run) -> dict[str, float]:
        """CPU seconds that a finished training measured, by model; empty where it measured nothing."""

        def find() -> str | None:
            with self._database.read() as connection:
                return lease.step_artifact(connection, run.run_id, named_artifacts.COSTS)

        return self.documents.costs(run, find)

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

    def compare(self, run_ids: Sequence[str]) -> dict[str, Any]:
        """Finished training runs side by side, the first as the baseline (`factory.comparing`). Raises NotFound,
        RunNotReady, RunFailed, ArtifactCorrupt."""
        from mcp_forecast_engine.factory.comparing import compare_runs, read_trained

        with self._database.read() as connection:
            runs = [self.run(connection, run_id) for run_id in run_ids]
        return compare_runs(read_trained(runs, self.documents, self.artifacts))

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
        try:
            return found, self.artifacts.get(digest)
        except ArtifactCorrupt as error:
            raise ArtifactCorrupt(f"{found.name}: {error.message}", next_step=error.next_step) from error

    def lineage(self, ref: str, *, touched: str = "") -> list[Node]:
        """What `ref` names, and all that it was made from (`serving.lineage`). Raises NotFound."""
        from mcp_forecast_engine.serving.lineage import lineage

        return lineage(self._database.read, self.documents, ref, touched=touched)

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
                from mcp_forecast_engine.serving.examine import examine

                return train(job, self.artifacts, examine=examine, cores=self._cores)
            return self._serving().infer(job)

    @property
    def shelf(self) -> Shelf:
        """The bundles of this home, with their files."""
        from mcp_forecast_engine.registry.shelf import Shelf

        with self._lock:
            self._shelf = self._shelf or Shelf(self._database, self.artifacts, self.documents, self._signing)
            return self._shelf

    @property
    def registry_policy(self) -> RegistryPolicy:
        """What the registry's changes are held against: its own policy, and where the operator's profiles lead to."""
        from mcp_forecast_engine.registry.policy import default_policy, with_profiles

        return with_profiles(default_policy(), (self._governance or {}).values())

    def _serving(self) -> Serving:
        from mcp_forecast_engine.serving.inference import Serving

        with self._lock:
            self._served_by = self._served_by or Serving(self.artifacts)
            return self._served_by
