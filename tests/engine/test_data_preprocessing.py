"""From frames as they were read to panels: what is filled, what is reported, and that nothing looks ahead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mcp_forecast_engine.data.dataset import build_dataset
from mcp_forecast_engine.data.frame import Frame, Panel
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.data.reading import read_file, read_rows
from mcp_forecast_engine.data.schema import ColumnRoles, Correction
from mcp_forecast_engine.data.steps import (
    DEFAULT_STEPS,
    FillCovariates,
    FillGaps,
    MergeDuplicates,
    Outliers,
    Resample,
    step_from_dict,
    step_to_dict,
)
from mcp_forecast_engine.errors import DataInvalid

BIKE = Path(__file__).resolve().parents[3] / "shared" / "data" / "bike_sharing_hourly.parquet"


def day(number: int) -> str:
    return str(np.datetime64("2024-01-01") + number)


def frame(rows: list[dict[str, Any]], **request: Any) -> Frame:
    return build_dataset(read_rows(rows), ColumnRoles(**{"freq": "D", **request})).frame


def daily(values: Mapping[int, float | None], **columns: Any) -> Frame:
    """One series: day number → target, covariates as day number → value."""
    rows = [{"ds": day(d), "y": y, **{n: c.get(d) for n, c in columns.items()}} for d, y in values.items()]
    return frame(rows)


def test_the_bike_hours_that_are_absent_become_zero_rentals_in_the_weather_before() -> None:
    if not BIKE.exists():
        pytest.skip("the public series lie beside the checkout only")
    read = build_dataset(read_file(BIKE.read_bytes(), "parquet"), ColumnRoles()).frame
    panel, report = to_panel(read)
    assert panel.lengths.tolist() == [17_544]
    assert panel.season_length == 24
    assert (~panel.observed).sum() == 165
    assert not panel.y[~panel.observed].any()
    at = np.flatnonzero(~panel.observed)
    assert np.array_equal(panel.covariates["temp"][at], panel.covariates["temp"][at - 1])
    filled = next(record for record in report.steps if record.step["kind"] == "fill_gaps")
    assert (filled.changed, filled.first[0].ds, filled.first[0].after) == (165, "2011-01-02T05:00:00", 0.0)
    assert json.loads(json.dumps(report.to_dict()))["steps"][0]["step"]["kind"] == "merge_duplicates"


def test_a_gap_is_filled_with_the_same_day_of_the_week_before_it() -> None:
    panel, _ = to_panel(daily({d: 10.5 + d for d in range(20) if d not in (9, 15, 16)}))
    assert panel.y[[9, 15, 16]].tolist() == [12.5, 18.5, 12.5]  # day 16: day 9 is filled itself, so day 2
    assert np.flatnonzero(~panel.observed).tolist() == [9, 15, 16]


def test_without_a_season_before_it_a_gap_keeps_the_last_value() -> None:
    panel, _ = to_panel(daily({0: 5.5, 1: 6.5, 4: 7.5}))
    assert panel.y.tolist() == [5.5, 6.5, 6.5, 6.5, 7.5]


def test_a_row_without_a_target_is_unknown_but_an_absent_row_of_a_count_series_is_zero() -> None:
    counts = {d: float(d % 4) for d in range(30) if d != 20}
    panel, _ = to_panel(daily({**counts, 25: None}))
    assert panel.y[20] == 0
    assert panel.y[25] == counts[18]


@pytest.mark.parametrize(
    ("target", "causal", "expected"), [("zero", True, 0.0), ("last", True, 9.5), ("interpolate", False, 10.5)]
)
def test_the_way_to_fill_can_be_told(target: Any, causal: bool, expected: float) -> None:
    steps = (FillGaps(target=target, causal=causal),)
    assert to_panel(daily({d: 0.5 + d for d in range(12) if d != 10}), steps)[0].y[10] == expected


def test_interpolation_must_admit_that_it_looks_ahead() -> None:
    with pytest.raises(DataInvalid, match="later values"):
        to_panel(daily({0: 1.0, 2: 2.0}), (FillGaps(target="interpolate"),))


@pytest.mark.parametrize(("how", "expected"), [("mean", 3.0), ("last", 5.0), ("first", 1.0), ("sum", 6.0)])
def test_duplicates_are_merged_as_told_and_reported(how: Any, expected: float) -> None:
    rows = [{"ds": day(0), "y": 9.0}, *({"ds": day(1), "y": y} for y in (1.0, 5.0)), {"ds": day(2), "y": 8.0}]
    panel, report = to_panel(frame(rows), (MergeDuplicates(how=how),))
    assert panel.y.tolist() == [9.0, expected, 8.0]
    assert panel.observed.all()
    assert report.steps[0].changed == 1
    assert (report.steps[0].first[0].before, report.steps[0].first[0].after) == (1.0, expected)


def test_a_row_beside_the_grid_moves_to_its_step() -> None:
    rows = [{"ds": f"2024-01-0{d} 0{d % 2}:00:00", "y": float(d)} for d in range(2, 9)]
    panel, report = to_panel(frame(rows))
    assert np.diff(panel.ds).tolist() == [86_400] * 6
    assert "3 moved" in report.steps[0].summary


def test_rows_after_the_last_target_become_the_future_that_every_series_knows() -> None:
    rows = [
        {"id": name, "ds": day(d), "y": d * 1.5 if d < length else None, "promo": d % 2, "heat": float(d)}
        for name, length, end in (("a", 10, 14), ("b", 8, 11))
        for d in range(end)
    ]
    known = (Correction("promo", role="known_future"), Correction("heat", role="historical"))
    panel, _ = to_panel(frame(rows, covariates=known))
    assert panel.lengths.tolist() == [10, 8]
    assert panel.future["promo"].tolist() == [[0, 1, 0], [0, 1, 0]]
    assert [str(ds)[:10] for ds in panel.future_ds[1].astype("datetime64[s]")] == [day(8), day(9), day(10)]
    assert set(panel.future) == {"promo"}


def test_series_without_a_target_and_rows_before_the_first_are_left_out_by_name() -> None:
    rows: list[dict[str, Any]] = [{"id": "full", "ds": day(d), "y": None if d < 3 else 2.5} for d in range(8)]
    rows += [{"id": "empty", "ds": day(d), "y": None} for d in range(8)] + [{"id": "one", "ds": day(2), "y": 1.5}]
    panel, report = to_panel(frame(rows))
    assert (panel.unique_id, panel.lengths.tolist()) == (("full", "one"), [5, 1])
    assert report.left_out == ("empty",)
    assert len(report.warnings) == 2


def test_covariates_are_filled_forward_and_before_their_first_value_backward() -> None:
    read = daily({d: 1.5 * d for d in range(6)}, heat={1: 4.0, 2: 5.0, 5: 6.0})
    assert to_panel(read)[0].covariates["heat"].tolist() == [4, 4, 5, 5, 5, 6]


def test_a_shared_holiday_is_taken_from_the_other_series() -> None:
    rows = [{"id": n, "ds": day(d), "y": d + 0.5, "holiday": d == 5} for n in "ab" for d in range(9)]
    panel, _ = to_panel(frame([row for row in rows if (row["id"], row["ds"]) not in {("a", day(5)), ("b", day(6))}]))
    assert panel.covariates["holiday"].tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0] * 2


def test_an_empty_covariate_is_refused_by_name() -> None:
    read = daily({0: 1.0, 1: 2.0}, heat={0: 1.0})
    empty = replace(read, covariates={"heat": np.full(2, np.nan)})
    with pytest.raises(DataInvalid, match="'heat'"):
        to_panel(empty)


def test_outliers_are_reported_and_only_clipped_when_asked() -> None:
    random = np.random.default_rng(0)
    values = {d: 100 + 10 * (d % 7) + float(random.normal()) for d in range(200)} | {150: 900.0}
    kept, report = to_panel(daily(values))
    assert kept.y[150] == 900
    assert [change.ds[:10] for change in report.steps[-1].first] == [day(150)]
    clipped, _ = to_panel(daily(values), (*DEFAULT_STEPS[:3], Outliers(action="clip")))
    assert 100 < clipped.y[150] < 150
    assert (clipped.y != kept.y).sum() == 1


def test_days_become_whole_weeks_and_months() -> None:
    read = daily(dict.fromkeys(range(3, 75), 1.0))  # 4 January (a Thursday) to 15 March
    weeks, report = to_panel(read, (*DEFAULT_STEPS[:3], Resample(freq="W-SUN", target="sum")))
    assert weeks.y.tolist() == [7.0] * 9
    assert (weeks.axis.freq, weeks.season_length) == ("W-SUN", 52)
    assert "left out" in report.steps[-1].summary
    months, _ = to_panel(read, (*DEFAULT_STEPS[:3], Resample(freq="MS", target="sum")))
    assert months.y.tolist() == [29.0]
    with pytest.raises(DataInvalid, match="not coarser"):
        to_panel(read, (Resample(freq="h", target="mean"),))


def test_steps_that_leave_a_hole_are_refused() -> None:
    with pytest.raises(DataInvalid, match="a gap"):
        to_panel(daily({0: 1.5, 2: 2.5}), ())
    with pytest.raises(DataInvalid, match="absent covariate"):
        to_panel(daily({0: 1.5, 1: 2.5}, heat={0: 1.0}), (FillGaps(),))


def test_one_wrong_date_does_not_fill_the_memory() -> None:
    rows = [{"ds": f"2024-01-01 {h:02d}:00:00", "y": h + 0.5} for h in range(24)]
    rows.append({"ds": "9999-01-01 00:00:00", "y": 1.0})
    with pytest.raises(DataInvalid, match=r"widest gap.*9999"):
        to_panel(frame(rows, freq="h"))


@pytest.mark.parametrize("step", [*DEFAULT_STEPS, Resample(freq="MS", target="sum")])
def test_a_step_is_data(step: Any) -> None:
    assert step_from_dict(json.loads(json.dumps(step_to_dict(step)))) == step


@pytest.mark.parametrize("plain", [{"kind": "magic"}, {"kind": "fill_gaps", "wish": 1}, {"kind": "resample"}])
def test_an_unknown_step_is_refused(plain: dict[str, Any]) -> None:
    with pytest.raises(DataInvalid):
        step_from_dict(plain)


def random_frame(random: np.random.Generator) -> Frame:
    """Two to four series of up to 260 days with gaps, duplicates, absent values and a promotion that may be shared."""
    rows = []
    shared = bool(random.random() < 0.5)
    for name in "abcd"[: int(random.integers(2, 5))]:
        values = random.poisson(2, 260).astype(float) if random.random() < 0.5 else random.normal(50, 9, 260)
        for d in range(int(random.integers(1, 260))):
            for _ in range(1 + (random.random() < 0.05)):
                heat = None if d and random.random() < 0.1 else float(random.normal())
                promo = None if d and random.random() < 0.1 else (d % 6 == 0 if shared else bool(random.random() < 0.3))
                y = None if d and random.random() < 0.1 else float(values[d])
                if not d or random.random() > 0.1:
                    rows.append({"id": name, "ds": day(d), "y": y, "heat": heat, "promo": promo})
    return frame(rows, covariates=(Correction("promo", role="known_future"), Correction("heat", role="historical")))


def until(panel: Panel, cutoff: int) -> dict[tuple[str, int], tuple[float, ...]]:
    names = np.repeat(np.array(panel.unique_id), panel.lengths)
    columns = (panel.y, panel.observed, *(panel.covariates[name] for name in sorted(panel.covariates)))
    return {
        (str(names[i]), int(panel.ds[i])): tuple(float(column[i]) for column in columns)
        for i in np.flatnonzero(panel.ds <= cutoff)
    }


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_happens_after_a_time_never_changes_the_panel_before_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    read = random_frame(random)
    cutoff = int(random.choice(read.ds))
    later = read.ds > cutoff

    def altered(values: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
        noise = np.where(random.random(len(values)) < 0.2, np.nan, np.round(random.normal(0, scale, len(values))))
        return np.where(later, noise, values)

    changed = replace(
        read,
        y=altered(read.y, 40.0),
        covariates={"heat": altered(read.covariates["heat"], 3.0), "promo": altered(read.covariates["promo"], 0.5)},
    )
    steps = (MergeDuplicates(), FillGaps(), FillCovariates(), Outliers(action="clip", threshold=3.0))
    before, after = until(to_panel(read, steps)[0], cutoff), until(to_panel(changed, steps)[0], cutoff)
    # A series may end earlier (its later targets are gone), but no step that both have may differ.
    assert all(after[step] == before[step] for step in before.keys() & after.keys())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_panel_is_regular_complete_and_keeps_what_was_measured(seed: int) -> None:
    read = random_frame(np.random.default_rng(seed))
    panel, _ = to_panel(read, (MergeDuplicates(how="last"), *DEFAULT_STEPS[1:]))
    inside = np.ones(len(panel.ds) - 1, bool)
    inside[panel.offsets[1:-1] - 1] = False
    assert (np.diff(panel.ds)[inside] == 86_400).all()
    assert all(np.isfinite(values).all() for values in (panel.y, *panel.covariates.values(), *panel.future.values()))
    assert np.isin(panel.y[panel.observed], read.y).all()
