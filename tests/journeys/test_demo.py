"""The demo's parts: what is known when, what came true, and the data it ships with."""

from __future__ import annotations

import importlib.util
import sys
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
START = datetime(2012, 12, 25)


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bike_sharing_demo", EXAMPLES / "bike_sharing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_shipped_data_is_whole_small_and_has_its_terms_beside_it(demo: ModuleType) -> None:
    rows = demo.read_rows()
    assert len(rows) == 17_379
    assert (rows[0]["ds"], rows[-1]["ds"]) == ("2011-01-01 00:00", "2012-12-31 23:00")
    assert all(int(row["casual"]) + int(row["registered"]) == int(row["y"]) for row in rows)
    assert demo.DATA.stat().st_size < 300_000
    assert "10.1007/s13748-013-0040-3" in (demo.DATA.parent / "LICENSE-bike-sharing.md").read_text(encoding="utf-8")


def test_what_is_registered_ends_before_the_day_that_is_forecast(demo: ModuleType) -> None:
    rows = demo.rows_before(demo.read_rows(), START)
    assert max(row["ds"] for row in rows) == "2012-12-24 23:00"


def test_the_known_future_holds_every_hour_and_nothing_that_happened(demo: ModuleType) -> None:
    rows = [row for row in demo.read_rows() if row["ds"] != "2012-12-25 03:00"]
    future = demo.future_of(rows, START, ("temp", "holiday"))
    assert [row["ds"] for row in future] == [(START + timedelta(hours=hour)).isoformat() for hour in range(24)]
    assert {name for row in future for name in row} == {"unique_id", "ds", "temp", "holiday"}
    assert future[3]["temp"] == future[2]["temp"]


def test_hours_without_a_row_had_no_rentals(demo: ModuleType) -> None:
    rows = [row for row in demo.read_rows() if row["ds"] != "2012-12-25 03:00"]
    actual = demo.actual_of(rows, START, 24)
    assert len(actual) == 24
    assert actual[3] == 0.0
    assert actual[12] > 0


def test_days_are_joined_in_order_and_errors_are_means(demo: ModuleType) -> None:
    days = [{"unique_id": "bike", "ds": ["a"], "median": [1.0]}, {"unique_id": "bike", "ds": ["b"], "median": [2.0]}]
    assert demo.joined(days) == {"ds": ["a", "b"], "median": [1.0, 2.0]}
    assert demo.mean_absolute_error([1.0, 2.0], [2.0, 5.0]) == 2.0


def test_the_demo_fails_when_covariates_do_not_help(demo: ModuleType) -> None:
    def run(**mase: float) -> dict[str, object]:
        tried = [{"arm": name, "MASE": value, "WQL": value / 4} for name, value in mase.items()]
        return {"result": {"tried": tried, "chosen": "with_covariates"}}

    alone = run(seasonal_naive=1.2, target_only=0.9)
    demo.require_gain(alone, run(seasonal_naive=1.2, target_only=0.9, with_covariates=0.7))
    with pytest.raises(AssertionError):
        demo.require_gain(alone, run(seasonal_naive=1.2, target_only=0.9, with_covariates=0.95))
