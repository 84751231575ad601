"""The guards of the data: what leaks in columns is caught, what is sound passes. Revised data: `test_leaking_runs`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_mutants import COLUMNS, LATER, centred, part, told_by
from forecast_toys import panel_of as toy_panel
from label_toys import dataset_of, plan_of, registered, revised_rows
from leaking_runs import rows_of

from mcp_forecast_engine.data.columns import ColumnRoles
from mcp_forecast_engine.data.dataset import Dataset, build_dataset, decode
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.data.reading import read_file
from mcp_forecast_engine.data.registration import DatasetRequest, from_rows
from mcp_forecast_engine.factory.guard import GuardResult
from mcp_forecast_engine.factory.inputs import panel_of
from mcp_forecast_engine.factory.leakage_data import check_columns, check_labels, check_manifest
from mcp_forecast_engine.factory.manifest import DatasetManifest, manifest_of
from mcp_forecast_engine.store.artifacts import ArtifactStore

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
HORIZON = 24


@dataclass(frozen=True)
class Corridor:
    """What a run has in hand when its guards look: the data, the manifest, and the panel that trains."""

    dataset: Dataset
    manifest: DatasetManifest
    panel: Panel

    def result(self, guard: str) -> GuardResult:
        if guard == "labels":
            return check_labels(self.dataset, self.manifest, self.panel, (), HORIZON)
        return check_manifest(self.manifest, self.dataset, self.panel)


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


def corridor(
    artifacts: ArtifactStore, *, trained: dict[str, Any] | None = None, named: dict[str, Any] | None = None
) -> Corridor:
    """A run over the revised data. trained, named: what the panel's plan, and the manifest's, have otherwise."""
    prepared = registered(revised_rows(), artifacts)
    manifest = manifest_of(prepared.summary, plan_of(prepared, **(named or {})), seed=7, config_revision="1")
    dataset = dataset_of(prepared, artifacts)
    return Corridor(dataset, manifest, panel_of(dataset, plan_of(prepared, **(trained or {})))[0])


def read_as_of(manifest: DatasetManifest, label_asof: str) -> DatasetManifest:
    basis = manifest.label_basis.model_copy(update={"label_asof": label_asof})
    return manifest.model_copy(update={"label_basis": basis})


@pytest.mark.parametrize("mutant", COLUMNS)
def test_a_column_that_tells_the_target_is_caught(mutant: str) -> None:
    panel = told_by(**COLUMNS[mutant])
    result = check_columns(panel, tuple(panel.covariates), HORIZON)
    assert (result.name, result.status) == ("columns", "violated"), result.detail


@pytest.mark.parametrize("mutant", COLUMNS)
def test_registration_never_takes_such_a_column_as_known_ahead(mutant: str, artifacts: ArtifactStore) -> None:
    made = from_rows(rows_of(told_by(**COLUMNS[mutant])), DatasetRequest(columns={"series": ["unique_id"]}), artifacts)
    roles = {column["name"]: column["role"] for column in made.summary["covariates"]}
    assert all(roles.get(name, "left out") in ("historical", "left out") for name in COLUMNS[mutant])


@pytest.mark.parametrize("plan", [{}, {"maturity_days": 10}, {"filters": {"series": ["south"], "start": "2024-01-20"}},
                                  {"holidays": {"calendar": "DE", "horizon": 7}}],
                         ids=["plain", "mature", "filtered", "holidays"])  # fmt: skip
def test_an_undisturbed_run_passes_with_every_value_looked_at(plan: dict[str, Any], artifacts: ArtifactStore) -> None:
    run = corridor(artifacts, trained=plan, named=plan)
    for guard in ("labels", "manifest"):
        assert (run.result(guard).status, run.result(guard).checked) == ("passed", len(run.panel.y))


def test_a_plan_that_says_otherwise_is_caught_where_the_bytes_are_the_same(artifacts: ArtifactStore) -> None:
    run = corridor(artifacts)
    plan = {**run.manifest.plan(), "horizon": 7}
    assert check_manifest(run.manifest, run.dataset, run.panel, plan).passed
    later = {**plan, "label_asof": "2024-03-02T00:00:01Z"}
    assert check_manifest(run.manifest, run.dataset, run.panel, later).status == "violated"


def test_data_without_observed_times_has_nothing_late(artifacts: ArtifactStore) -> None:
    prepared = registered([r for r in revised_rows() if r["y"] is not None], artifacts, observed=None, drop=["seen"])
    plan = plan_of(prepared, label_asof=None)
    dataset = decode(artifacts.get(prepared.digest))
    run = Corridor(
        dataset, manifest_of(prepared.summary, plan, seed=0, config_revision="1"), panel_of(dataset, plan)[0]
    )
    assert (run.result("labels").status, run.result("labels").checked) == ("nothing to check", 0)
    named = run.manifest.model_copy(
        update={"label_basis": run.manifest.label_basis.model_copy(update={"label_asof": LATER})}
    )
    assert replace(run, manifest=named).result("labels").status == "violated"
    assert run.result("manifest").status == "passed"


def test_a_column_may_be_trusted_less_than_the_data_says(artifacts: ArtifactStore) -> None:
    run = corridor(artifacts)
    less = replace(run, panel=replace(run.panel, roles={**run.panel.roles, "promo": "historical"}))
    assert run.panel.roles["promo"] == "known_future"
    assert less.result("manifest").status == "passed"


def test_a_manifest_that_cannot_be_made_again_is_a_violation(artifacts: ArtifactStore) -> None:
    run = corridor(artifacts)
    run = replace(run, manifest=read_as_of(run.manifest, "2020-01-01T00:00:00Z"))
    assert run.result("manifest").status == "violated"
    assert run.result("labels").status == "violated"


def test_only_what_the_model_reads_is_held_against_it() -> None:
    panel = told_by(**COLUMNS["target_copy"])
    assert check_columns(panel, ("driver", "past", "kind"), HORIZON).passed
    assert (
        check_columns(panel, ("driver", "scaled"), HORIZON).detail
        == "known_future covariate 'scaled' is a copy of the target"
    )


def test_the_past_of_what_the_target_is_made_of_is_no_leak() -> None:
    panel = told_by(casual=("historical", part), registered=("historical", lambda y: y - part(y)))
    assert check_columns(panel, tuple(panel.covariates), HORIZON).passed


def test_what_was_known_a_horizon_ago_is_no_leak() -> None:
    panel = told_by(last_week=("known_future", lambda y: np.append(y[:168], y[:-168])))
    assert check_columns(panel, tuple(panel.covariates), HORIZON).passed
    panel = told_by(today=("known_future", lambda y: np.append(y[:12], y[:-12])))
    assert not check_columns(panel, tuple(panel.covariates), HORIZON).passed


@pytest.mark.parametrize(("role", "caught"), [("known_future", True), ("historical", False)])
def test_a_trailing_average_gives_away_only_what_is_read_ahead(role: str, caught: bool) -> None:
    panel = told_by(
        trail=(role, lambda y: np.convolve(np.pad(y, (7, 0), mode="edge"), np.full(8, 1 / 8), mode="valid"))
    )
    assert check_columns(panel, tuple(panel.covariates), HORIZON).passed != caught


@pytest.mark.parametrize("role", ["known_future", "historical"])
@pytest.mark.parametrize("width", [3, 25, 101])
def test_a_centred_average_of_any_width_is_caught_though_rounded_for_print(role: str, width: int) -> None:
    panel = told_by(smooth=(role, lambda y: np.round(centred(width)(y), 1)))
    found = check_columns(panel, tuple(panel.covariates), HORIZON)
    assert not found.passed
    assert "'smooth'" in found.detail


def test_columns_that_repeat_themselves_as_the_target_does_are_no_leak() -> None:
    hour = np.arange(1200)
    y = 100 + 20 * np.sin(2 * np.pi * hour / 24)
    known = {"phase": [np.cos(2 * np.pi * hour / 24)], "hour": [hour % 24.0], "day": [hour // 24 % 7.0]}
    panel = toy_panel([y], season_length=24, known_future=known)
    assert check_columns(panel, tuple(panel.covariates), 100).passed


@pytest.mark.skipif(not SHARED.exists(), reason="the public series lie beside the checkout only")
@pytest.mark.parametrize("name", ["bike_sharing_hourly", "epf_np", "epf_de", "epf_pjm", "walmart_weekly_sales"])
def test_public_data_raises_no_alarm_though_its_forecasts_are_close_to_the_target(name: str) -> None:
    dataset = build_dataset(read_file((SHARED / f"{name}.parquet").read_bytes(), "parquet"), ColumnRoles())
    panel, _ = to_panel(dataset.frame)
    leaks = ("casual", "registered")
    known = {n: "known_future" if r == "historical" and n not in leaks else r for n, r in panel.roles.items()}
    assert check_columns(replace(panel, roles=known), tuple(panel.covariates), HORIZON).status == "passed"
