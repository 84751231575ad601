"""A target behind a curve, rounding, noise, gaps, a factor or an average is found; honest columns are left alone."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from forecast_toys import panel_of

from mcp_forecast_engine.data.columns import ColumnRoles, Correction
from mcp_forecast_engine.data.composed import newest_target
from mcp_forecast_engine.data.dataset import Dataset, build_dataset
from mcp_forecast_engine.data.demotion import close_to_target
from mcp_forecast_engine.data.leaks import leaking_columns, suspects
from mcp_forecast_engine.data.likeness import evidence, told
from mcp_forecast_engine.data.reading import read_file, read_rows
from mcp_forecast_engine.data.shifts import leading_columns
from mcp_forecast_engine.errors import DataInvalid

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
shared = pytest.mark.skipif(not SHARED.exists(), reason="the public series lie beside the checkout only")
COUNT = 500
Floats = np.ndarray


def sales(seed: int = 5, count: int = COUNT) -> Floats:
    """Hundreds, with a weekly season and weather that stays for some days."""
    draw, t = np.random.default_rng(seed), np.arange(count)
    heat = 20 + 8 * np.sin(t / 9) + draw.normal(0, 2, count)
    return np.round(100 + 15 * (t % 7 > 4) + 3 * heat + draw.normal(0, 3, count), 2)


def built(declared: bool, **columns: Floats) -> Dataset:
    days = [str(np.datetime64("2024-01-01") + i) for i in range(COUNT)]
    table = {"ds": days, "y": sales().tolist(), **{name: values.tolist() for name, values in columns.items()}}
    rows = [
        {name: None if value != value else value for name, value in zip(table, row, strict=True)}
        for row in zip(*table.values(), strict=True)
    ]
    known = tuple(Correction(name, role="known_future") for name in columns) if declared else ()
    return build_dataset(read_rows(rows), ColumnRoles(target="y", covariates=known))


ODD = np.arange(COUNT) % 2 == 1
NOISE = np.random.default_rng(1).normal(size=COUNT)
COPIES: dict[str, Callable[[Floats], Floats]] = {
    "cut to whole numbers": np.floor,
    "its logarithm": lambda y: np.round(np.log(y), 5),
    "its root": lambda y: np.round(np.sqrt(y), 4),
    "falling with it": lambda y: np.round(1e4 / y, 3),
    "a little noise": lambda y: np.round(y + 0.5 * NOISE, 2),
    "every second value": lambda y: np.where(ODD, y, np.nan),
    "the last seven days, today among them": lambda y: np.convolve(y, np.ones(7) / 7)[:COUNT],
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())
def test_a_target_in_disguise_is_refused_as_known_ahead_and_kept_as_historical(
    copy: Callable[[Floats], Floats],
) -> None:
    with pytest.raises(DataInvalid, match="'plan' cannot be known_future: it"):
        built(True, plan=copy(sales()))
    schema = built(False, plan=copy(sales())).schema
    assert schema.names("historical") == ("plan",)
    assert any("'plan'" in warning and "would leak" in warning for warning in schema.warnings)


def test_a_centred_average_is_left_out_because_its_past_shows_the_future_too() -> None:
    average = np.round(np.convolve(sales(), np.ones(7) / 7, "same"), 3)
    with pytest.raises(DataInvalid, match="'smooth' is made of targets up to 3 steps later"):
        built(True, smooth=average)
    schema = built(False, smooth=average).schema
    assert schema.covariates == ()
    assert any("'smooth' is made of targets up to 3 steps later: left out" in warning for warning in schema.warnings)


def test_rounded_parts_of_a_total_are_found_two_and_three_of_them() -> None:
    draw, y = np.random.default_rng(2), sales()
    first, second = np.round(0.3 * y + draw.normal(0, 8, COUNT)), np.round(draw.gamma(4, 6, COUNT))
    two = leaking_columns(y, {"a": first, "rest": np.round(y - first), "heat": draw.normal(size=COUNT)})
    assert two == dict.fromkeys(("a", "rest"), "adds up to the target (a and rest)")
    three = leaking_columns(y, {"a": first, "b": second, "rest": np.round(y - first - second), "other": NOISE})
    assert set(three) == {"a", "b", "rest"}


@pytest.mark.parametrize("steps", [3, 50])
def test_revenue_gives_the_quantity_away_beside_the_price_and_the_price_stays(steps: int) -> None:
    draw, y = np.random.default_rng(3), sales()
    price = 2 + np.round(draw.integers(0, steps, COUNT) / steps, 2)
    found = leaking_columns(y, {"price": price, "revenue": np.round(price * y, 1), "heat": NOISE})
    assert set(found) == {"revenue"}
    assert "price" in found["revenue"]
    total = leaking_columns(price * y, {"price": price, "units": y, "heat": NOISE}, season_length=7)
    assert set(total) == {"units"}


def test_what_is_nearly_the_target_is_named_at_registration_and_as_a_caution() -> None:
    close = sales() + NOISE
    schema = built(True, plan=close).schema
    assert schema.names("known_future") == ("plan",)
    (warning,) = [warning for warning in schema.warnings if "'plan'" in warning]
    assert "explains 9" in warning
    assert "make sure that it is known ahead" in warning
    assert not any("'plan'" in warning for warning in built(False, plan=close).schema.warnings)
    panel = panel_of([sales()], season_length=7, known_future={"plan": [close]})
    assert len(close_to_target(panel)) == 1
    assert close_to_target(panel, keep=("plan",)) == ()


@pytest.mark.parametrize("strength", [0.9, 0.95])
@pytest.mark.parametrize(("series", "count", "season"), [(1, 108, 12), (1, 500, 7), (1, 2_000, 24), (20, 143, 52)])
def test_strong_honest_columns_are_left_alone(strength: float, series: int, count: int, season: int) -> None:
    offsets = np.arange(series + 1) * count
    for seed in range(5):
        draw = np.random.default_rng(seed)
        known = draw.normal(size=series * count)
        promotion = (draw.random(series * count) < 0.2).astype(float)
        noise = draw.normal(size=series * count) * np.sqrt((1 - strength) / strength)
        swing = 10 * np.sin(2 * np.pi * np.arange(series * count) / season)
        for y in (50 + 5 * (known + noise), 50 + swing + 5 * (known + noise), 50 + 80 * promotion + 5 * noise):
            columns = {"known": known, "promotion": promotion, "square": known**2, "other": draw.normal(size=len(y))}
            assert leaking_columns(y, columns, offsets, season) == {}
            assert suspects(y, columns, offsets, season) == {}
            assert newest_target(y, offsets, columns) == {}


def test_a_copy_within_each_series_is_found_and_a_level_between_series_is_none() -> None:
    offsets, draw = np.arange(21) * 100, np.random.default_rng(6)
    level = np.repeat(draw.uniform(10, 1_000, 20), 100)
    y = level * np.exp(0.1 * draw.normal(size=2_000))
    shown = evidence(y, offsets, 7)
    assert told(shown, np.log(y / level)) == 1.0
    assert told(shown, level + draw.normal(size=2_000)) < 0.1
    assert told(shown, np.full(2_000, np.nan)) == 0.0


def columns_of(path: Path) -> dict[str, Floats]:
    if path.suffix == ".gz":
        with gzip.open(path, "rt") as file:
            rows = list(csv.DictReader(file))
        return {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name != "date"}
    table = read_file(path.read_bytes(), "parquet")
    return {name: column.values for name, column in table.columns.items() if column.kind in ("number", "boolean")}


@shared
@pytest.mark.parametrize("name", ["epf_np.parquet", "epf_pjm.parquet", "epf_de.parquet", "ETTh1.csv.gz"])
def test_no_column_of_public_data_is_taken_for_another_in_disguise(name: str) -> None:
    columns = {column: values.astype(np.float64) for column, values in columns_of(SHARED / name).items()}
    for target, y in columns.items():
        others, offsets = {other: columns[other] for other in columns if other != target}, np.array([0, len(y)])
        assert leaking_columns(y, others, offsets, 24) == {}
        assert suspects(y, others, offsets, 24) == {}
        assert newest_target(y, offsets, others) == {}
        assert leading_columns(y, offsets, others) == {}
