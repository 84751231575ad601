"""Runs become bundles, and bundles are found and checked: what the tools ask of the registry, with its files.

The functions of this room know rows; here they meet the store, so that nothing is published, promoted or served whose
bytes are not those that were packaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from mcp_forecast_engine.errors import ArtifactCorrupt, StoreUnavailable
from mcp_forecast_engine.factory.bundle import RESULT, changed_file, stored_bundle
from mcp_forecast_engine.factory.documents import Documents
from mcp_forecast_engine.factory.publication import Packaged, package_run, require_publishable
from mcp_forecast_engine.registry import bundles, lifecycle
from mcp_forecast_engine.registry.bundles import Bundle
from mcp_forecast_engine.registry.events import Event, Order
from mcp_forecast_engine.registry.scope import Scope
from mcp_forecast_engine.runtime import ledger, publishing
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.database import Database


@dataclass(frozen=True)
class Prepared:
    """A publication up to its commit: the run's bundle, or why the storage could not give or take it."""

    run: Run
    packaged: Packaged | None
    failure: str = ""


@dataclass(frozen=True)
class Published:
    """How a publication ended. attempts: that failed in the storage, so far; bundle and event: None while pending."""

    status: Literal["PUBLISHED", "ALREADY_PUBLISHED", "PUBLISH_PENDING"]
    run: Run
    attempts: int = 0
    bundle: Bundle | None = None
    event: Event | None = None

    @property
    def attempts_left(self) -> int:
        """How often it may be tried again."""
        return max(0, publishing.MOST_ATTEMPTS - self.attempts)


class Shelf:
    """The bundles of one home, with their files."""

    def __init__(self, database: Database, artifacts: ArtifactStore, documents: Documents) -> None:
        self._database, self._artifacts, self._documents = database, artifacts, documents

    def prepare(self, run_id: str) -> Prepared:
        """Read and check every file of a run and package it; no row is written.

        A storage that fails is no refusal: the commit notes it, and the same call tries again. Raises NotFound,
        RunNotReady, RunFailed, CorridorRefused.
        """
        with self._database.read() as connection:
            run = ledger.get(connection, run_id)
        try:
            document = self._documents.trained(run)
            require_publishable(run, document)
            return Prepared(run, package_run(run, document, self._artifacts))
        except ArtifactCorrupt as error:
            raise changed_file(RESULT, error.message, str(run.result)) from error
        except StoreUnavailable as error:
            return Prepared(run, None, error.message)

    def publish(self, connection: Connection, prepared: Prepared, order: Order) -> Published:
        """Put a prepared bundle on record and its run into PUBLISHED, or into PUBLISH_PENDING; once, however often.

        Raises CorridorRefused, RegistryConflict.
        """
        packaged, run_id = prepared.packaged, prepared.run.run_id
        if packaged is None:
            if ledger.get(connection, run_id).state == "PUBLISHED":  # it stands; only looking at it again failed
                raise StoreUnavailable(prepared.failure)
            run = publishing.pending(connection, run_id, prepared.failure)
            return Published("PUBLISH_PENDING", run, publishing.attempts(run))
        bundle, refs = _record(packaged), packaged.document["refs"]
        proof = {name: refs[name] for name in ("gate_receipt", "eval_report", "evidence_pack")}
        made = lifecycle.publish(
            connection, Scope(**packaged.document["target_scope"]), bundle, order.adding(run_id=run_id, **proof)
        )
        return Published(made.status, publishing.published(connection, run_id), 0, made.bundle, made.event)

    def verified(self, bundle_id: str, version: str | None) -> Bundle:
        """A published bundle whose files are all as they were packaged. Raises NotFound, CorridorRefused."""
        with self._database.read() as connection:
            bundle = bundles.named(connection, bundle_id, version)
        self.require_whole(bundle)
        return bundle

    def require_whole(self, bundle: Bundle) -> None:
        """Every file of a bundle is as it was packaged. Raises CorridorRefused by the file's name, StoreUnavailable."""
        stored_bundle(bundle.manifest, self._artifacts)


def _record(packaged: Packaged) -> Bundle:
    document = packaged.document
    return Bundle(
        bundle_id=document["bundle_id"], version=document["version"], kind=document["kind"], run_id=packaged.run_id,
        manifest=packaged.manifest, compatibility=document["compatibility"], gate_decision="PASS",
        gate_receipt=document["refs"]["gate_receipt"],
    )  # fmt: skip
