"""Columns that give the target away are caught: copies, rounded copies, sums, and copies of another step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcp_forecast_engine.data.columns import ColumnRoles, Correction
from mcp_forecast_engine.data.dataset import Dataset, build_dataset
from mcp_forecast_engine.data.leaks import leaking_columns
from mcp_forecast_engine.data.reading import Column, Table, read_file, read_rows
from mcp_forecast_engine.data.shifts import leading_columns, shifted_copies
from mcp_forecast_engine.errors import DataInvalid

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
shared = pytest.mark.skipif(not SHARED.exists(), reason="the public series lie beside the checkout only")
CHANCE = np.random.default_rng(5)
ONE = np.array([0, 300])


def series(count: int = 300) -> np.ndarray:
    """Counts with a weekly season."""
    t = np.arange(count)
    return np.round(50 + 20 * np.sin(2 * np.pi * t / 7) + CHANCE.normal(0, 6, count))


def built(y: np.ndarray, *corrections: Correction, **columns: np.ndarray) -> Dataset:
    days = [str(np.datetime64("2024-01-01") + i) for i in range(len(y))]
    table = {"ds": days, "y": y.tolist(), **{name: values.tolist() for name, values in columns.items()}}
    rows = [
        {name: None if value != value else value for name, value in zip(table, row, strict=True)}
        for row in zip(*table.values(), strict=True)
    ]
    return build_dataset(read_rows(rows), ColumnRoles(covariates=corrections))


def test_a_copy_is_found_scaled_rounded_and_with_holes() -> None:
    y = series()
    holes = y.copy()
    holes[::25] = np.nan
    columns = {"thousands": np.round(y / 1000 + 7, 5), "holes": holes, "near": y + CHANCE.normal(0, 1, 300)}
    found = leaking_columns(y, columns)
    assert found == dict.fromkeys(("thousands", "holes"), "is a copy of the target")


def test_the_target_less_another_column_is_found_though_both_have_holes() -> None:
    y = series()
    other = np.round(CHANCE.gamma(2, 10, 300))
    less = y - other
    less[7::31], other[9::37] = np.nan, np.nan
    found = leaking_columns(y, {"other": other, "less": less, "heat": CHANCE.normal(size=300)})
    assert set(found) == {"less", "other"}
    assert "less and other" in found["less"]


@pytest.mark.parametrize("lead", [1, 2, 24])
def test_a_column_that_shows_later_targets_is_left_out_by_name(lead: int) -> None:
    y = series()
    ahead = np.append(y[lead:], [np.nan] * lead)
    data = built(y, peek=3 * ahead + 1, heat=CHANCE.normal(size=300))
    assert [covariate.name for covariate in data.schema.covariates] == ["heat"]
    assert any(f"'peek' is the target {lead} steps later" in warning for warning in data.schema.warnings)
    with pytest.raises(DataInvalid, match=f"'peek' is the target {lead} steps later") as refusal:
        built(y, Correction("peek", role="historical"), peek=ahead)
    assert refusal.value.field == "covariates"


def test_a_lead_is_found_within_each_series_and_in_spite_of_corrected_rows() -> None:
    first, second = series(), series()
    y = np.concatenate([first, second])
    peek = np.concatenate([np.append(part[1:], np.nan) for part in (first, second)])
    peek[50] += 3
    assert leading_columns(y, np.array([0, 300, 600]), {"peek": peek}) == {"peek": 1}


def test_lags_and_columns_that_the_past_explains_as_well_are_no_leads() -> None:
    y = series()
    lag = np.concatenate([np.full(7, np.nan), y[:-7]])
    turn = np.tile([1.0, 4.0, 2.0, 8.0, 5.0, 7.0, 3.0], 43)[:300]
    assert leading_columns(y, ONE, {"lag": lag}) == {}
    assert leading_columns(turn, ONE, {"early": np.roll(turn, -1)}) == {}
    assert shifted_copies(y, ONE, {"lag": lag}, np.arange(-1, -24, -1)) == {"lag": -7}


def test_sparse_flags_are_not_taken_for_the_target_of_another_step() -> None:
    y = np.where(CHANCE.random(300) < 0.03, CHANCE.integers(1, 9, 300), 0).astype(float)
    flags = {f"flag{i}": (CHANCE.random(300) < 0.03).astype(float) for i in range(8)}
    assert leading_columns(y, ONE, flags) == {}


def test_a_copy_or_the_total_of_wide_targets_is_held_back() -> None:
    days = [str(np.datetime64("2024-01-01") + i) for i in range(300)]
    north, south = series(), series()
    columns = {"ds": days, "north": north, "south": south, "all": north + south, "twin": south * 2, "heat": series()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    request = ColumnRoles(wide=("north", "south"))
    schema = build_dataset(read_rows(rows), request).schema
    assert {c.name for c in schema.covariates if "would leak" in c.reason} == {"all", "twin"}
    with pytest.raises(DataInvalid, match="'all' cannot be known_future"):
        build_dataset(
            read_rows(rows), ColumnRoles(wide=request.wide, covariates=(Correction("all", role="known_future"),))
        )


@shared
def test_the_bike_data_leaks_in_every_way_and_each_is_caught() -> None:
    table = read_file((SHARED / "bike_sharing_hourly.parquet").read_bytes(), "parquet")
    y = table.columns["y"].values
    made = {"later": np.append(y[1:], np.nan), "rest": y - table.columns["casual"].values}
    columns = {**table.columns, **{name: Column("number", values) for name, values in made.items()}}
    schema = build_dataset(Table(columns, table.rows), ColumnRoles()).schema
    assert {c.name for c in schema.covariates if "would leak" in c.reason} == {"casual", "registered", "rest"}
    assert "later" not in {c.name for c in schema.covariates}
    assert {c.name for c in schema.covariates if c.role == "known_future"} == {"holiday", "season", "workingday"}
