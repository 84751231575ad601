"""The column that says when a row became known: what it may hold, and what is not taken for a revision."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from label_toys import Rows, built, on, revised_rows, row

from mcp_forecast_engine.data.columns import ColumnRoles
from mcp_forecast_engine.data.labels import as_of
from mcp_forecast_engine.errors import DataInvalid


def test_a_target_observed_before_its_time_is_refused_by_row_and_a_plan_is_not() -> None:
    rows = revised_rows()
    built([*rows, row(200, "north", None, seen=-30)])
    with pytest.raises(
        DataInvalid, match=r"1 rows have a target observed before its time: row \d+ is about 2024-01-06"
    ) as refused:
        built([*rows, row(5, "north", 9.0, seen=-0.5)])
    assert refused.value.field == "observed"


def test_revisions_without_the_column_that_tells_them_apart_are_told_to_name_it() -> None:
    rows = [r for r in revised_rows() if r["store"] == "north"]
    twice = [{k: r[k] for k in ("ds", "y", "seen")} for r in rows]
    later = [(datetime.fromisoformat(r["seen"]) + timedelta(days=9)).isoformat() for r in twice]
    twice += [{**r, "seen": seen} for r, seen in zip(twice, later, strict=True)]
    with pytest.raises(DataInvalid, match="'seen' looks like the time when each row became known") as refused:
        built(twice, ColumnRoles(time="ds"))
    assert (refused.value.field, refused.value.allowed) == ("observed", ["seen"])
    assert built(twice, ColumnRoles(time="ds", observed="seen")).observed is not None


def test_rows_that_nobody_observed_are_refused_by_row() -> None:
    rows = revised_rows()
    rows[7]["seen"] = None
    with pytest.raises(DataInvalid, match="observed column 'seen': 1 rows have no time, first row 7") as refused:
        built(rows)
    assert refused.value.field == "observed"


def test_observed_times_with_zones_are_read_in_utc() -> None:
    rows = [{**r, "seen": r["seen"] + "+02:00"} for r in revised_rows()]
    zoned = built(rows)
    plain = built(revised_rows())
    assert zoned.observed is not None
    assert plain.observed is not None
    assert np.array_equal(zoned.observed, plain.observed - 7200)


def test_an_hour_that_comes_twice_is_not_taken_for_a_revision() -> None:
    start = datetime(2024, 10, 20)
    rows = [
        {"ds": f"{start + timedelta(hours=h)}Z", "y": 5.0 + h % 24, "seen": f"{start + timedelta(hours=h + 1)}Z"}
        for h in range(14 * 24)
    ]
    with pytest.raises(DataInvalid, match="clocks were put back") as refused:
        built(rows, ColumnRoles(observed="seen", time_zone="Europe/Berlin"))
    assert refused.value.field == "time_zone"
    assert len(targets_of_hours(rows)) == 14 * 24


def targets_of_hours(rows: Rows) -> np.ndarray:
    return as_of(built(rows, ColumnRoles(observed="seen", time_zone="UTC")), "2024-12-01").frame.y


@pytest.mark.parametrize(
    ("values", "found"), [(lambda n: n + 1, "counts steps"), (lambda n: n % 2 == 0, "true and false")]
)
def test_a_column_without_dates_says_nothing_of_when(values: Any, found: str) -> None:
    rows = [{**r, "seen": values(n)} for n, r in enumerate(revised_rows())]
    with pytest.raises(DataInvalid, match=found):
        built(rows)


def test_a_column_that_only_revisions_change_is_not_static() -> None:
    rows = [{**r, "stock": 5.0 if r["store"] == "north" else 8.0} for r in revised_rows()]
    assert built(rows).schema.names("static") == ("stock",)
    first = next(r for r in rows if r["store"] == "north")
    first["stock"] = 4.0  # of a day that is revised later
    assert "stock" not in built(rows).schema.names("static")


def test_many_revisions_of_few_days_are_not_taken_for_hidden_series() -> None:
    rows = [{"ds": on(n), "y": n + k / 10, "seen": on(n + k)} for n in range(20) for k in range(1, 6)]
    dataset = built(rows, ColumnRoles(observed="seen"))
    assert (dataset.profile.rows, dataset.schema.axis.freq) == (20, "D")
