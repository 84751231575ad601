"""A bundle: one document that names every file of a trained run by digest, what it can do, and what it rests on.

It holds no bytes of its own. Every file is read and checked when it is packaged, and again before it is published or
served; what differs is refused by the file's name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mcp_forecast_engine.data.input_spec import INPUT_SPEC_RECIPE
from mcp_forecast_engine.errors import ArtifactCorrupt, CorridorRefused
from mcp_forecast_engine.factory.bound import contract_in
from mcp_forecast_engine.factory.taxonomy import BY_HAND
from mcp_forecast_engine.factory.train_request import TrainBuildRequest, admit
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes, digest, short_id
from mcp_forecast_engine.store.named_artifacts import media_type

SCHEMA: Final = "bundle.v1"
BUNDLE_RECIPE: Final = "bundle_id.v1"
VERSION_RECIPE: Final = "bundle_version.v1"
KIND: Final = "forecast"
FILE: Final = "bundle.json"
RESULT: Final = "result.json"
PACKAGE: Final = "BUNDLE_PACKAGE_IMMUTABILITY_VIOLATION"
# What it is that was changed, where no bundle has it yet.
_EVIDENCE: Final = {
    "dataset_manifest.json": "MANIFEST_IMMUTABILITY_VIOLATION",
    "resolved_plan.json": "RESOLVED_TRAIN_PLAN_IMMUTABILITY_VIOLATION",
    "evaluation.json": "TRAIN_ARTIFACT_IMMUTABILITY_VIOLATION",
    "predictions.parquet": "TRAIN_ARTIFACT_IMMUTABILITY_VIOLATION",
    "model.onnx": "TRAIN_ARTIFACT_IMMUTABILITY_VIOLATION",
    "model.json": "TRAIN_ARTIFACT_IMMUTABILITY_VIOLATION",
    "weights.safetensors": "TRAIN_ARTIFACT_IMMUTABILITY_VIOLATION",
    "eval_report.json": "EVAL_REPORT_IMMUTABILITY_VIOLATION",
    "execution_record.json": "EXECUTION_RECORD_IMMUTABILITY_VIOLATION",
    "evidence_pack.json": "EVIDENCE_PACK_IMMUTABILITY_VIOLATION",
    "gate_receipt.json": "GATE_RECEIPT_IMMUTABILITY_VIOLATION",
}
# Without these a bundle is no evidence.
REFS: Final = (
    "train_build_request", "resolved_plan", "dataset_manifests", "eval_report", "evidence_pack", "gate_receipt",
)  # fmt: skip
# What the bundle's name is made of (systems.md 1.3); its version is made of this name and the two revisions.
_NAMED_BY: Final = (
    "run_key", "dataset_manifests", "training_config", "governance_profile", "eval_report", "gate_receipt",
)  # fmt: skip


def package(run: Run, document: Mapping[str, Any], artifacts: ArtifactStore) -> bytes:
    """The bundle.json of a finished training run: the same run gives the same bytes.

    document: the run's result, with its gate and refs. Every file is read. Raises CorridorRefused with the name of the
    file that is missing or was changed, and StoreUnavailable.
    """
    named = _files_of(run, document)
    reasons = {} if run.state == "PUBLISHED" else _EVIDENCE  # of what is published every file is the bundle's
    found = {file: read_file(name, file, artifacts, reasons.get(name, PACKAGE)) for name, file in named.items()}
    request = _request(run, found[document["refs"]["train_build_request"]])
    refs = _refs(run, document, request)
    body = {
        "schema_version": SCHEMA,
        **_name_of(refs, request.policy_revision, request.config_revision),
        "kind": KIND,
        "files": [
            {"name": name, "media_type": media_type(name), "size": len(found[named[name]]), "sha256": named[name]}
            for name in sorted(named)
        ],
        "compatibility": _compatibility(document["serving"], found[refs["dataset_manifests"][0]], found),
        "target_scope": request.target_scope.to_dict(),
        "refs": refs,
        "provenance": {
            "code_release_id": request.code_release_id,
            "config_revision": request.config_revision,
            "policy_revision": request.policy_revision,
        },
    }
    return canonical_bytes(body)


def verify_bundle(data: bytes, artifacts: ArtifactStore) -> dict[str, Any]:
    """The document of a bundle whose name follows from its content and whose files are all as they were packaged.

    Raises CorridorRefused with the name of the first file that is not, and StoreUnavailable.
    """
    bundle = read_bundle_file(data)
    for file in bundle["files"]:
        if len(read_file(file["name"], file["sha256"], artifacts)) != file["size"]:
            raise changed_file(file["name"], f"it does not have {file['size']} bytes", file["sha256"])
    return bundle


def stored_bundle(manifest: str, artifacts: ArtifactStore) -> dict[str, Any]:
    """The same from the digest of the bundle.json that a record names. Raises CorridorRefused, StoreUnavailable."""
    return verify_bundle(read_file(FILE, manifest, artifacts), artifacts)


def read_bundle_file(data: bytes) -> dict[str, Any]:
    """The document of a bundle.json; its files are not read. Raises CorridorRefused where it is none."""
    try:
        bundle: dict[str, Any] = json.loads(data)
        provenance = bundle["provenance"]
        named = _name_of(bundle["refs"], provenance["policy_revision"], provenance["config_revision"])
        is_one = bundle["schema_version"] == SCHEMA and all(bundle[name] == value for name, value in named.items())
    except (ValueError, KeyError, TypeError) as error:
        raise changed_file(FILE, f"it is no bundle ({error})", SCHEMA) from error
    if not is_one:
        raise changed_file(FILE, "its id or version does not follow from its content", f"{named['bundle_id']}")
    return bundle


def _name_of(refs: Mapping[str, Any], policy_revision: str, config_revision: str) -> dict[str, str]:
    """The id and version: other evidence is another bundle, another revision of the rules another version of it."""
    bundle_id = short_id("bnd", digest(BUNDLE_RECIPE, {name: refs[name] for name in _NAMED_BY}))
    revisions = {"policy_revision": policy_revision, "config_revision": config_revision}
    version = digest(VERSION_RECIPE, {"bundle_id": bundle_id, **revisions}).removeprefix("sha256:")
    return {"bundle_id": bundle_id, "version": f"v0-{version[:12]}"}


def _refs(run: Run, document: Mapping[str, Any], request: TrainBuildRequest) -> dict[str, Any]:
    refs = document["refs"]
    return {
        "run": {"ref": f"run:{run.run_id}", "digest": run.result},
        "run_key": request.run_key,
        "training_config": request.training_config_ref,
        "governance_profile": request.governance_profile_ref,
        **{name: refs[name] for name in REFS},
        "dataset_manifests": sorted(refs["dataset_manifests"]),
    }


def _files_of(run: Run, document: Mapping[str, Any]) -> dict[str, str]:
    """Every file of a run by name: those its result lists, the result itself, and the documents it refers to.

    Raises CorridorRefused.
    """
    refs = document.get("refs", {})
    missing = [name for name in REFS if not refs.get(name)]
    if missing:
        raise CorridorRefused(
            "EVIDENCE_REF_MISSING", f"the result of {run.run_id} names no {missing[0]}", field="run_id",
            allowed=list(REFS), next_step=BY_HAND,
        )  # fmt: skip
    named = {str(one["name"]): str(one["digest"]) for one in document["artifacts"]}
    listed = {*named.values()}
    for name, found in [(RESULT, str(run.result)), *_documents(refs)]:
        if found not in listed and named.setdefault(name, found) != found:  # else it stands under a name already
            raise CorridorRefused(
                "BUNDLE_PUBLICATION_INVALID", f"two files of {run.run_id} are named {name}", field="run_id",
                next_step=BY_HAND,
            )  # fmt: skip
    return named


def _documents(refs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The documents that are referred to, by the names they have as files."""
    for name, found in refs.items():
        for place, one in enumerate(found if isinstance(found, list) else [found]):
            if str(one).startswith("sha256:"):
                stem = name.removesuffix("s") if isinstance(found, list) else name
                yield f"{stem}.{place + 1}.json" if place else f"{stem}.json", str(one)


