"""Future rows of a forecast request: put on the grid, coded as the dataset is, refused by name if they do not fit."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from mcp_forecast_engine.data.columns import ColumnRoles, Correction
from mcp_forecast_engine.data.dataset import Dataset, build_dataset
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.future import with_future
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.data.reading import read_rows
from mcp_forecast_engine.errors import CovariatesMismatch, DataInvalid

STORES = ("north", "south")
NAMES = ("price", "weather")


def day(number: int) -> str:
    return (date(2025, 1, 1) + timedelta(days=number)).isoformat()


def row(store: str, number: int) -> dict[str, Any]:
    return {"store": store, "ds": day(number), "price": number + 0.5, "weather": ("rain", "sun")[number % 2]}


@pytest.fixture(scope="module")
def known() -> tuple[Panel, Dataset]:
    rows = [{**row(store, n), "y": float(n % 7)} for store in STORES for n in range(60)]
    corrections = tuple(Correction(name, role="known_future") for name in NAMES)
    dataset = build_dataset(read_rows(rows), ColumnRoles(series=("store",), target="y", covariates=corrections))
    return to_panel(dataset.frame)[0], dataset


def future(known: tuple[Panel, Dataset], rows: list[dict[str, Any]]) -> Panel:
    return with_future(known[0], known[1].schema, rows, 3, NAMES)[0]


def test_rows_in_any_order_land_on_their_series_and_step(known: tuple[Panel, Dataset]) -> None:
    rows = [row(store, 60 + step) for step in (2, 0, 1, 5) for store in reversed(STORES)]
    panel = future(known, rows)
    np.testing.assert_array_equal(panel.future["price"], [[60.5, 61.5, 62.5]] * 2)
    np.testing.assert_array_equal(panel.future["weather"], [[0, 1, 0]] * 2)
    assert panel.future_ds.shape == (2, 3)


def test_an_absent_step_is_named_with_series_and_time(known: tuple[Panel, Dataset]) -> None:
    rows = [row(store, 60 + step) for store in STORES for step in range(3)]
    with pytest.raises(CovariatesMismatch, match=r"'south' at 2025-03-03"):
        future(known, rows[:-2])


def test_rows_at_other_times_are_counted_and_not_used(known: tuple[Panel, Dataset]) -> None:
    rows = [row(store, 60 + step) for store in STORES for step in range(5)]
    panel, left = with_future(known[0], known[1].schema, rows, 3, NAMES)
    assert left == 4
    np.testing.assert_array_equal(panel.future["price"], [[60.5, 61.5, 62.5]] * 2)


@pytest.mark.parametrize("horizon", [1, 3])
def test_rows_finer_than_the_step_are_refused_not_taken_in_part(known: tuple[Panel, Dataset], horizon: int) -> None:
    hours = [
        {**row(store, 60), "ds": f"{day(60 + step)}T{hour:02d}:00:00"}
        for store in STORES
        for step in range(horizon)
        for hour in range(24)
    ]
    with pytest.raises(DataInvalid, match=rf"{46 * horizon} future rows lie between the steps of 'D'") as refusal:
        with_future(known[0], known[1].schema, hours, horizon, NAMES)
    assert "one row per step of 'D'" in str(refusal.value.next_step)


def test_rows_that_all_miss_the_horizon_are_refused_with_the_steps_needed(known: tuple[Panel, Dataset]) -> None:
    rows = [row(store, step) for store in STORES for step in range(3)]
    with pytest.raises(DataInvalid, match=r"none of the 6 future rows lies within the 3 steps") as refusal:
        future(known, rows)
    assert refusal.value.field == "future"
    assert refusal.value.allowed == "every step from 2025-03-02T00:00:00 to 2025-03-04T00:00:00"


def test_an_absent_column_is_named(known: tuple[Panel, Dataset]) -> None:
    rows = [{n: v for n, v in row(s, 60 + k).items() if n != "price"} for s in STORES for k in range(3)]
    with pytest.raises(CovariatesMismatch, match=r"price \(6 values\)"):
        future(known, rows)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weather": "hail"}, "never seen in training"),
        ({"price": "cheap"}, "'price' is 'cheap'"),
        ({"store": "west"}, "'west'"),
        ({"store": None}, "has no store"),
        ({"ds": None}, "has no 'ds'"),
        ({"ds": "soon"}, "ds"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_name(
    known: tuple[Panel, Dataset], change: dict[str, Any], told: str
) -> None:
    rows = [row(store, 60 + step) for store in STORES for step in range(3)]
    with pytest.raises((CovariatesMismatch, DataInvalid), match=told):
        future(known, [{**rows[0], **change}, *rows[1:]])
