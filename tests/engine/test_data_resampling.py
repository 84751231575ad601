"""Short steps into longer ones: a sum needs all of them, and what is not measured is never scored."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest

from mcp_forecast_engine.data.columns import ColumnRoles
from mcp_forecast_engine.data.dataset import build_dataset
from mcp_forecast_engine.data.frame import Frame
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.data.reading import read_rows
from mcp_forecast_engine.data.steps import FillGaps, MergeDuplicates, Outliers, Resample
from mcp_forecast_engine.errors import DataInvalid

DAILY_SUM = Resample(freq="D", target="sum")


def hours(count: int, *, absent: Collection[int] = (), unknown: Collection[int] = (), value: float = 10.0) -> Frame:
    """One series from midnight on. absent: hours without a row; unknown: hours whose row has no target."""
    start = np.datetime64("2024-03-04T00:00")
    rows: list[dict[str, Any]] = [
        {"ds": str(start + np.timedelta64(hour, "h")), "y": None if hour in unknown else value}
        for hour in range(count)
        if hour not in absent
    ]
    return build_dataset(read_rows(rows), ColumnRoles(freq="h")).frame


@pytest.mark.parametrize("how", ["absent", "unknown"])
def test_a_sum_that_lacks_an_hour_is_absent_not_smaller(how: str) -> None:
    read = hours(5 * 24, **{how: [*range(50, 61), *range(75, 93)]})
    panel, report = to_panel(read, (MergeDuplicates(), DAILY_SUM, FillGaps(target="last")))
    assert panel.y.tolist() == [240.0] * 5
    assert panel.observed.tolist() == [True, True, False, False, True]
    assert "2 steps of 'D' lack some of their targets and have no sum" in report.steps[1].summary
    with pytest.raises(DataInvalid, match="absent target") as refusal:
        to_panel(read, (MergeDuplicates(), DAILY_SUM))
    assert "fill_gaps first" in str(refusal.value.next_step)


def test_sums_of_filled_hours_are_measured_where_half_of_them_are() -> None:
    read = hours(5 * 24, absent=[*range(50, 61), *range(75, 93)])
    panel, _ = to_panel(read, (FillGaps(target="last"), DAILY_SUM))
    assert panel.y.tolist() == [240.0] * 5
    assert panel.observed.tolist() == [True, True, True, False, True]


def test_a_mean_is_measured_where_half_of_the_hours_are_and_a_last_value_where_it_was() -> None:
    read = hours(3 * 24, absent=range(25, 40))
    assert to_panel(read, (Resample(freq="D", target="mean"),))[0].observed.tolist() == [True, False, True]
    assert to_panel(read, (Resample(freq="D", target="last"),))[0].observed.tolist() == [True, True, True]
    late = hours(3 * 24, absent=range(40, 48))
    filled, _ = to_panel(late, (FillGaps(target="last"), Resample(freq="D", target="last")))
    assert filled.observed.tolist() == [True, False, True]


def test_a_day_without_any_row_is_a_gap_of_the_longer_steps_too() -> None:
    panel, report = to_panel(hours(4 * 24, absent=range(24, 48)), (DAILY_SUM, FillGaps(target="zero")))
    assert panel.y.tolist() == [240.0, 0.0, 240.0, 240.0]
    assert panel.observed.tolist() == [True, False, True, True]
    assert "1 steps of 'D' lack" in report.steps[0].summary


def test_rows_that_share_a_step_have_to_be_merged_before() -> None:
    rows = [{"ds": f"2024-03-0{4 + n // 24}T{n % 24:02d}:00", "y": 1.0} for n in [*range(72), 5]]
    twice = build_dataset(read_rows(rows), ColumnRoles(freq="h")).frame
    with pytest.raises(DataInvalid, match="share a step") as refusal:
        to_panel(twice, (DAILY_SUM,))
    assert "merge_duplicates" in str(refusal.value.next_step)
    assert to_panel(twice, (MergeDuplicates(how="sum"), DAILY_SUM))[0].y.tolist() == [25.0, 24.0, 24.0]


def test_data_that_ends_within_a_longer_step_says_so() -> None:
    panel, report = to_panel(hours(3 * 24 + 5), (DAILY_SUM,))
    assert panel.y.tolist() == [240.0] * 3
    assert ["ends within a step of 'D'" in text for text in report.warnings] == [True]
    assert to_panel(hours(3 * 24), (DAILY_SUM,))[1].warnings == ()


def test_what_was_clipped_is_not_scored() -> None:
    random = np.random.default_rng(0)
    rows = [{"ds": str(np.datetime64("2024-01-01") + d), "y": 50 + float(random.normal())} for d in range(200)]
    rows[150]["y"] = 900.0
    read = build_dataset(read_rows(rows), ColumnRoles(freq="D")).frame
    panel, report = to_panel(read, (Outliers(action="clip"),))
    assert np.flatnonzero(~panel.observed).tolist() == [150]
    assert "never scored" in report.steps[0].summary
    assert to_panel(read, (Outliers(),))[0].observed.all()


def test_interpolation_is_a_caution_only_where_it_filled_something() -> None:
    step = FillGaps(target="interpolate", causal=False)
    _, report = to_panel(hours(72, absent=[30]), (step,))
    assert report.cautions == report.warnings
    assert "later values" in report.cautions[0]
    assert to_panel(hours(72), (step,))[1].cautions == ()


@pytest.mark.parametrize("size", [1e160, 1e31, -1e35, 1e-300, 1e-10])
def test_targets_that_models_cannot_carry_are_refused(size: float) -> None:
    with pytest.raises(DataInvalid, match=r"models carry sizes") as refusal:
        hours(48, value=size)
    assert (refusal.value.field, refusal.value.next_step) == ("target", "rescale the column")


def test_covariates_that_models_would_read_as_infinite_are_refused_by_name() -> None:
    rows = [{"ds": f"2024-03-{n:02d}", "y": float(n), "heat": 1e160 * n} for n in range(1, 20)]
    with pytest.raises(DataInvalid, match="'heat' has values as large as") as refusal:
        build_dataset(read_rows(rows), ColumnRoles(freq="D"))
    assert refusal.value.field == "covariates"


@pytest.mark.parametrize("size", [0.0, 1e-9, 1e29])
def test_targets_that_models_carry_are_taken(size: float) -> None:
    assert to_panel(hours(48, value=size))[0].observed.all()


def test_a_sum_that_grows_too_large_is_refused() -> None:
    with pytest.raises(DataInvalid, match="as large as"):
        to_panel(hours(96, value=1e29), (DAILY_SUM,))
