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
from mcp_forecast_engine.factory.bundle import RESULT, changed_as
from mcp_forecast_engine.factory.bundle_file import FILE, SIGNATURE, changed_file, read_file, stored_bundle
from mcp_forecast_engine.factory.bundle_folder import lay_out, scratch
from mcp_forecast_engine.factory.documents import Documents
from mcp_forecast_engine.factory.publication import Packaged, package_run, require_publishable
from mcp_forecast_engine.factory.signing import key_of, missing, require_signed, sign_folder
from mcp_forecast_engine.ports import UNSIGNED, Signing
from mcp_forecast_engine.registry import bundles, events, lifecycle
from mcp_forecast_engine.registry.active import active, require_unmoved
from mcp_forecast_engine.registry.bundles import Bundle, BundleRef
from mcp_forecast_engine.registry.events import Event, Order
from mcp_forecast_engine.registry.scope import Scope
from mcp_forecast_engine.runtime import ledger, publishing
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.database import Database


@dataclass(frozen=True)
class Signed:
    """A signature of a bundle. key: the name of whose it is; signature: the digest of its bytes."""

    key: str
    signature: str


@dataclass(frozen=True)
class Draft:
    """A publication up to its commit: the run's bundle, or why the storage could not give or take it.

    signed: None where the operator gave no key, or it signed before.
    """

    run: Run
    packaged: Packaged | None
    failure: str = ""
    signed: Signed | None = None


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
        self._sound: set[str] = set()  # whose signature was checked, by the digest of bundle.json: neither can change

    def prepare(self, run_id: str) -> Draft:
        """Read and check every file of a run and package it; no row is written.

        A storage that fails is no refusal: the commit notes it, and the same call tries again. Raises NotFound,
        RunNotReady, RunFailed, CorridorRefused.
        """
        with self._database.read() as connection:
            run = ledger.get(connection, run_id)
            on_record = bundles.of_run(connection, run_id)
        for bundle in on_record:  # packaging would write it again, as if nothing had happened to it
            read_file(FILE, bundle.manifest, self._artifacts)
        try:
            document = self._documents.trained(run)
            require_publishable(run, document)
            return self._signed(run, package_run(run, document, self._artifacts))
        except ArtifactCorrupt as error:
            raise changed_file(RESULT, error.message, str(run.result), changed_as(run, RESULT)) from error
        except StoreUnavailable as error:
            return Draft(run, None, error.message)

    def publish(self, connection: Connection, draft: Draft, order: Order) -> Published:
        """Put a draft on record and its run into PUBLISHED, or into PUBLISH_PENDING; once, however often.

        Raises CorridorRefused, RegistryConflict.
        """
        packaged, run_id = draft.packaged, draft.run.run_id
        if packaged is None:
            if ledger.get(connection, run_id).state == "PUBLISHED":  # it stands; only looking at it again failed
                raise StoreUnavailable(draft.failure)
            run = publishing.pending(connection, run_id, draft.failure)
            return Published("PUBLISH_PENDING", run, publishing.attempts(run))
        bundle, refs = _record(packaged), packaged.document["refs"]
        proof = {name: refs[name] for name in ("gate_receipt", "eval_report", "evidence_pack")}
        made = lifecycle.publish(
            connection, Scope(**packaged.document["target_scope"]), bundle,
            order.adding(run_id=run_id, judged=packaged.judged.to_dict(), **proof),
        )  # fmt: skip
        signed = None
        if draft.signed is not None:
            signed = lifecycle.sign(connection, made.event.scope, bundle.ref, order, **vars(draft.signed))
        return Published(made.status, publishing.published(connection, run_id), 0, made.bundle, made.event, signed)

    def verified(self, bundle_id: str, version: str | None) -> Bundle:
        """A published bundle that may become ACTIVE. Raises NotFound, and what `require_sound` raises."""
        with self._database.read() as connection:
            bundle = bundles.named(connection, bundle_id, version)
        self.require_sound(bundle)
        return bundle

    def verified_behind(self, scope: Scope, to: str | None, expected_token: int | None = None) -> BundleRef | None:
        """What a rollback of a scope goes back to as it stands now, looked at as `verified` does.

        None: nothing is behind, or what was named is ACTIVE already, so that nothing was looked at.
        to: a bundle by name, "id" or "id@version". Raises NotFound, RegistryConflict, the latter also where the scope
        has moved since `expected_token`, CorridorRefused.
        """
        with self._database.read() as connection:
            wanted = None if to is None else bundles.read_ref(connection, to)
            now = active(connection, scope)
            require_unmoved(connection, scope, now, expected_token)
            if wanted is not None and now.ref == wanted:
                return None
            ref = lifecycle.way_back(connection, scope, wanted)
            bundle = None if ref is None else bundles.get(connection, ref)
        if bundle is not None:
            self.require_sound(bundle)
        return ref

    def require_sound(self, bundle: Bundle) -> None:
        """Refuse a bundle that may not answer: a file was changed, or the signature that is needed is not there.

        Every file is read each time. The signature is checked once per bundle: it is over the list of the files, which
        the digest of bundle.json names; the key is that of the start. Raises CorridorRefused, StoreUnavailable.
        """
        required = self._signing.required
        if required is None or bundle.manifest in self._sound:
            stored_bundle(bundle.manifest, self._artifacts)
            return
        name = key_of(required)
        signature = self._signature(bundle.ref, name)
        if signature is None:
            raise missing(f"{bundle.ref} is not signed by the key {name}")
        with scratch() as place:
            lay_out(read_file(FILE, bundle.manifest, self._artifacts), self._artifacts, place)
            require_signed(place, signature, required)
        self._sound.add(bundle.manifest)

    def export(self, bundle: Bundle, folder: Path) -> bool:
        """Write a bundle's files into a new folder, with its newest signature; says whether there is one.

        The folder is there whole, or not at all. Raises CorridorRefused, StoreUnavailable.
        """
        signature = self._signature(bundle.ref)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as place:
                made = Path(place) / folder.name
                lay_out(read_file(FILE, bundle.manifest, self._artifacts), self._artifacts, made)
                if signature is not None:
                    (made / SIGNATURE).write_bytes(signature)
                made.rename(folder)
        except OSError as error:
            raise StoreUnavailable(
                f"cannot write {folder}: {error.strerror}", next_step="name a folder that can be made, with room in it"
            ) from error
        return signature is not None

    def _signed(self, run: Run, packaged: Packaged) -> Draft:
        """A packaged run with its signature, where the operator gave a key that has not signed it yet."""
        if self._signing.key is None:
            return Draft(run, packaged)
        key, ref = key_of(self._signing.key), BundleRef(packaged.document["bundle_id"], packaged.document["version"])
        if self._signature(ref, key) is not None:
            return Draft(run, packaged)
        with scratch() as place:
            folder = place / str(ref)  # the name that the signature gives it
            lay_out(self._artifacts.get(packaged.manifest), self._artifacts, folder)
            signature = self._artifacts.put(sign_folder(folder, self._signing.key))
        return Draft(run, packaged, signed=Signed(key, signature))

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
