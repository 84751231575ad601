"""What a training leaves as proof: how it was done, a pack of all its evidence, and the gate's receipt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.factory.gates import Gate
from mcp_forecast_engine.factory.governance import GovernanceProfile
from mcp_forecast_engine.factory.train_request import SEED_RECIPE, TrainBuildRequest
from mcp_forecast_engine.store.identity import digest

# Without these there is no evidence.
EVIDENCE: Final = ("evaluation", "predictions", "model", "explanation", "leakage", "eval_report", "execution_record")


def execution_record(
    request: TrainBuildRequest, *, split: Mapping[str, Any], base_seed: int, seeds: Mapping[str, int],
    refs: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """How the run was done: its split, its seeds, and the digest of everything it rests on so far.

    seeds: by stage, of those that drew numbers of this run's own.
    """
    return {
        "schema_version": "execution_record.v1",
        "run_key": request.run_key,
        "split_strategy": {"kind": "rolling_origin", "embargo_steps": split["horizon"], **split},
        "seed_policy": {"recipe": SEED_RECIPE, "base_seed": base_seed},
        "stage_seeds": dict(seeds),
        "dataset_manifest_refs": list(request.dataset_manifest_refs),
        "training_config_ref": request.training_config_ref,
        "governance_profile_ref": request.governance_profile_ref,
        "policy_revision": request.policy_revision,
        "config_revision": request.config_revision,
        "code_release_id": request.code_release_id,
        "refs": dict(refs),
    }


def evidence_pack(request: TrainBuildRequest, refs: Mapping[str, str]) -> dict[str, Any]:
    """Every piece of evidence by digest, and one fingerprint of them all. Raises CorridorRefused."""
    missing = [name for name in EVIDENCE if name not in refs]
    if missing:
        raise CorridorRefused(
            "EVIDENCE_REF_MISSING", f"the evidence of {request.run_id} lacks {missing[0]}", field=missing[0],
            next_step="make the same training call again",
        )  # fmt: skip
    body = {"schema_version": "evidence_pack.v1", "run_key": request.run_key, "refs": dict(refs)}
    return {**body, "evidence_pack_fingerprint": digest("evidence_pack.v1", body)}


def gate_receipt(
    request: TrainBuildRequest, gate: Gate, profile: GovernanceProfile, *, eval_report_id: str, refs: Mapping[str, str]
) -> dict[str, Any]:
    """The gate's decision, bound to the run and its evidence, and whether the run may be published."""
    allowed = request.provenance.publish_allowed
    reasons = ["GATE_FAIL"] if gate.decision == "FAIL" else ["PASS_READY"] if allowed else ["PUBLISH_NOT_ALLOWED"]
    return {
        "schema_version": "gate_receipt.v1",
        "run_key": request.run_key,
        "run_id": request.run_id,
        "gate_decision": gate.decision,
        "eval_report_id": eval_report_id,
        "profile": {**profile_ref(profile), **{part: profile.to_dict()[part] for part in ("rules", "labels")}},
        "rules": [rule.to_dict() for rule in gate.rules],
        "evidence_refs": dict(refs),
        "eligibility": {
            "decision": "ELIGIBLE" if reasons == ["PASS_READY"] else "INELIGIBLE",
            "reason_codes": reasons,
        },
    }


def profile_ref(profile: GovernanceProfile) -> dict[str, str]:
    """A governance profile by name and digest."""
    named = {"name": profile.name, "policy_id": profile.policy_id, "revision": profile.revision}
    return {**named, "digest": profile.digest}