def _request(run: Run, data: bytes) -> TrainBuildRequest:
    """The request that the run did. Raises CorridorRefused."""
    request = admit(json.loads(data))
    if request.run_id != run.run_id:
        raise CorridorRefused(
            "RUN_KEY_PAYLOAD_MISMATCH", f"the request of {run.run_id} is that of {request.run_id}", field="run_id",
            allowed=request.run_id, next_step=BY_HAND,
        )  # fmt: skip
    return request


def _compatibility(serving: Mapping[str, Any], manifest: bytes, found: Mapping[str, bytes]) -> dict[str, Any]:
    """What the bundle can do. freq: the step of its forecasts; data_freq: that of the data it reads.

    manifest: of the dataset; found: the files' bytes by digest, the model's among them.
    """
    features = json.loads(manifest).get("feature_definition_set", {})
    missing = [name for name in ("feature_set_id", "feature_set_version") if not features.get(name)]
    if missing:
        raise CorridorRefused("MANIFEST_INVALID", f"the dataset manifest names no {missing[0]}", next_step=BY_HAND)
    return {
        "feature_set_id": features["feature_set_id"],
        "feature_set_version": features["feature_set_version"],
        "covariate_schema_hash": serving["covariate_schema_hash"],
        "input_contract_version": INPUT_SPEC_RECIPE,
        "input_spec_digest": serving["input_spec"]["digest"],
        "horizon": serving["horizon"],
        "target": serving["target"],
        "freq": serving["freq"],
        "data_freq": serving["data_freq"],
        "levels": [round(level, 4) for level in contract_in(found[serving["model"]]).levels],
    }


def read_file(name: str, file: str, artifacts: ArtifactStore, reason: str = PACKAGE) -> bytes:
    """The bytes of a file by digest. Raises CorridorRefused with its name where they were changed, StoreUnavailable."""
    try:
        return artifacts.get(file)
    except ArtifactCorrupt as error:
        raise changed_file(name, error.message, file, reason) from error


def changed_file(name: str, what: str, wanted: str, reason: str = PACKAGE) -> CorridorRefused:
    """The refusal of a file that is not what it was, or is gone. wanted: its digest, or what it has to be."""
    until = "until then roll back, or serve another bundle" if reason == PACKAGE else "then publish_bundle again"
    return CorridorRefused(
        reason, f"{name}: {what}", allowed=wanted, details={"file": name},
        next_step=f"restore it from a backup; {until}",
    )  # fmt: skip
