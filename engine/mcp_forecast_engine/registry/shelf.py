"""Runs become bundles, and bundles are found and checked: what the tools ask of the registry, with its files.

The functions of this room know rows; here they meet the store, so that nothing is published, promoted or served whose
bytes are not those that were packaged.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection

from mcp_forecast_engine.errors import ArtifactCorrupt, StoreUnavailable
from mcp_forecast_engine.factory.bundle import FILE, RESULT, changed_file, read_file, stored_bundle
from mcp_forecast_engine.factory.bundle_folder import SIGNATURE, lay_out
from mcp_forecast_engine.factory.documents import Documents
from mcp_forecast_engine.factory.publication import Packaged, package_run, require_publishable
from mcp_forecast_engine.factory.signing import invalid, key_of, require_signed, sign_folder
from mcp_forecast_engine.ports import UNSIGNED, Signing
from mcp_forecast_engine.registry import bundles, events, lifecycle
from mcp_forecast_engine.registry.active import active
from mcp_forecast_engine.registry.bundles import Bundle, BundleRef
from mcp_forecast_engine.registry.events import Event, Order
from mcp_forecast_engine.registry.scope import Scope
from mcp_forecast_engine.runtime import ledger, publishing
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.database import Database


@dataclass(frozen=True)
class Prepared:
    """A publication up to its commit: the run's bundle, or why the storage could not give or take it.

    signature: digest of what signs it, and the key's name; empty where the operator gave no key, or it signed before.
    """

    run: Run
    packaged: Packaged | None
    failure: str = ""
    signature: str = ""
    key: str = ""


@dataclass(frozen=True)
class Published:
    """How a publication ended. attempts: that failed in the storage, so far; bundle and event: None while pending.

    signed: the event that entered its signature, where this publication brought one.
    """

    status: Literal["PUBLISHED", "ALREADY_PUBLISHED", "PUBLISH_PENDING"]
    run: Run
    attempts: int = 0
    bundle: Bundle | None = None
    event: Event | None = None
    signed: Event | None = None

    @property
    def attempts_left(self) -> int:
        """How often it may be tried again."""
        return max(0, publishing.MOST_ATTEMPTS - self.attempts)


class Shelf:
    """The bundles of one home, with their files."""

    def __init__(
        self, database: Database, artifacts: ArtifactStore, documents: Documents, signing: Signing = UNSIGNED
    ) -> None:
        self._database, self._artifacts, self._documents, self._signing = database, artifacts, documents, signing

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
            return self._signed(run, package_run(run, document, self._artifacts))
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
        signed = None
        if prepared.signature:
            signed = lifecycle.sign(
                connection, made.event.scope, bundle.ref, order, key=prepared.key, signature=prepared.signature
            )
        return Published(made.status, publishing.published(connection, run_id), 0, made.bundle, made.event, signed)

    def verified(self, bundle_id: str, version: str | None) -> Bundle:
        """A published bundle that may become ACTIVE. Raises NotFound, and what `require_sound` raises."""
        with self._database.read() as connection:
            bundle = bundles.named(connection, bundle_id, version)
        self.require_sound(bundle)
        return bundle

    def verified_behind(self, scope: Scope, to: str | None) -> BundleRef | None:
        """What a rollback of a scope goes back to as it stands now, looked at as `verified` does; None: nothing.

        to: a bundle by name, "id" or "id@version". Raises NotFound, RegistryConflict, CorridorRefused.
        """
        with self._database.read() as connection:
            wanted = None if to is None else bundles.read_ref(connection, to)
            if wanted is not None and active(connection, scope).ref == wanted:
                return wanted
            ref = lifecycle.way_back(connection, scope, wanted)
            bundle = None if ref is None else bundles.get(connection, ref)
        if bundle is not None:
            self.require_sound(bundle)
        return ref

    def require_sound(self, bundle: Bundle) -> None:
        """Refuse a bundle that may not become ACTIVE: a file was changed, or the signature that is needed is not there.

        Raises CorridorRefused, StoreUnavailable.
        """
        self.require_whole(bundle)
        if self._signing.required is None:
            return
        name = key_of(self._signing.required)
        signature = self._signature(bundle.ref, name)
        if signature is None:
            raise invalid(f"{bundle.ref} is not signed by the key {name}")
        with tempfile.TemporaryDirectory() as place:
            lay_out(self._artifacts.get(bundle.manifest), self._artifacts, Path(place))
            require_signed(Path(place), signature, self._signing.required)

    def export(self, bundle: Bundle, folder: Path) -> bool:
        """Write a bundle's files into an empty folder, with its newest signature; says whether there is one.

        Raises CorridorRefused, StoreUnavailable.
        """
        lay_out(read_file(FILE, bundle.manifest, self._artifacts), self._artifacts, folder)
        signature = self._signature(bundle.ref)
        if signature is not None:
            (folder / SIGNATURE).write_bytes(signature)
        return signature is not None

    def require_whole(self, bundle: Bundle) -> None:
        """Every file of a bundle is as it was packaged. Raises CorridorRefused by the file's name, StoreUnavailable."""
        stored_bundle(bundle.manifest, self._artifacts)

    def _signed(self, run: Run, packaged: Packaged) -> Prepared:
        """A packaged run with its signature, where the operator gave a key that has not signed it yet."""
        if self._signing.key is None:
            return Prepared(run, packaged)
        key, ref = key_of(self._signing.key), BundleRef(packaged.document["bundle_id"], packaged.document["version"])
        if self._signature(ref, key) is not None:
            return Prepared(run, packaged)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / str(ref)  # the name that the signature gives it
            lay_out(self._artifacts.get(packaged.manifest), self._artifacts, folder)
            signature = self._artifacts.put(sign_folder(folder, self._signing.key))
        return Prepared(run, packaged, signature=signature, key=key)

    def _signature(self, ref: BundleRef, key: str | None = None) -> bytes | None:
        """The newest signature of a bundle, or that of one key. Raises CorridorRefused where it was changed."""
        with self._database.read() as connection:
            made = [one.evidence for one in events.signatures(connection, ref) if key in (None, one.evidence["key"])]
        return read_file(SIGNATURE, made[-1]["signature"], self._artifacts) if made else None


def _record(packaged: Packaged) -> Bundle:
    document = packaged.document
    return Bundle(
        bundle_id=document["bundle_id"], version=document["version"], kind=document["kind"], run_id=packaged.run_id,
        manifest=packaged.manifest, compatibility=document["compatibility"], gate_decision="PASS",
        gate_receipt=document["refs"]["gate_receipt"],
    )  # fmt: skip
