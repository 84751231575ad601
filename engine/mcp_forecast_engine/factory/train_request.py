"""What a training run is: a request by reference, admitted strictly, and the one key that equal work has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.store.identity import digest, short_id

SCHEMA: Final = "train_build_request.v1"
RUN_KEY_RECIPE: Final = "train_run_key.v2"
REQUEST_RECIPE: Final = "train_request_id.v1"
SEED_RECIPE: Final = "stage_seed.v1"

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Text = Annotated[str, Field(min_length=1, max_length=200)]


Intent = Literal["baseline_train", "backfill_retrain", "candidate_eval", "regression_check"]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TargetScope(_Document):
    """The place a bundle is made for, as a request's document says it; without a tenant it is everybody's.

    The registry's own `Scope` is the same place as rows and callers say it: that refuses with an error of the data,
    this as a request that is none, and the factory may not import the registry.
    """

    environment: Name = "local"
    mode: Name = "live"
    slot: Name = "primary"
    tenant: Name | None = None

    def to_dict(self) -> dict[str, str]:
        """Plain JSON values; no tenant where it is everybody's."""
        return self.model_dump(exclude_none=True)


class Provenance(_Document):
    """Who asked and how: no part of what is asked."""

    requester: Text
    trigger: Text = "call"
    publish_allowed: bool = True


class TrainBuildRequest(_Document):
    """Everything a training run depends on, each by digest; and, apart from it, who asked and how.

    champion: "bundle_id@version" of the ACTIVE bundle it is measured against, "" where there is none.
    """

    schema_version: Literal["train_build_request.v1"]
    intent_kind: Intent
    dataset_manifest_refs: Annotated[tuple[Digest, ...], Field(min_length=1, strict=False)]
    training_config_ref: Digest
    governance_profile_ref: Digest
    target_scope: TargetScope
    policy_revision: Text
    config_revision: Text
    code_release_id: Text
    champion: Annotated[str, Field(pattern=r"^(bnd_[0-9a-f]{24}@[a-z0-9.-]{1,40})?$")] = ""
    provenance: Provenance

    @field_validator("dataset_manifest_refs")
    @classmethod
    def _in_one_order(cls, refs: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(refs)))

    def identity(self) -> dict[str, Any]:
        """What the run key covers: equal work has an equal key, in whatever order and by whomever it was asked."""
        plain = self.model_dump(mode="json", exclude={"schema_version", "provenance"})
        return {**plain, "target_scope": self.target_scope.to_dict()}

    @property
    def run_key(self) -> str:
        """`sha256:<64 hex>`; the same for the same work."""
        return digest(RUN_KEY_RECIPE, self.identity())

    @property
    def run_id(self) -> str:
        """The id of the run that does this work."""
        return short_id("run", self.run_key)

    @property
    def work_key(self) -> str:
        """The run key but for the champion: whatever it is measured against, the model asked for is the same."""
        return digest(RUN_KEY_RECIPE, {**self.identity(), "champion": ""})

    @property
    def train_request_id(self) -> str:
        """The id of this request: another requester or trigger is another request for the same run."""
        asked = {"run_key": self.run_key, "provenance": self.provenance.model_dump()}
        return short_id("treq", digest(REQUEST_RECIPE, asked))

    def to_dict(self) -> dict[str, Any]:
        """The request as a document, with the keys that follow from it."""
        keys = {"run_key": self.run_key, "train_request_id": self.train_request_id}
        provenance = self.provenance.model_dump()
        return {"schema_version": self.schema_version, **keys, **self.identity(), "provenance": provenance}


def stage_seed(run_key: str, stage: str, base_seed: int) -> int:
    """The seed of one stage of a run, 0 … 2^31 - 2: the same run draws the same numbers, stages draw different ones."""
    whole = digest(SEED_RECIPE, {"base_seed": base_seed, "run_key": run_key, "stage": stage})
    return int(whole.removeprefix("sha256:"), 16) % (2**31 - 1)


def admit(document: Mapping[str, Any]) -> TrainBuildRequest:
    """The request that a document carries. Raises CorridorRefused with the reason why it is none.

    Unknown fields are refused, and the keys that the document names must be those of its content.
    """
    foreign = sorted(_FOREIGN & set(document))
    if foreign:
        raise CorridorRefused(
            "OWNERSHIP_BOUNDARY_VIOLATION", f"a training request does not carry {', '.join(foreign)}", field=foreign[0],
            allowed="references by digest", next_step="register the data, and name it by its manifest",
        )  # fmt: skip
    try:
        request = TrainBuildRequest.model_validate({name: document[name] for name in document if name not in _KEYS})
    except ValidationError as error:
        raise _refused(error) from error
    for name in _KEYS:
        if document.get(name) != getattr(request, name):
            raise CorridorRefused(
                "RUN_KEY_PAYLOAD_MISMATCH",
                f"the request's {name} is {document.get(name)}, its content has {getattr(request, name)}",
                field=name, allowed=getattr(request, name), next_step="make the request again from its content",
            )  # fmt: skip
    return request


def _refused(error: ValidationError) -> CorridorRefused:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    known = _REASONS.get(place) or _REASONS.get(str(first["loc"][0]), "REQUEST_INVALID")
    reason = "SCHEMA_INVALID" if first["type"] == "extra_forbidden" else known
    found = "absent" if first["type"] == "missing" else repr(first["input"])[:200]
    return CorridorRefused(
        reason, f"{place} of the training request is {found}: {first['msg']}", field=place, allowed=_ALLOWED.get(place),
        next_step="ask by run_training, which resolves every reference",
    )  # fmt: skip


_KEYS: Final = ("run_key", "train_request_id")
# What other parts own, and a request must never carry.
_FOREIGN: Final = frozenset({"labels", "active", "rows", "data", "model", "gate_decision", "events", "latest"})
_REASONS: Final = {
    "schema_version": "SCHEMA_INVALID",
    "intent_kind": "INTENT_KIND_UNSUPPORTED",
    "dataset_manifest_refs": "MANIFEST_REF_MISSING",
    "training_config_ref": "CONFIG_REF_MISSING",
    "governance_profile_ref": "GOVERNANCE_PROFILE_MISSING",
    "target_scope": "TARGET_SCOPE_INVALID",
    "policy_revision": "POLICY_REVISION_MISSING",
    "config_revision": "CONFIG_REVISION_MISSING",
    "code_release_id": "CODE_RELEASE_MISSING",
    "provenance.requester": "REQUESTER_MISSING",
}
_ALLOWED: Final = {
    "intent_kind": list(get_args(Intent)),
    "dataset_manifest_refs": "one or more digests of dataset manifests",
    "training_config_ref": "a digest",
    "governance_profile_ref": "a digest",
}
