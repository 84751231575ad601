"""The identity of a training run: what changes its key, what does not, and what is no request at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.factory.train_request import (
    SCHEMA,
    Provenance,
    TargetScope,
    TrainBuildRequest,
    admit,
    stage_seed,
)

VECTORS = json.loads((Path(__file__).parent / "golden" / "train_run_keys.json").read_text())
REF, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
IDENTITY: dict[str, Any] = {
    "intent_kind": "candidate_eval",
    "dataset_manifest_refs": (OTHER,),
    "training_config_ref": OTHER,
    "governance_profile_ref": OTHER,
    "target_scope": TargetScope(environment="prod"),
    "policy_revision": "2",
    "config_revision": "2",
    "code_release_id": "0.4.1",
    "champion": "bnd_" + "0" * 24 + "@v0-000000000000",
}
SCOPES = [TargetScope(mode="shadow"), TargetScope(slot="baseline"), TargetScope(tenant="acme")]
PROVENANCE = [Provenance(requester="b"), Provenance(requester="a", trigger="drift"),
              Provenance(requester="a", publish_allowed=False)]  # fmt: skip
# By a field of the request that is wrong: what it is replaced with (None: left out), and the reason.
REFUSED: list[tuple[str, Any, str]] = [
    ("schema_version", "train_build_request.v0", "SCHEMA_INVALID"),
    ("surprise", 1, "SCHEMA_INVALID"),
    ("intent_kind", "guess", "INTENT_KIND_UNSUPPORTED"),
    ("dataset_manifest_refs", [], "MANIFEST_REF_MISSING"),
    ("dataset_manifest_refs", ["data.csv"], "MANIFEST_REF_MISSING"),
    ("training_config_ref", None, "CONFIG_REF_MISSING"),
    ("governance_profile_ref", "", "GOVERNANCE_PROFILE_MISSING"),
    ("target_scope", {"environment": "Prod!"}, "TARGET_SCOPE_INVALID"),
    ("policy_revision", "", "POLICY_REVISION_MISSING"),
    ("config_revision", None, "CONFIG_REVISION_MISSING"),
    ("code_release_id", 4, "CODE_RELEASE_MISSING"),
    ("provenance", {"requester": "", "trigger": "call", "publish_allowed": True}, "REQUESTER_MISSING"),
    ("provenance", {"requester": "a", "trigger": "call", "publish_allowed": "yes"}, "REQUEST_INVALID"),
    ("rows", [{"y": 1}], "OWNERSHIP_BOUNDARY_VIOLATION"),
    ("active", "bnd_1", "OWNERSHIP_BOUNDARY_VIOLATION"),
    ("run_key", REF, "RUN_KEY_PAYLOAD_MISMATCH"),
    ("train_request_id", "treq_" + "0" * 24, "RUN_KEY_PAYLOAD_MISMATCH"),
]


def request_of(**changed: Any) -> TrainBuildRequest:
    plain: dict[str, Any] = {
        "schema_version": SCHEMA, "intent_kind": "baseline_train", "dataset_manifest_refs": (REF,),
        "training_config_ref": REF, "governance_profile_ref": REF, "target_scope": TargetScope(),
        "policy_revision": "1", "config_revision": "1", "code_release_id": "0.4.0",
        "provenance": Provenance(requester="a"),
    }  # fmt: skip
    return TrainBuildRequest(**{**plain, **changed})


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_keys_are_what_they_were(vector: dict[str, Any]) -> None:
    request = admit(vector["document"])
    assert (request.run_key, request.run_id, request.train_request_id, request.work_key) == tuple(vector["keys"])


def test_every_field_of_the_identity_is_tried() -> None:
    assert set(IDENTITY) == set(request_of().identity())


@pytest.mark.parametrize("field", IDENTITY)
def test_another_identity_is_another_run(field: str) -> None:
    assert request_of(**{field: IDENTITY[field]}).run_key != request_of().run_key


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: str(scope.to_dict()))
def test_another_scope_is_another_run(scope: TargetScope) -> None:
    assert request_of(target_scope=scope).run_key != request_of().run_key


@pytest.mark.parametrize("provenance", PROVENANCE, ids=lambda p: str(p.model_dump()))
def test_who_asks_and_how_is_another_request_for_the_same_run(provenance: Provenance) -> None:
    asked = request_of(provenance=provenance)
    assert asked.run_id == request_of().run_id
    assert asked.train_request_id != request_of().train_request_id


def test_neither_the_order_of_references_nor_of_fields_matters() -> None:
    both = request_of(dataset_manifest_refs=(OTHER, REF, OTHER))
    assert both == request_of(dataset_manifest_refs=(REF, OTHER))
    document = both.to_dict()
    assert admit(dict(reversed(list(document.items())))) == both


def test_the_champion_makes_another_run_of_the_same_work() -> None:
    against = request_of(champion=IDENTITY["champion"])
    assert against.work_key == request_of().work_key


def test_stages_draw_different_numbers_and_a_run_always_the_same() -> None:
    seeds = {stage_seed(key, stage, base) for key in (REF, OTHER) for stage in ("tune", "fit") for base in (1, 2)}
    assert len(seeds) == 8
    assert stage_seed(REF, "tune", 1) == stage_seed(REF, "tune", 1) < 2**31 - 1


@pytest.mark.parametrize(("field", "value", "reason"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_no_request_is_refused_with_its_reason(field: str, value: Any, reason: str) -> None:
    document = {**request_of().to_dict(), field: value}
    if value is None:
        del document[field]
    with pytest.raises(CorridorRefused) as refused:
        admit(document)
    assert refused.value.reason == reason
    assert str(refused.value.field).startswith(field)
