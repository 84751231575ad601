"""The data of a training run as a document: which content, as of when, through which features; and its one name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mcp_forecast_engine import ENGINE_RELEASE
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.labels import RESOLUTION_RULE
from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.factory.inputs import Panels
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes, digest, short_id

SCHEMA: Final = "dataset_manifest.v1"
MANIFEST_RECIPE: Final = "dataset_fingerprint.v1"
FEATURES_RECIPE: Final = "feature_set.v1"
FEATURE_SET_VERSION: Final = "1"  # of the code that makes features of columns and steps; another one, other features

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Utc = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$")]
Names = Annotated[tuple[Text, ...], Field(strict=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Basis(_Part):
    """The rows, by content. rows: of all revisions."""

    kind: Literal["content"] = "content"
    dataset_id: Annotated[str, Field(pattern=r"^ds_[0-9a-f]{24}$")]
    digest: Digest
    rows: Annotated[int, Field(ge=1)]


class LabelBasis(_Part):
    """As of when revised values are read, by which rule; None, "as_registered": nothing is revised."""

    label_asof: Utc | None = None
    resolution_rule: Text = "as_registered"
    maturity_days: Annotated[int, Field(ge=0)] | None = None


class Filters(_Part):
    """Which series (None: all), from when to when, both inclusive (None: all there is)."""

    series: Names | None = None
    start: Text | None = None
    end: Text | None = None

    @field_validator("series")
    @classmethod
    def _in_one_order(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if names is None else tuple(sorted(set(names)))


class FeatureSet(_Part):
    """What is made of the rows: columns, preprocessing steps, steps per season, and a calendar of holidays."""

    feature_set_version: Text = FEATURE_SET_VERSION
    covariates: Names
    preprocessing: Annotated[tuple[dict[str, Any], ...], Field(strict=False, min_length=1)]
    season_length: Annotated[int, Field(ge=1)] | None
    holidays: dict[str, Any] | None = None

    @field_validator("covariates")
    @classmethod
    def _in_one_order(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(names)))

    @property
    def feature_set_id(self) -> str:
        """The name of this definition, made from it."""
        return short_id("fs", digest(FEATURES_RECIPE, self.model_dump(mode="json")))


class ManifestProvenance(_Part):
    """Which code and configuration made it; part of the fingerprint, because another release may read otherwise."""

    code_release_id: Text = ENGINE_RELEASE
    config_revision: Text


class DatasetManifest(_Part):
    """Everything that decides which numbers a run trains on; any other value anywhere is another fingerprint."""

    schema_version: Literal["dataset_manifest.v1"] = SCHEMA
    basis: Basis
    label_basis: LabelBasis
    feature_definition_set: FeatureSet
    covariate_schema_hash: Digest | None
    filters: Filters = Filters()
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)]
    provenance: ManifestProvenance

    @property
    def dataset_fingerprint(self) -> str:
        """`sha256:<64 hex>` of all of it but the ids that follow from it."""
        return digest(MANIFEST_RECIPE, self.model_dump(mode="json"))

    @property
    def dataset_manifest_id(self) -> str:
        """The manifest's id: dm_ and the first characters of its fingerprint."""
        return short_id("dm", self.dataset_fingerprint)

    def to_dict(self) -> dict[str, Any]:
        """The manifest as a document, with the ids that follow from it."""
        plain = self.model_dump(mode="json")
        features = {"feature_set_id": self.feature_definition_set.feature_set_id, **plain["feature_definition_set"]}
        ids = {"dataset_manifest_id": self.dataset_manifest_id, "dataset_fingerprint": self.dataset_fingerprint}
        return {**plain, **ids, "feature_definition_set": features}

    def to_bytes(self) -> bytes:
        """The document as it is stored."""
        return canonical_bytes(self.to_dict())

    def plan(self) -> dict[str, Any]:
        """The part of a training plan that names this data; what is not asked for is left out."""
        features, labels, filters = self.feature_definition_set, self.label_basis, self.filters.model_dump(mode="json")
        needed = {
            "dataset_digest": self.basis.digest,
            "covariates": list(features.covariates),
            "preprocessing": list(features.preprocessing),
            "season_length": features.season_length,
        }
        asked = {
            "holidays": features.holidays,
            "label_asof": labels.label_asof,
            "maturity_days": labels.maturity_days,
            "filters": {name: value for name, value in filters.items() if value is not None} or None,
        }
        return needed | {name: value for name, value in asked.items() if value is not None}


def manifest_of(
    summary: Mapping[str, Any], plan: Mapping[str, Any], *, seed: int, config_revision: str
) -> DatasetManifest:
    """The manifest of the data that a plan trains on. summary: of the registered dataset.

    plan: dataset_digest, covariates, preprocessing, season_length, and where asked for holidays, label_asof,
    maturity_days, filters; what else it has is no data. Raises CorridorRefused (MANIFEST_INVALID).
    """
    observed = summary.get("observed")
    label_basis = {name: plan.get(name) for name in ("label_asof", "maturity_days")}
    rule = {} if plan.get("label_asof") is None else {"resolution_rule": RESOLUTION_RULE}
    features = {name: plan.get(name) for name in ("covariates", "preprocessing", "season_length", "holidays")}
    return _checked(
        {
            "basis": {
                "dataset_id": summary["dataset_id"],
                "digest": plan["dataset_digest"],
                "rows": summary["rows"] if observed is None else observed["rows"],
            },
            "label_basis": {**label_basis, **rule},
            "feature_definition_set": features,
            "covariate_schema_hash": summary.get("covariate_schema_hash"),
            "filters": dict(plan.get("filters") or {}),
            "seed": seed,
            "provenance": {"config_revision": config_revision},
        }
    )


def read_manifest(data: bytes) -> DatasetManifest:
    """The manifest that `to_bytes` wrote.

    Raises CorridorRefused: MANIFEST_INVALID for what is none, MANIFEST_IMMUTABILITY_VIOLATION where its ids are not
    those of its content.
    """
    try:
        document = json.loads(data)
        ids = {name: document.pop(name) for name in ("dataset_manifest_id", "dataset_fingerprint")}
        ids["feature_set_id"] = document["feature_definition_set"].pop("feature_set_id")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _invalid(f"the bytes are no dataset manifest: {error}", "dataset_manifest") from error
    found = _checked(document)
    true = {**{name: getattr(found, name) for name in ("dataset_manifest_id", "dataset_fingerprint")},
            "feature_set_id": found.feature_definition_set.feature_set_id}  # fmt: skip
    for name, value in true.items():
        if ids[name] != value:
            raise CorridorRefused(
                "MANIFEST_IMMUTABILITY_VIOLATION", f"the manifest says {name} {ids[name]}, its content has {value}",
                field=name, allowed=value, next_step="make the manifest again: a changed one is another one",
            )  # fmt: skip
    return found


def rebuild(manifest: DatasetManifest, artifacts: ArtifactStore) -> Panel:
    """The panel that a manifest names, made again from the stored rows; the same every time.

    Raises ArtifactCorrupt, DataInvalid, CorridorRefused.
    """
    return Panels().get(manifest.plan(), artifacts)[0]


def _checked(document: Mapping[str, Any]) -> DatasetManifest:
    try:
        return DatasetManifest.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _invalid(f"{place} of the dataset manifest: {first['msg']}", place) from error


def _invalid(what: str, field: str) -> CorridorRefused:
    return CorridorRefused(
        "MANIFEST_INVALID", what, field=field, next_step="run_training makes the manifest of a registered dataset"
    )
