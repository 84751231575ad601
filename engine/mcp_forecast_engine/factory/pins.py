"""What a run starts from, held against what its plan pinned: nothing is trained on anything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mcp_forecast_engine import ENGINE_RELEASE
from mcp_forecast_engine.errors import ArtifactCorrupt, CorridorRefused
from mcp_forecast_engine.evaluation.report import ArmReport, chosen_arm, read_arm
from mcp_forecast_engine.factory.governance import GovernanceProfile, read_profile
from mcp_forecast_engine.factory.manifest import DatasetManifest, read_manifest
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
    document is gone, RESOLVED_TRAIN_PLAN_IMMUTABILITY_VIOLATION and the like where one is not what was pinned.
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
            field="resolved_plan", next_step=_AGAIN,
        )  # fmt: skip
    manifest = read_manifest(documents["dataset_manifest"])
    _require_named(request, plan["refs"], manifest, plan)
    governance = read_profile(read_canonical(documents["governance_profile"]))
    champion = _champion(plan.get("champion"), artifacts)
    return Pins(request, manifest, governance, champion, documents)


def _request_of(run: Run, data: bytes) -> TrainBuildRequest:
    """The request that led to the run, with who asked and whether the result may be published. data: as stored."""
    request = admit(read_canonical(data))
    if request.run_key != run.run_key or request.identity() != run.plan["request"]:
        raise CorridorRefused(
            "RUN_KEY_PAYLOAD_MISMATCH", f"the request has run key {request.run_key}, {run.run_id} has {run.run_key}",
            field="run_key", next_step=_AGAIN,
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
                field=name, next_step=_AGAIN,
            )  # fmt: skip
    for name, value in manifest.plan().items():
        if plan.get(name) != value:
            raise CorridorRefused(
                "MANIFEST_IMMUTABILITY_VIOLATION", f"the plan's {name} is not that of the manifest", field=name,
                next_step=_AGAIN,
            )  # fmt: skip


def _document(name: str, refs: dict[str, Any], artifacts: ArtifactStore) -> bytes:
    try:
        return artifacts.get(refs[name])
    except ArtifactCorrupt as error:
        raise CorridorRefused(_UNRESOLVED[name], f"{name}: {error.message}", field=name, next_step=_AGAIN) from error


def _champion(named: dict[str, Any] | None, artifacts: ArtifactStore) -> ArmReport | None:
    if named is None:
        return None
    evaluation = read_canonical(artifacts.get(named["evaluation"]))
    return read_arm(chosen_arm(evaluation))


_UNRESOLVED: Final = {
    "dataset_manifest": "MANIFEST_UNRESOLVED",
    "training_config": "TRAINING_PROFILE_UNRESOLVED",
    "governance_profile": "GOVERNANCE_PROFILE_UNRESOLVED",
    "resolved_plan": "MANIFEST_UNRESOLVED",
    "train_build_request": "MANIFEST_UNRESOLVED",
}
