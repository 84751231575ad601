"""The manifest of a run's data: what changes its fingerprint, what it is made again into, and what is no manifest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_toys import ASOF, plan_of, registered, revised_rows
from panel_content import panel_digest

from mcp_forecast_engine.data.steps import DEFAULT_STEPS, FillGaps, step_to_dict
from mcp_forecast_engine.errors import CorridorRefused, DataInvalid
from mcp_forecast_engine.factory.inputs import Panels
from mcp_forecast_engine.factory.manifest import DatasetManifest, manifest_of, read_manifest, rebuild
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes, digest_of_bytes

VECTORS = json.loads((Path(__file__).parent / "golden" / "dataset_manifests.json").read_text())
OTHER = "sha256:" + "b" * 64
ZEROS = [step_to_dict(step) for step in (DEFAULT_STEPS[0], FillGaps(target="zero"), *DEFAULT_STEPS[2:])]
# Every field of a manifest, and another value of it.
FIELDS: dict[str, Any] = {
    "schema_version": None,  # a const: another one is another kind of document
    "basis.kind": None,
    "basis.dataset_id": "ds_" + "1" * 24,
    "basis.digest": OTHER,
    "basis.rows": 1,
    "label_basis.label_asof": "2024-03-02T00:00:01Z",
    "label_basis.resolution_rule": "oldest_observed.v1",
    "label_basis.maturity_days": 3,
    "feature_definition_set.feature_set_version": "2",
    "feature_definition_set.covariates": ("promo",),
    "feature_definition_set.preprocessing": tuple(ZEROS),
    "feature_definition_set.season_length": 14,
    "feature_definition_set.holidays": {"calendar": "DE", "horizon": 7},
    "covariate_schema_hash": OTHER,
    "filters.series": ("north",),
    "filters.start": "2024-01-02",
    "filters.end": "2024-02-02",
    "seed": 8,
    "provenance.code_release_id": "9.9.9",
    "provenance.config_revision": "2",
}


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


def made(artifacts: ArtifactStore, **plan: Any) -> DatasetManifest:
    prepared = registered(revised_rows(), artifacts)
    return manifest_of(prepared.summary, plan_of(prepared, **plan), seed=7, config_revision="1")


def changed(manifest: DatasetManifest, field: str, value: Any) -> DatasetManifest:
    first, _, second = field.partition(".")
    part = getattr(manifest, first).model_copy(update={second: value}) if second else value
    return manifest.model_copy(update={first: part})


def flat(plain: dict[str, Any], *ids: str) -> set[str]:
    nested = {name: value for name, value in plain.items() if name in PARTS}
    names = {f"{name}.{inner}" for name, value in nested.items() for inner in value if inner not in ids}
    return names | {name for name in plain if name not in PARTS and name not in ids}


PARTS = ("basis", "label_basis", "feature_definition_set", "filters", "provenance")
IDS = ("dataset_manifest_id", "dataset_fingerprint", "feature_set_id")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_fingerprints_are_what_they_were(vector: dict[str, Any]) -> None:
    data = canonical_bytes(vector["document"])
    found = read_manifest(data)
    features = found.feature_definition_set.feature_set_id
    assert [found.dataset_fingerprint, found.dataset_manifest_id, features, digest_of_bytes(data)] == vector["keys"]
    assert found.to_bytes() == data


def test_every_field_is_tried(artifacts: ArtifactStore) -> None:
    assert flat(made(artifacts).to_dict(), *IDS) == set(FIELDS)


@pytest.mark.parametrize("field", [name for name, value in FIELDS.items() if value is not None])
def test_another_value_anywhere_is_another_manifest(field: str, artifacts: ArtifactStore) -> None:
    manifest = made(artifacts)
    other = changed(manifest, field, FIELDS[field])
    assert other.dataset_fingerprint != manifest.dataset_fingerprint
    assert other.dataset_manifest_id != manifest.dataset_manifest_id
    same = other.feature_definition_set.feature_set_id == manifest.feature_definition_set.feature_set_id
    assert same != field.startswith("feature_definition_set")


@pytest.mark.parametrize(
    "plan",
    [{}, {"maturity_days": 20}, {"filters": {"series": ["south"], "start": "2024-01-08", "end": "2024-02-20"}},
     {"holidays": {"calendar": "DE", "horizon": 7}}, {"preprocessing": ZEROS, "covariates": []}],
    ids=["plain", "mature", "filtered", "holidays", "other steps"],
)  # fmt: skip
def test_made_again_it_has_the_same_fingerprint_and_the_same_panel(
    plan: dict[str, Any], artifacts: ArtifactStore, tmp_path: Path
) -> None:
    prepared = registered(revised_rows(), artifacts)
    trained = Panels().get(plan_of(prepared, **plan), artifacts)[0]
    stored = read_manifest(made(artifacts, **plan).to_bytes())
    elsewhere = ArtifactStore(tmp_path / "elsewhere")
    assert registered(revised_rows()[::-1], elsewhere).digest == prepared.digest
    again = rebuild(stored, elsewhere)
    assert panel_digest(again) == panel_digest(trained)
    assert made(elsewhere, **plan).dataset_fingerprint == stored.dataset_fingerprint


def test_the_order_of_names_is_no_other_manifest(artifacts: ArtifactStore) -> None:
    one, other = (made(artifacts, covariates=names) for names in (["promo", "stock"], ["stock", "promo", "stock"]))
    assert one.dataset_fingerprint == other.dataset_fingerprint


def test_a_filter_keeps_the_series_and_the_days_it_names(artifacts: ArtifactStore) -> None:
    filters = {"series": ["south"], "start": "2024-01-08", "end": "2024-02-20"}
    panel = rebuild(made(artifacts, filters=filters), artifacts)
    assert panel.unique_id == ("south",)
    assert [str(np.datetime64(int(ds), "s"))[:10] for ds in panel.ds[[0, -1]]] == ["2024-01-08", "2024-02-20"]


@pytest.mark.parametrize("filters", [{"series": ["west"]}, {"start": "2030-01-01"}, {"end": "soon"}])
def test_a_filter_that_leaves_nothing_or_names_nothing_is_refused(
    filters: dict[str, Any], artifacts: ArtifactStore
) -> None:
    with pytest.raises(DataInvalid):
        rebuild(made(artifacts, filters=filters), artifacts)


@pytest.mark.parametrize("name", ["y", "observed", "ds", "covariates", "roles", "future", "season_length", "unique_id"])
def test_a_panel_that_differs_anywhere_has_another_digest(name: str, artifacts: ArtifactStore) -> None:
    panel = rebuild(made(artifacts, label_asof="2024-04-13T00:00:00Z"), artifacts)
    promo = panel.future["promo"].copy()
    promo[0, -1] += 1
    other = {
        "y": np.append(panel.y[:-1], panel.y[-1] + 1e-9),
        "observed": np.append(~panel.observed[:1], panel.observed[1:]),
        "ds": panel.ds + 1,
        "covariates": {**panel.covariates, "stock": panel.covariates["stock"] + 1},
        "roles": {**panel.roles, "stock": "known_future"},
        "future": {**panel.future, "promo": promo},
        "season_length": 8,
        "unique_id": ("north", "west"),
    }
    assert panel_digest(replace(panel, **{name: other[name]})) != panel_digest(panel)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("dataset_fingerprint", OTHER, "MANIFEST_IMMUTABILITY_VIOLATION"),
        ("dataset_manifest_id", "dm_" + "0" * 24, "MANIFEST_IMMUTABILITY_VIOLATION"),
        ("seed", 8, "MANIFEST_IMMUTABILITY_VIOLATION"),
        ("schema_version", "dataset_manifest.v0", "MANIFEST_INVALID"),
        ("seed", -1, "MANIFEST_INVALID"),
        ("surprise", 1, "MANIFEST_INVALID"),
        ("basis", {}, "MANIFEST_INVALID"),
        ("feature_definition_set", None, "MANIFEST_INVALID"),
    ],
)
def test_what_is_no_manifest_is_refused_by_its_reason(
    name: str, value: Any, reason: str, artifacts: ArtifactStore
) -> None:
    document = {**made(artifacts).to_dict(), name: value}
    with pytest.raises(CorridorRefused) as refused:
        read_manifest(canonical_bytes(document))
    assert refused.value.reason == reason


def test_a_manifest_says_as_of_when_by_which_rule_and_of_how_many_rows(artifacts: ArtifactStore) -> None:
    document = made(artifacts).to_dict()
    assert document["label_basis"]["label_asof"] == ASOF
    assert document["label_basis"]["resolution_rule"] == "newest_observed.v1"
    assert document["basis"]["rows"] == len(revised_rows())
    assert document["dataset_manifest_id"].startswith("dm_")
