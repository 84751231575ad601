"""The data contract from a caller's side: what does not fit has its code, what does fit loses nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcp_forecast.errors import error_body
from mcp_forecast_engine.data.columns import ColumnRoles, Correction
from mcp_forecast_engine.data.dataset import Dataset, build_dataset, decode, encode
from mcp_forecast_engine.data.future import with_future
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.data.reading import read_rows
from mcp_forecast_engine.data.registration import DatasetRequest, from_rows
from mcp_forecast_engine.data.schema import covariate_schema_hash
from mcp_forecast_engine.errors import EngineError
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.serving.plan import InferencePlan
from mcp_forecast_engine.serving.request import require_same_columns, resolve
from mcp_forecast_engine.store.artifacts import ArtifactStore

Row = dict[str, Any]
HEAT = {"name": "heat", "type": "numeric", "role": "known_future", "nullable": False}
PLAN = {"name": "plan", "type": "numeric", "role": "known_future", "nullable": True,
        "fallback": {"policy": "last_season", "usual": 1.0}}  # fmt: skip
SERVING: Row = {
    "horizon": 7, "target": "y", "wide": [], "series": [], "axis": "calendar", "freq": "D", "data_freq": "D",
    "needs_future": ["heat", "plan"], "optional_future": ["plan"], "derived": [], "covariates": [HEAT, PLAN],
    "series_count": 1, "model": "sha256:00",
}  # fmt: skip


def refused(call: Callable[[], object]) -> dict[str, Any]:
    """What a caller is told."""
    with pytest.raises(EngineError) as refusal:
        call()
    body = error_body(refusal.value, correlation_id="c")
    assert body["next_step"]
    return body


def stamp(start: str, steps: int, unit: str) -> str:
    return str(np.datetime64(start) + np.timedelta64(steps, unit))


def daily(count: int = 60, **columns: Callable[[int], Any]) -> list[Row]:
    chance = random.Random(4)
    made = {"heat": lambda _: round(chance.gauss(15, 4), 3), "plan": lambda i: float(i * 3 % 5), **columns}
    return [
        {"ds": stamp("2025-01-01", i, "D"), "y": float(i * 7 % 11), **{name: make(i) for name, make in made.items()}}
        for i in range(count)
    ]


def built(rows: list[Row], **asked: Any) -> Dataset:
    return build_dataset(read_rows(rows), ColumnRoles(source="", **asked))


# --- times


def test_the_order_of_rows_and_columns_changes_nothing() -> None:
    rows = daily()
    shuffled = random.Random(1).sample([dict(reversed(row.items())) for row in rows], len(rows))
    first, second = built(rows), built(shuffled)
    assert encode(first) == encode(second)
    assert covariate_schema_hash(first.schema.covariates) == covariate_schema_hash(second.schema.covariates)


def test_duplicated_and_unordered_times_are_counted_joined_and_reported() -> None:
    rows = daily(30, heat=float)
    rows = [*rows[::-1], {**rows[4], "y": rows[4]["y"] + 10}, rows[9]]
    data = built(rows)
    assert (data.profile.rows, data.profile.duplicates) == (32, 2)
    panel, report = to_panel(data.frame)
    assert len(panel.y) == 30
    assert panel.y[4] == rows[-2]["y"] - 5
    assert report.steps[0].changed == 2
    assert any("2 rows repeat a time" in warning for warning in data.schema.warnings + data.profile.warnings)


@pytest.mark.parametrize(
    ("times", "told", "field"),
    [
        (["2024-01-01T00:00:00+01:00", "2024-07-01T00:00:00+02:00"], "mixes the zones", "time_zone"),
        (["2024-01-01T00:00:00Z", "2024-01-02T00:00:00"], "some have none", "time"),
        (["2024-01-01", None], "have no time", "time_format"),
        (["2024-02-30", "2024-03-01"], "no possible date", "time_format"),
        (["01/02/2024", "02/02/2024"], "day/month", "time_format"),
    ],
)
def test_times_that_cannot_be_told_are_refused_with_what_to_name(times: list[str], told: str, field: str) -> None:
    body = refused(lambda: built([{"ds": at, "y": float(i)} for i, at in enumerate(times)], time="ds"))
    assert (body["code"], body["field"]) == ("DATA_INVALID", field)
    assert told in body["message"]


def zoned(hours: int, start: str) -> list[Row]:
    """Hours of Berlin as a meter writes them, with the offset of summer or winter."""
    change = np.datetime64("2024-10-27T01:00")  # UTC
    utc = [np.datetime64(start) + np.timedelta64(i, "h") for i in range(hours)]
    offset = [1 if at >= change else 2 for at in utc]
    return [
        {"ds": f"{at + np.timedelta64(o, 'h')}:00+0{o}:00", "y": float(i % 24)}
        for i, (at, o) in enumerate(zip(utc, offset, strict=True))
    ]


def test_the_hour_that_comes_twice_is_joined_and_said() -> None:
    data = built(zoned(96, "2024-10-25T22:00"), time_zone="Europe/Berlin")
    assert (data.schema.zone, data.schema.axis.freq, data.profile.duplicates) == ("Europe/Berlin", "h", 1)
    assert any("clocks were put back" in warning for warning in data.schema.warnings)
    panel, _ = to_panel(data.frame)
    assert len(panel.y) == 95
    assert str(panel.ds[0].astype("datetime64[s]")) == "2024-10-26T00:00:00"


def test_the_hour_that_is_skipped_is_a_gap_that_is_not_scored() -> None:
    utc = [str(np.datetime64("2024-03-30T00:00") + np.timedelta64(i, "h")) + ":00Z" for i in range(48)]
    rows = [{"ds": at, "y": float(i % 24)} for i, at in enumerate(utc)]
    panel, _ = to_panel(built(rows, time_zone="Europe/Berlin").frame)
    gap = np.flatnonzero(~panel.observed)
    assert panel.ds[gap].astype("datetime64[s]").astype(str).tolist() == ["2024-03-31T02:00:00"]


def test_a_zone_is_kept_with_the_dataset_and_one_without_has_the_bytes_of_before() -> None:
    data = built(zoned(48, "2024-10-20T22:00"), time_zone="Europe/Berlin")
    assert decode(encode(data)).schema == data.schema
    assert data.schema.to_dict()["zone"] == "Europe/Berlin"
    plain = built(daily())
    assert "zone" not in plain.schema.to_dict()
    assert b'"zone"' not in encode(plain)


def test_future_rows_are_read_on_the_clock_of_the_dataset() -> None:
    rows = [{**row, "load": i % 5} for i, row in enumerate(zoned(48, "2024-10-20T22:00"))]
    asked: Row = {"covariates": (Correction("load", role="known_future"),), "target": "y"}
    data = built(rows, time_zone="Europe/Berlin", **asked)
    panel, _ = to_panel(data.frame)
    times = ("2024-10-22T22:00:00Z", "2024-10-22T23:00:00Z", "2024-10-23T00:00:00Z")
    ahead = [{"ds": at, "load": 7 + i} for i, at in enumerate(times)]
    found, left = with_future(panel, data.schema, ahead, 3, ["load"])
    assert (found.future["load"].tolist(), left) == ([[7, 8, 9]], 0)
    bare = built([{**row, "ds": row["ds"][:19]} for row in rows], **asked)
    told = refused(lambda: with_future(to_panel(bare.frame)[0], bare.schema, ahead[:1], 3, ["load"]))
    assert (told["code"], told["field"]) == ("DATA_INVALID", "future")
    assert "has a time zone, the dataset's times have none" in told["message"]


# --- steps


def test_an_irregular_series_is_refused_with_its_steps() -> None:
    chance, at = random.Random(3), 0
    rows = []
    for i in range(80):
        at += chance.choice((7, 11, 13, 19, 23, 29, 31))
        rows.append({"ds": stamp("2024-01-01T00:00:00", at, "s"), "y": float(i % 9)})
    body = refused(lambda: built(rows))
    assert (body["code"], body["field"]) == ("DATA_INVALID", "freq")
    assert body["details"] == {"reason": "FrequencyUnclear"}


def several(**steps: tuple[int, str, int]) -> list[Row]:
    """Series by name: step, unit of numpy, rows."""
    return [
        {"id": name, "ds": stamp("2024-01-01T00:00", i * step, unit), "y": float((i * 7) % 11)}
        for name, (step, unit, count) in steps.items()
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ({"a": (1, "h", 200), "b": (24, "h", 20)}, "1 series step longer than 'h', the first is 'b': 24 steps"),
        ({"a": (24, "h", 400), "b": (1, "h", 19)}, "1 series step shorter than 'D', the first is 'b'"),
        ({"a": (24, "h", 90), "b": (168, "h", 15)}, "1 series step longer than 'D', the first is 'b': 7 steps"),
    ],
)
def test_series_of_other_steps_are_named_and_not_made_up(steps: dict[str, tuple[int, str, int]], told: str) -> None:
    body = refused(lambda: built(several(**steps)))
    assert (body["code"], body["field"]) == ("DATA_INVALID", "freq")
    assert told in body["message"]
    named = built(several(**steps), freq="h" if "'h'" in told else "D")
    assert any(told in warning for warning in named.schema.warnings)


def test_months_and_quarters_do_not_mix_and_sparse_series_are_no_other_step() -> None:
    months = [{"id": "m", "ds": f"{2015 + i // 12}-{i % 12 + 1:02d}-01", "y": float(i % 7)} for i in range(60)]
    quarters = [{"id": "q", "ds": f"{2015 + i // 4}-{i % 4 * 3 + 1:02d}-01", "y": float(i % 7)} for i in range(20)]
    assert "longer than 'MS', the first is 'q'" in refused(lambda: built(months + quarters))["message"]
    chance = random.Random(8)
    sparse = [
        {"id": "s", "ds": stamp("2024-01-01", i, "D"), "y": 1.0 + i % 3} for i in range(300) if chance.random() < 0.2
    ]
    whole = [{"id": "w", "ds": stamp("2024-01-01", i, "D"), "y": float(i % 5)} for i in range(300)]
    assert built(sparse + whole).schema.axis.freq == "D"


@pytest.mark.parametrize(
    "y",
    [lambda _: 4.0, lambda i: float(i % 9 == 0), lambda i: -5.0 - i % 4, lambda i: float(i) if i % 8 else None],
    ids=["constant", "intermittent", "negative", "gappy"],
)
def test_odd_targets_become_whole_panels(y: Callable[[int], Any]) -> None:
    rows = [{**row, "y": y(i)} for i, row in enumerate(daily())]
    panel, _ = to_panel(built(rows, target="y").frame)
    assert np.isfinite(panel.y).all()
    known = [row["y"] for row in rows if row["y"] is not None]
    np.testing.assert_array_equal(panel.y[panel.observed], known)


def test_a_target_without_any_value_is_refused() -> None:
    rows = [{**row, "y": None} for row in daily()]
    assert refused(lambda: built(rows, target="y"))["code"] == "DATA_INVALID"


def test_step_numbers_may_have_any_distance() -> None:
    rows = [{"ds": 5 * i, "y": float(i % 7)} for i in range(40)]
    assert built(rows, time_format="step").schema.axis.freq == "5"


# --- covariates of another dataset than that of training


def summary_of(rows: list[Row], tmp_path: Path, *corrections: Row) -> dict[str, Any]:
    asked = DatasetRequest(columns={"target": "y"}, covariates=corrections)
    return from_rows(rows, asked, ArtifactStore(tmp_path)).summary


ROLES = ({"name": "heat", "role": "known_future"}, {"name": "plan", "role": "known_future"})


def planned(summary: dict[str, Any], tmp_path: Path, **asked: Any) -> InferencePlan:
    plan = {"dataset_id": "ds_trained", "season_length": 7, "preprocessing": [], "covariates": ["heat", "plan"]}
    run = Run(
        run_id="run_0", run_key="k", kind="training", state="SUCCEEDED", plan=plan, caller="c", created_at=0.0,
        started_at=0.0, ended_at=1.0, attempt=1, losses=0, epoch=1, lease_owner=None, lease_until=None,
        worker_pid=None, worker_started=None, cancel_requested=False, wall_limit_s=60.0, progress_done=1,
        progress_total=1, progress_text="", result="sha256:11", error=None,
    )  # fmt: skip
    whole: Row = {"run_id": "run_0", "dataset_id": None, "horizon": None, "future": None, "levels": (80,), **asked}
    return resolve(run, {"serving": SERVING}, summary, ArtifactStore(tmp_path), **whole)


def test_extra_and_reordered_columns_are_the_same_request_to_the_model(tmp_path: Path) -> None:
    rows = daily()
    turned = [dict(reversed(row.items())) for row in rows]
    more = [{**row, "noise": i % 13} for i, row in enumerate(rows)]
    plain, reordered, extra = (planned(summary_of(made, tmp_path, *ROLES), tmp_path) for made in (rows, turned, more))
    assert plain.run_key == reordered.run_key
    assert extra.body["covariates"] == plain.body["covariates"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"heat": None}, "'heat' as numeric known_future; in the dataset it is absent"),
        ({"heat": lambda i: ("hot", "cold")[i % 2]}, "in the dataset it is categorical known_future"),
        ({"heat": lambda i: None if i == 3 else float(i)}, "'heat' is required, and was complete in training"),
    ],
    ids=["missing", "retyped", "absent values"],
)
def test_a_required_covariate_that_does_not_fit_fails_before_any_work(change: Row, told: str, tmp_path: Path) -> None:
    columns = {name: make for name, make in change.items() if make is not None}
    rows = [{name: value for name, value in row.items() if change.get(name, 0) is not None} for row in daily(**columns)]
    corrections = [one for one in ROLES if one["name"] in rows[0]]
    summary = summary_of(rows, tmp_path, *corrections)
    body = refused(lambda: planned(summary, tmp_path))
    assert (body["code"], body["field"]) == ("COVARIATES_MISMATCH", "dataset_id")
    assert told in body["message"]


def test_an_optional_covariate_may_be_absent_and_flags_serve_as_numbers(tmp_path: Path) -> None:
    rows = [{name: value for name, value in row.items() if name != "plan"} for row in daily()]
    assert planned(summary_of(rows, tmp_path, ROLES[0]), tmp_path).body["covariates"] == ["heat", "plan"]
    flags = daily(heat=lambda i: i * 7 % 3 % 2)
    assert planned(summary_of(flags, tmp_path, *ROLES), tmp_path).series_count == 1


def test_a_wrong_horizon_step_or_target_has_its_code(tmp_path: Path) -> None:
    summary = summary_of(daily(), tmp_path, *ROLES)
    assert refused(lambda: planned(summary, tmp_path, horizon=8))["field"] == "horizon"
    hours = [{**row, "ds": stamp("2025-01-01T00:00", i, "h")} for i, row in enumerate(daily())]
    other = summary_of(hours, tmp_path, *ROLES)
    assert refused(lambda: planned(other, tmp_path))["code"] == "COVARIATES_MISMATCH"
    assert refused(lambda: planned({**summary, "target": "z"}, tmp_path))["code"] == "DATA_INVALID"


def test_data_on_another_clock_is_refused() -> None:
    berlin = built(zoned(48, "2024-10-20T22:00"), time_zone="Europe/Berlin").schema
    serving = {"target": "y", "wide": [], "series": [], "axis": "calendar", "zone": "Europe/Berlin"}
    require_same_columns(serving, berlin)
    utc = built([{**row, "ds": row["ds"][:19] + "Z"} for row in zoned(48, "2024-10-20T22:00")]).schema
    body = refused(lambda: require_same_columns(serving, utc))
    assert "the wall clock of zone 'Europe/Berlin'; the dataset has 'UTC'" in body["message"]


# --- future rows


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({"heat": None}, "COVARIATES_MISMATCH", "lack heat"),
        ({"heat": float("nan")}, "COVARIATES_MISMATCH", "lack heat"),
        ({"heat": float("inf")}, "DATA_INVALID", "'heat' is inf"),
        ({"heat": "hot"}, "DATA_INVALID", "not numeric"),
        ({"flag": 7}, "DATA_INVALID", "not boolean"),
        ({"wind": 3}, "DATA_INVALID", "'wind', which the dataset does not have"),
        ({"ds": "2025-03-03T12:00:00"}, "DATA_INVALID", "between the steps"),
        ({"ds": 3}, "DATA_INVALID", "holds step numbers"),
    ],
)
def test_a_future_row_that_does_not_fit_has_its_code(change: Row, code: str, told: str) -> None:
    asked = (Correction("heat", role="known_future"), Correction("flag", role="known_future"))
    data = built(daily(flag=lambda i: i * 5 % 3 % 2), target="y", covariates=asked)
    panel, _ = to_panel(data.frame)
    rows: list[Row] = [{"ds": stamp("2025-03-02", i, "D"), "heat": 3.0, "flag": 1} for i in range(3)]
    changed = (
        [{**row, **change} for row in rows] if change.get("ds") == 3 else [rows[0], {**rows[1], **change}, rows[2]]
    )
    body = refused(lambda: with_future(panel, data.schema, changed, 3, ["heat", "flag"]))
    assert (body["code"], body["field"]) == (code, "future")
    assert told in body["message"]


def test_future_rows_share_their_columns_but_do_not_contradict_each_other() -> None:
    asked = (Correction("heat", role="known_future"), Correction("plan", role="known_future"))
    data = built(daily(), target="y", covariates=asked)
    panel, _ = to_panel(data.frame)
    days = [stamp("2025-03-02", i, "D") for i in range(2)]
    parts = [{"ds": at, name: value} for at in days for name, value in (("heat", 3.0), ("plan", 1.0))]
    found, _ = with_future(panel, data.schema, parts, 2, ["heat", "plan"])
    assert (found.future["heat"].tolist(), found.future["plan"].tolist()) == ([[3, 3]], [[1, 1]])
    body = refused(lambda: with_future(panel, data.schema, [*parts, {"ds": days[1], "heat": 4.0}], 2, ["heat", "plan"]))
    assert "two future rows give 'heat' of 'y' at 2025-03-03" in body["message"]


def test_an_optional_column_may_be_missing_from_future_rows_and_derived_ones_stay() -> None:
    data = built(daily(), target="y", covariates=(Correction("heat", role="known_future"),))
    panel, _ = to_panel(data.frame)
    rows = [{"ds": stamp("2025-03-02", i, "D"), "heat": 3.0} for i in range(2)]
    panel = type(panel)(**{**vars(panel), "future": {"holiday_US": np.ones((1, 2))}})
    found, _ = with_future(panel, data.schema, rows, 2, ["heat", "plan"], optional=["plan"])
    assert np.isnan(found.future["plan"]).all()
    assert found.future["holiday_US"].tolist() == [[1, 1]]


def test_each_known_column_has_the_future_it_was_given() -> None:
    rows = [*daily(40), *({"ds": stamp("2025-02-10", i, "D"), "heat": 9.0, "plan": 1.0 if i < 2 else None}
                          for i in range(5))]  # fmt: skip
    asked = tuple(Correction(name, role="known_future") for name in ("heat", "plan"))
    data = built(rows, target="y", covariates=asked)
    assert {c.name: c.nullable for c in data.schema.covariates} == {"heat": False, "plan": False}
    panel, _ = to_panel(data.frame)
    assert {name: values.shape for name, values in panel.future.items()} == {"heat": (1, 5), "plan": (1, 2)}
    assert panel.future_ds.shape == (1, 2)


def test_a_hole_in_the_future_of_the_data_is_not_filled_in_silence() -> None:
    rows = [*daily(40), *({"ds": stamp("2025-02-10", i, "D"), "heat": None if i == 2 else 9.0} for i in range(5))]
    data = built(rows, target="y", covariates=(Correction("heat", role="known_future"),))
    panel, _ = to_panel(data.frame)
    assert panel.future["heat"].tolist() == [[9, 9]]
