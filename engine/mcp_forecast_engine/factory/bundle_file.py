"""A bundle.json: read, named by its content, and held against its files and the receipt of its gate."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from mcp_forecast_engine.errors import ArtifactCorrupt, CorridorRefused
from mcp_forecast_engine.factory.shapes import BundleShape, ReceiptShape, Shape, fault
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import digest, short_id

SCHEMA: Final = "bundle.v1"
BUNDLE_RECIPE: Final = "bundle_id.v1"
VERSION_RECIPE: Final = "bundle_version.v1"
FILE: Final = "bundle.json"
RECEIPT: Final = "gate_receipt.json"
SIGNATURE: Final = "model.sig"  # where model_signing looks for it; no file of the bundle
PACKAGE: Final = "BUNDLE_PACKAGE_IMMUTABILITY_VIOLATION"
# The documents that it names are files of it.
_LISTED: Final = (
    "train_build_request", "resolved_plan", "eval_report", "evidence_pack", "gate_receipt", "training_config",
    "governance_profile",
)  # fmt: skip
# What the bundle's name is made of (systems.md 1.3); its version is made of this name and the two revisions. The
# receipt names the model and all evidence by digest, so that the name binds them. Outside it stand `kind`,
# `compatibility`, `target_scope`, the request's provenance, the run's result (`refs.run`) and the Core ML files: a home
# binds them by the digest of bundle.json, which the registry's row and event name, a folder by its signature.
NAMED_BY: Final = (
    "run_key", "dataset_manifests", "training_config", "governance_profile", "eval_report", "gate_receipt",
)  # fmt: skip


def verify_bundle(data: bytes, artifacts: ArtifactStore) -> dict[str, Any]:
    """The document of a bundle whose name follows from its evidence, and whose files are all as they were packaged.

    Raises CorridorRefused with the name of the first file that is not, and StoreUnavailable.
    """
    bundle = bound_bundle(data, artifacts)
    for file in bundle["files"]:
        read_listed(file, artifacts)
    return bundle


def stored_bundle(manifest: str, artifacts: ArtifactStore) -> dict[str, Any]:
    """The same from the digest of the bundle.json that a record names. Raises CorridorRefused, StoreUnavailable."""
    return verify_bundle(read_file(FILE, manifest, artifacts), artifacts)


def bound_bundle(data: bytes, artifacts: ArtifactStore) -> dict[str, Any]:
    """The document of a bundle.json whose files are those that its gate judged; only the receipt is read.

    Raises CorridorRefused, StoreUnavailable.
    """
    bundle = read_bundle_file(data)
    require_bound(bundle, read_file(RECEIPT, bundle["refs"]["gate_receipt"], artifacts))
    return bundle


def read_bundle_file(data: bytes) -> dict[str, Any]:
    """The document of a bundle.json that has every field, and the name that follows from its refs and revisions.

    Its files are not read. Raises CorridorRefused.
    """
    bundle = _json(FILE, data, BundleShape, wanted=SCHEMA)
    provenance, names = bundle["provenance"], [file["name"] for file in bundle["files"]]
    named = name_of(bundle["refs"], provenance["policy_revision"], provenance["config_revision"])
    if any(bundle[name] != value for name, value in named.items()):
        raise changed_file(FILE, "its id or version does not follow from its content", named["bundle_id"])
    if len({*names, FILE, SIGNATURE}) != len(names) + 2:
        raise changed_file(FILE, "two of its files have one name, or that of its own or its signature", SCHEMA)
    return bundle


def require_bound(bundle: Mapping[str, Any], receipt: bytes) -> None:
    """Refuse a bundle.json whose files are not those that its gate judged. receipt: the bytes of `refs.gate_receipt`.

    Raises CorridorRefused by the file's name.
    """
    refs, files = bundle["refs"], {file["name"]: file["sha256"] for file in bundle["files"]}
    held = _json(RECEIPT, receipt, ReceiptShape, wanted=refs["gate_receipt"])
    if (held["run_key"], f"run:{held['run_id']}") != (refs["run_key"], refs["run"]["ref"]):
        raise changed_file(RECEIPT, "it is of another run", refs["run"]["ref"])
    wanted = {**{name: refs[name] for name in _LISTED}, "result": refs["run"]["digest"]}
    for name, digest_ in (*wanted.items(), *(("dataset_manifests", one) for one in refs["dataset_manifests"])):
        if digest_ not in files.values():
            raise changed_file(FILE, f"it lists no file for its {name}", digest_)
    require_judged(files, held)


def require_judged(
    files: Mapping[str, str], receipt: Mapping[str, Any], reason: Callable[[str], str] = lambda name: PACKAGE
) -> None:
    """Refuse files that are not those that a gate's receipt names. files: digests by name. Raises CorridorRefused.

    reason: why, by the file's name.
    """
    for stem, wanted in receipt["evidence_refs"].items():
        found = {name: file for name, file in files.items() if name.rpartition(".")[0] == stem}
        if {*found.values()} != {wanted}:
            name = next((name for name, file in found.items() if file != wanted), stem)
            raise changed_file(name, "it is not the one that the gate judged", wanted, reason(name))


def _json(name: str, data: bytes, shape: type[Shape], *, wanted: str) -> dict[str, Any]:
    """The JSON object of a file. Raises CorridorRefused by its name."""
    try:
        found: dict[str, Any] = json.loads(data)
        wrong = fault(shape, found)
    except (ValueError, RecursionError) as error:
        wrong = str(error)
    if wrong is not None:
        raise changed_file(name, f"it is no such document: {wrong}", wanted)
    return found


def name_of(refs: Mapping[str, Any], policy_revision: str, config_revision: str) -> dict[str, str]:
    """The id and version: other evidence is another bundle, another revision of the rules another version of it."""
    bundle_id = short_id("bnd", digest(BUNDLE_RECIPE, {name: refs[name] for name in NAMED_BY}))
    revisions = {"policy_revision": policy_revision, "config_revision": config_revision}
    version = digest(VERSION_RECIPE, {"bundle_id": bundle_id, **revisions}).removeprefix("sha256:")
    return {"bundle_id": bundle_id, "version": f"v0-{version[:12]}"}


def read_file(name: str, file: str, artifacts: ArtifactStore, reason: str = PACKAGE) -> bytes:
    """The bytes of a file by digest. Raises CorridorRefused with its name where they were changed, StoreUnavailable."""
    try:
        return artifacts.get(file)
    except ArtifactCorrupt as error:
        raise changed_file(name, error.message, file, reason) from error


def read_listed(file: Mapping[str, Any], artifacts: ArtifactStore) -> bytes:
    """The bytes of a file as bundle.json lists it. Raises CorridorRefused with its name, StoreUnavailable."""
    data = read_file(file["name"], file["sha256"], artifacts)
    require_size(file, data)
    return data


def require_size(file: Mapping[str, Any], data: bytes) -> None:
    """Refuse a file of another length than bundle.json says. Raises CorridorRefused."""
    if len(data) != file["size"]:
        raise changed_file(file["name"], f"it does not have {file['size']} bytes", file["sha256"])


def changed_file(name: str, what: str, wanted: str, reason: str = PACKAGE) -> CorridorRefused:
    """The refusal of a file that is not what it was, or is gone. wanted: its digest, or what it has to be."""
    until = "until then roll back, or serve another bundle" if reason == PACKAGE else "then publish_bundle again"
    return CorridorRefused(
        reason, f"{name}: {what}", allowed=wanted, details={"file": name},
        next_step=f"restore it from a backup; {until}",
    )  # fmt: skip
