"""What the documents of a publication must hold to be read at all: the parts that are relied on, with their types.

A result, a receipt or a bundle.json may come from a row or a folder that somebody changed; what is none is refused by
the first place that differs, before anything else is asked of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mcp_forecast_engine.factory.train_request import Digest, TargetScope, Text

# A name that stays in its folder, on every system.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]


class Shape(BaseModel):
    """A JSON object; fields that are not named here are not looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _File(Shape):
    name: FileName
    size: Annotated[int, Field(ge=0)]
    sha256: Digest


class _Run(Shape):
    ref: Text
    digest: Digest


class _BundleRefs(Shape):
    run: _Run
    run_key: Digest
    train_build_request: Digest
    resolved_plan: Digest
    dataset_manifests: Annotated[list[Digest], Field(min_length=1)]
    training_config: Digest
    governance_profile: Digest
    eval_report: Digest
    evidence_pack: Digest
    gate_receipt: Digest


class _Provenance(Shape):
    code_release_id: Text
    config_revision: Text
    policy_revision: Text


class BundleShape(Shape):
    """A bundle.json."""

    schema_version: Literal["bundle.v1"]
    bundle_id: Text
    version: Text
    kind: Literal["forecast"]
    files: Annotated[list[_File], Field(min_length=1)]
    compatibility: dict[str, Any]
    target_scope: TargetScope
    refs: _BundleRefs
    provenance: _Provenance


class _Eligibility(Shape):
    decision: str
    reason_codes: list[str]


class _Profile(Shape):
    name: Text
    revision: Text


class ReceiptShape(Shape):
    """A gate's receipt. evidence_refs: digests of files, by their names without the ending."""

    run_key: Digest
    run_id: str
    gate_decision: str
    profile: _Profile
    eval_report_id: str
    evidence_refs: Annotated[dict[str, Digest], Field(min_length=1)]
    eligibility: _Eligibility


class _Features(Shape):
    feature_set_id: Text
    feature_set_version: Text


class ManifestShape(Shape):
    """A dataset manifest."""

    feature_definition_set: _Features


class _Artifact(Shape):
    name: FileName
    digest: Digest


class _InputSpec(Shape):
    digest: Digest


class _Serving(Shape):
    covariate_schema_hash: str
    input_spec: _InputSpec
    horizon: Annotated[int, Field(ge=1)]
    target: str
    freq: str
    data_freq: str
    model: Digest


class _Rule(Shape):
    rule: str
    means: str
    passed: bool
    limit: dict[Literal["min", "max"], float]
    measured: float | None = None


class _Gate(Shape):
    decision: str
    rules: list[_Rule]


class _Trust(Shape):
    verdict: Text


class ResultShape(Shape):
    """What a training run leaves. refs: held against what a bundle needs where they are read."""

    gate: _Gate
    trust: _Trust
    refs: dict[str, Any]
    artifacts: list[_Artifact]
    serving: _Serving


# The reason of each document that is not what it has to be.
SHAPES: Final[Mapping[str, tuple[type[Shape], str]]] = {
    "result": (ResultShape, "BUNDLE_PUBLICATION_INVALID"),
    "train_build_request": (Shape, "REQUEST_INVALID"),  # `admit` says the rest
    "dataset_manifest": (ManifestShape, "MANIFEST_INVALID"),
    "eval_report": (Shape, "EVAL_REPORT_INVALID"),  # its id says the rest
    "gate_receipt": (ReceiptShape, "GATE_INVALID"),
}


def fault(shape: type[Shape], document: Any) -> str | None:
    """The first place of a document that has another shape, in words; None: it has this one."""
    try:
        shape.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        found = "absent" if first["type"] == "missing" else repr(first["input"])[:100]
        return f"{place} is {found}: {first['msg']}"
    return None
