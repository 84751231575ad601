"""A bundle: one document that names every file of a trained run by digest, what it can do, and what it rests on.

It holds no bytes of its own. Every file is read and checked when it is packaged, and again before it is published or
served; what differs is refused by the file's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mcp_forecast_engine.data.input_spec import INPUT_SPEC_RECIPE
from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.factory.bound import contract_in
from mcp_forecast_engine.factory.bundle_file import PACKAGE, SCHEMA, name_of, read_file
from mcp_forecast_engine.factory.shapes import SHAPES, fault
from mcp_forecast_engine.factory.taxonomy import BY_HAND
from mcp_forecast_engine.factory.train_request import TrainBuildRequest, admit
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes, read_canonical
from mcp_forecast_engine.store.named_artifacts import media_type

KIND: Final = "forecast"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
RESULT: Final = "result.json"
# What it is that was changed, where no bundle has it yet; of every other file, see `changed_as`.
_EVIDENCE: Final = {
    "dataset_manifest.json": "MANIFEST_IMMUTABILITY_VIOLATION",
    "resolved_plan.json": "RESOLVED_TRAIN_PLAN_IMMUTABILITY_VIOLATION",
    "eval_report.json": "EVAL_REPORT_IMMUTABILITY_VIOLATION",
    "execution_record.json": "EXECUTION_RECORD_IMMUTABILITY_VIOLATION",
    "evidence_pack.json": "EVIDENCE_PACK_IMMUTABILITY_VIOLATION",
    "gate_receipt.json": "GATE_RECEIPT_IMMUTABILITY_VIOLATION",
}
_MODELS: Final = ("model.onnx", "model.json")
# Without these a bundle is no evidence.
REFS: Final = (
    "train_build_request", "resolved_plan", "dataset_manifests", "eval_report", "evidence_pack", "gate_receipt",
)  # fmt: skip


def package(run: Run, document: Mapping[str, Any], artifacts: ArtifactStore) -> bytes:
    """The bundle.json of a finished training run: the same run gives the same bytes.

    document: the run's result, with its gate and refs. Every file is read. Raises CorridorRefused with the name of the
    file that is missing or was changed, and StoreUnavailable.
    """
    named = files_of(run, document)
    found = {file: read_file(name, file, artifacts, changed_as(run, name)) for name, file in named.items()}
    request = _request(run, found[document["refs"]["train_build_request"]])
    refs = _refs(run, document, request)
    manifest = as_document(run, "dataset_manifest", found[refs["dataset_manifests"][0]])
    body = {
        "schema_version": SCHEMA,
        **name_of(refs, request.policy_revision, request.config_revision),
        "kind": KIND,
        "files": [
            {"name": name, "media_type": media_type(name), "size": len(found[named[name]]), "sha256": named[name]}
            for name in sorted(named)
        ],
        "compatibility": _compatibility(document["serving"], manifest, found[_model(run, document["serving"], named)]),
        "target_scope": request.target_scope.to_dict(),
        "refs": refs,
        "provenance": {
            "code_release_id": request.code_release_id,
            "config_revision": request.config_revision,
            "policy_revision": request.policy_revision,
        },
    }
    return canonical_bytes(body)


def changed_as(run: Run, name: str) -> str:
    """The reason where a file of a run was changed: of what is published every file is the bundle's."""
    published = run.state == "PUBLISHED"
    return PACKAGE if published else _EVIDENCE.get(name, "TRAIN_ARTIFACT_IMMUTABILITY_VIOLATION")


def as_document(run: Run, name: str, data: bytes) -> dict[str, Any]:
    """The JSON object that a file of a run holds, with what is relied on. Raises CorridorRefused.

    name: one of `shapes.SHAPES`.
    """
    shape, reason = SHAPES[name]
    try:
        found = read_canonical(data)
        wrong = fault(shape, found)
    except (ValueError, RecursionError) as error:
        wrong = str(error)
    if wrong is None:
        return dict(found)
    raise CorridorRefused(
        reason, f"the {name} of {run.run_id} is no such document: {wrong}", field=name, allowed="a JSON object",
        next_step=BY_HAND,
    )  # fmt: skip


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


def files_of(run: Run, document: Mapping[str, Any]) -> dict[str, str]:
    """Every file of a run by name: those its result lists, the result itself, and the documents it refers to.

    Raises CorridorRefused.
    """
    refs = document["refs"]
    missing = [name for name in REFS if not _are_digests(refs.get(name), several=name == "dataset_manifests")]
    if missing:
        raise CorridorRefused(
            "EVIDENCE_REF_MISSING", f"the result of {run.run_id} names no {missing[0]}", field="run_id",
            allowed=list(REFS), next_step=BY_HAND,
        )  # fmt: skip
    named = {str(one["name"]): str(one["digest"]) for one in document["artifacts"]}
    listed = {*named.values()}
    for name, found in [(RESULT, str(run.result)), *_documents(refs)]:
        if found not in listed and named.setdefault(name, found) != found:  # else it stands under a name already
            raise _unfit(run, f"two files of {run.run_id} are named {name}")
    return named


def _are_digests(found: Any, *, several: bool) -> bool:
    ones = found if several and isinstance(found, list) else [found]
    return bool(ones) and all(isinstance(one, str) and _DIGEST.fullmatch(one) for one in ones)


def _model(run: Run, serving: Mapping[str, Any], named: Mapping[str, str]) -> str:
    """The digest of the model that answers. Raises CorridorRefused where it is not the file that was judged."""
    if serving["model"] not in {named[name] for name in _MODELS if name in named}:
        raise _unfit(run, f"the result of {run.run_id} answers with a model that is none of its files")
    return str(serving["model"])


def _unfit(run: Run, what: str) -> CorridorRefused:
    return CorridorRefused("BUNDLE_PUBLICATION_INVALID", what, field="run_id", next_step=BY_HAND)


def _documents(refs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The documents that are referred to, by the names they have as files."""
    for name, found in refs.items():
        for place, one in enumerate(found if isinstance(found, list) else [found]):
            if str(one).startswith("sha256:"):
                stem = name.removesuffix("s") if isinstance(found, list) else name
                yield f"{stem}.{place + 1}.json" if place else f"{stem}.json", str(one)


def _request(run: Run, data: bytes) -> TrainBuildRequest:
    """The request that the run did. Raises CorridorRefused."""
    request = admit(as_document(run, "train_build_request", data))
    if request.run_id != run.run_id:
        raise CorridorRefused(
            "RUN_KEY_PAYLOAD_MISMATCH", f"the request of {run.run_id} is that of {request.run_id}", field="run_id",
            allowed=request.run_id, next_step=BY_HAND,
        )  # fmt: skip
    return request


def _compatibility(serving: Mapping[str, Any], manifest: Mapping[str, Any], model: bytes) -> dict[str, Any]:
    """What the bundle can do. freq: the step of its forecasts; data_freq: that of the data it reads.

    manifest: of the dataset; model: as exported.
    """
    features = manifest["feature_definition_set"]
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
        "levels": [round(level, 4) for level in contract_in(model).levels],
    }
