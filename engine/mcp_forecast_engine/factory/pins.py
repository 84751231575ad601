"""What a run starts from, held against what its plan pinned: nothing is trained on anything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mcp_forecast_engine import ENGINE_RELEASE
from mcp_forecast_engine.data.dataset import Dataset
from mcp_forecast_engine.data.schema import covariate_schema_hash
from mcp_forecast_engine.errors import ArtifactCorrupt, CorridorRefused
from mcp_forecast_engine.evaluation.report import ArmReport, chosen_arm, read_arm
from mcp_forecast_engine.factory.governance import GovernanceProfile, read_profile
from mcp_forecast_engine.factory.manifest import DatasetManifest, read_manifest
from mcp_forecast_engine.factory.plan import training_config
from mcp_forecast_engine.factory.taxonomy import BY_HAND
from mcp_forecast_engine.factory.train_request import TrainBuildRequest, admit
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes, digest_of_bytes, read_canonical

_AGAIN: Final = "make the same training call again: it is pinned anew"
# What a plan holds beside what the resolved plan's document does.
_BESIDE: Final = ("asked", "refs", "work_key")


@dataclass(frozen=True)
class Pins:
    """The documents behind a plan. champion: the arm of the ACTIVE bundle that it is measured against."""

    request: TrainBuildRequest
    manifest: DatasetManifest
    governance: GovernanceProfile
    champion: ArmReport | None
    documents: dict[str, bytes]


def read_pins(run: Run, artifacts: ArtifactStore) -> Pins:
    """Read and check everything that a run's plan names.

    Raises CorridorRefused: REQUEST_INVALID for a plan of an older release, RUN_KEY_PAYLOAD_MISMATCH where the plan is
    not that of the run, RUN_CONFIG_DIGEST_MISMATCH for another release, MANIFEST_UNRESOLVED and the like where a
    document is gone (EVIDENCE_UNRESOLVED: the champion's evaluation), RESOLVED_TRAIN_PLAN_IMMUTABILITY_VIOLATION and
    the like where one is not what was pinned, TRAINING_PROFILE_INVALID where the plan would train otherwise than its
    configuration says.
    """
    plan = run.plan
    if "request" not in plan:
        raise CorridorRefused("REQUEST_INVALID", "the plan is of an older release", field="plan", next_step=_AGAIN)
    documents = {name: _document(name, plan["refs"], artifacts) for name in _UNRESOLVED}
    request = _request_of(run, documents["train_build_request"])
    body = {name: value for name, value in plan.items() if name not in _BESIDE}
    resolved = canonical_bytes({"schema_version": "resolved_train_plan.v1", **body})
    if digest_of_bytes(resolved) != plan["refs"]["resolved_plan"]:
        raise CorridorRefused(
            "RESOLVED_TRAIN_PLAN_IMMUTABILITY_VIOLATION", f"the plan of {run.run_id} is not the one that was resolved",
            field="resolved_plan", next_step=BY_HAND,
        )  # fmt: skip
    manifest = read_manifest(documents["dataset_manifest"])
    _require_named(request, plan["refs"], manifest, plan)
    _require_config(plan, documents["training_config"])
    governance = read_profile(read_canonical(documents["governance_profile"]))
    champion = _champion(plan.get("champion"), artifacts)
    return Pins(request, manifest, governance, champion, documents)


def _request_of(run: Run, data: bytes) -> TrainBuildRequest:
    """The request that led to the run, with who asked and whether the result may be published. data: as stored."""
    request = admit(read_canonical(data))
    if request.run_key != run.run_key or request.identity() != run.plan["request"]:
        raise CorridorRefused(
            "RUN_KEY_PAYLOAD_MISMATCH", f"the request has run key {request.run_key}, {run.run_id} has {run.run_key}",
            field="run_key", next_step=BY_HAND,
        )  # fmt: skip
    if request.code_release_id != ENGINE_RELEASE:
        raise CorridorRefused(
            "RUN_CONFIG_DIGEST_MISMATCH",
            f"{run.run_id} was asked of release {request.code_release_id}, this is {ENGINE_RELEASE}",
            field="code_release_id", next_step=_AGAIN,
        )  # fmt: skip
    return request


def _require_named(
    request: TrainBuildRequest, refs: dict[str, Any], manifest: DatasetManifest, plan: dict[str, Any]
) -> None:
    """The plan's documents are those that the request names, and the manifest's data those of the plan."""
    named = {
        "dataset_manifest": request.dataset_manifest_refs[0],
        "training_config": request.training_config_ref,
        "governance_profile": request.governance_profile_ref,
    }
    for name, wanted in named.items():
        if refs[name] != wanted:
            raise CorridorRefused(
                "RUN_KEY_PAYLOAD_MISMATCH", f"the plan's {name} is {refs[name]}, the request names {wanted}",
                field=name, next_step=BY_HAND,
            )  # fmt: skip
    for name, value in manifest.plan().items():
        if plan.get(name) != value:
            raise CorridorRefused(
                "MANIFEST_IMMUTABILITY_VIOLATION", f"the plan's {name} is not that of the manifest", field=name,
                next_step=BY_HAND,
            )  # fmt: skip


def require_schema(manifest: DatasetManifest, dataset: Dataset) -> None:
    """The columns are those that the manifest was made of. Raises CorridorRefused (FEATURE_SCHEMA_INCOMPATIBLE)."""
    found, pinned = covariate_schema_hash(dataset.schema.covariates), manifest.covariate_schema_hash
    if pinned is not None and found != pinned:
        raise CorridorRefused(
            "FEATURE_SCHEMA_INCOMPATIBLE", f"the dataset's covariates have schema {found}, the manifest names {pinned}",
            field="covariate_schema_hash", allowed=pinned,
            next_step="restore a backup of the home, or register the data in a new one: a dataset's row stays as it is",
        )  # fmt: skip


def _require_config(plan: dict[str, Any], data: bytes) -> None:
    if data != training_config(plan):
        raise CorridorRefused(
            "TRAINING_PROFILE_INVALID", "the training configuration that the request names is not that of the plan",
            field="training_config", allowed=digest_of_bytes(training_config(plan)), next_step=BY_HAND,
        )  # fmt: skip


def _document(name: str, refs: dict[str, Any], artifacts: ArtifactStore) -> bytes:
    try:
        return artifacts.get(refs[name])
    except ArtifactCorrupt as error:
        reason = _UNRESOLVED.get(name, "EVIDENCE_UNRESOLVED")
        raise CorridorRefused(
            reason, f"{name}: {error.message}", field=name, next_step=_MEND.get(name, _AGAIN)
        ) from error


def _champion(named: dict[str, Any] | None, artifacts: ArtifactStore) -> ArmReport | None:
    if named is None:
        return None
    return read_arm(chosen_arm(read_canonical(_document("evaluation", named, artifacts))))


_MEND: Final = {
    "evaluation": "it is of the ACTIVE bundle: restore it from a backup or roll back, then make the same training call"
}
_UNRESOLVED: Final = {
    "dataset_manifest": "MANIFEST_UNRESOLVED",
    "training_config": "TRAINING_PROFILE_UNRESOLVED",
    "governance_profile": "GOVERNANCE_PROFILE_UNRESOLVED",
    "resolved_plan": "EVIDENCE_UNRESOLVED",
    "train_build_request": "EVIDENCE_UNRESOLVED",
}
