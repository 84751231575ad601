"""A training request resolved into a pinned plan: every reference a digest, every default spelled out, one run key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp_forecast_engine import ENGINE_RELEASE
from mcp_forecast_engine.factory.governance import GovernanceProfile
from mcp_forecast_engine.factory.manifest import manifest_of
from mcp_forecast_engine.factory.train_request import SCHEMA, Intent, Provenance, TargetScope, TrainBuildRequest
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes

# Named sets of training choices, by revision; the plan carries the whole set, so a changed profile is another run.
PROFILES: Final[dict[str, dict[str, Any]]] = {
    "default": {
        "revision": "2",
        "chooser": "auto",
    },
}
BASE_SEED: Final = 20_121_102  # of every stage that draws; the stage's own follows from it and the run key
# What of a plan is how to train, not on what.
_CONFIG: Final = ("horizon", "test_windows", "profile", "budget", "extras", "pretrained")


@dataclass(frozen=True)
class Champion:
    """The bundle that is ACTIVE where the new one is to go: "bundle_id@version", and the digest of its evaluation.

    target: the name of what it forecasts.
    """

    ref: str
    evaluation: str
    target: str

    @property
    def pinned(self) -> dict[str, str]:
        """What a plan names of it beside its request."""
        return {"evaluation": self.evaluation, "target": self.target}


@dataclass(frozen=True)
class Wanted:
    """For whom a model is trained, and by what it will be judged; who asks is told apart.

    champion: what a training of this work (`TrainBuildRequest.work_key`) is measured against.
    """

    scope: TargetScope
    governance: GovernanceProfile
    champion: Callable[[str], Champion | None]
    provenance: Provenance
    intent: Intent = "baseline_train"


@dataclass(frozen=True)
class TrainingPlan:
    """What a training run will do. body: canonical JSON; `body["asked"]` is what the caller typed, no identity."""

    run_id: str
    run_key: str
    body: dict[str, Any]
    request: TrainBuildRequest
    warnings: tuple[str, ...] = ()
    kind: str = "training"
    result: str | None = None


def training_config(plan: Mapping[str, Any]) -> bytes:
    """How a plan trains, not on what, as the document that a request names: the same plan, the same bytes."""
    chosen = {name: plan[name] for name in _CONFIG if name in plan}
    return canonical_bytes({"schema_version": "training_config.v1", **chosen})


def pin_plan(
    summary: Mapping[str, Any],
    artifacts: ArtifactStore,
    *,
    asked: dict[str, Any],
    identity: dict[str, Any],
    wanted: Wanted,
    warnings: tuple[str, ...] = (),
) -> TrainingPlan:
    """The plan of a resolved request; requester, key and wording stay out of its identity.

    Its documents (manifest, training configuration, governance profile, the plan itself) are stored, and named by
    digest. Raises CorridorRefused, StoreUnavailable.
    """
    revision = f"{identity['profile']['name']}.{identity['profile']['revision']}"
    manifest = manifest_of(summary, identity, seed=BASE_SEED, config_revision=revision)
    refs = {
        "dataset_manifest": artifacts.put(manifest.to_bytes()),
        "training_config": artifacts.put(training_config(identity)),
        "governance_profile": artifacts.put(canonical_bytes(wanted.governance.to_dict())),
    }
    alone = _request(refs, wanted, revision)
    found = wanted.champion(alone.work_key)
    request = alone if found is None else alone.model_copy(update={"champion": found.ref})
    champion = {} if found is None else {"champion": found.pinned}
    refs["train_build_request"] = artifacts.put(canonical_bytes(request.to_dict()))
    fixed = {"kind": "training", "engine_release": ENGINE_RELEASE, "request": request.identity()}
    whole = {**identity, **champion, **fixed}
    resolved = artifacts.put(canonical_bytes({"schema_version": "resolved_train_plan.v1", **whole}))
    body = {**whole, "work_key": request.work_key, "refs": {**refs, "resolved_plan": resolved}, "asked": asked}
    return TrainingPlan(request.run_id, request.run_key, body, request, warnings)


def _request(refs: Mapping[str, str], wanted: Wanted, revision: str) -> TrainBuildRequest:
    """What is asked for, before it is known what it is measured against. revision: of the configuration."""
    return TrainBuildRequest(
        schema_version=SCHEMA,
        intent_kind=wanted.intent,
        dataset_manifest_refs=(refs["dataset_manifest"],),
        training_config_ref=refs["training_config"],
        governance_profile_ref=refs["governance_profile"],
        target_scope=wanted.scope,
        policy_revision=wanted.governance.revision,
        config_revision=revision,
        code_release_id=ENGINE_RELEASE,
        provenance=wanted.provenance,
    )
