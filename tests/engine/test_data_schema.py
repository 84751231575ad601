"""What the columns of a table are taken for, and how a caller corrects it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcp_forecast_engine.data.dataset import build_dataset
from mcp_forecast_engine.data.reading import Table, read_file, read_rows
from mcp_forecast_engine.data.schema import ColumnRoles, Correction, infer_schema
from mcp_forecast_engine.errors import ColumnMissing, DataInvalid

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
shared = pytest.mark.skipif(not SHARED.exists(), reason="the public series lie beside the checkout only")


def days(count: int) -> list[str]:
    return [str(np.datetime64("2024-01-01") + day) for day in range(count)]


def table(count: int = 40, **columns: Any) -> Table:
    """Daily rows with a target and columns given as functions of the day's number."""
    rows = [{"ds": day, "y": float(i * 7 % 11)} for i, day in enumerate(days(count))]
    return read_rows([{**row, **{name: make(i) for name, make in columns.items()}} for i, row in enumerate(rows)])


def shared_file(name: str) -> Table:
    return read_file((SHARED / name).read_bytes(), "csv" if name.endswith("gz") else "parquet")


def roles(read: Table, request: ColumnRoles = ColumnRoles()) -> dict[str, str]:  # noqa: B008  # frozen
    return {covariate.name: covariate.role for covariate in infer_schema(read, request).covariates}


def test_time_and_target_are_found_by_their_kind_and_name() -> None:
    rows = [{"week_end": day, "shop": "a", "weekly_sales": i, "size": 3 + i % 2} for i, day in enumerate(days(20))]
    schema = infer_schema(read_rows(rows), ColumnRoles())
    assert (schema.time, schema.target, schema.axis.freq) == ("week_end", "weekly_sales", "D")


def test_a_misnamed_column_is_refused_with_the_names_that_exist() -> None:
    for field, request in {"time": ColumnRoles(time="sales"), "target": ColumnRoles(target="sales")}.items():
        with pytest.raises(ColumnMissing) as refusal:
            infer_schema(table(), request)
        assert refusal.value.allowed == ["ds", "y"]
        assert refusal.value.field == field
    with pytest.raises(ColumnMissing, match="'wether'"):
        infer_schema(table(), ColumnRoles(covariates=(Correction("wether", role="historical"),)))


def test_a_target_of_texts_shows_the_texts_that_are_no_numbers() -> None:
    with pytest.raises(DataInvalid, match=r"'\?'"):
        infer_schema(
            read_rows([{"ds": day, "y": "?" if day.endswith("03") else "4.5"} for day in days(9)]),
            ColumnRoles(target="y"),
        )


def test_an_unclear_target_lists_the_candidates() -> None:
    rows = [{"date": day, "north": i, "south": i * 2} for i, day in enumerate(days(10))]
    with pytest.raises(DataInvalid) as refusal:
        infer_schema(read_rows(rows), ColumnRoles())
    assert (refusal.value.field, refusal.value.allowed) == ("target", ["north", "south"])


def test_a_table_without_times_lists_its_columns() -> None:
    with pytest.raises(DataInvalid) as refusal:
        infer_schema(read_rows([{"y": 0.5, "name": "a"}]), ColumnRoles())
    assert (refusal.value.field, refusal.value.allowed) == ("time", ["y", "name"])


def test_types_are_told_from_values_and_can_be_corrected() -> None:
    read = table(
        flag=lambda i: i % 2, heat=lambda i: i / 3, sky=lambda i: "sun" if i % 3 else "rain", code=lambda i: i % 4
    )
    types = {c.name: c.type for c in infer_schema(read, ColumnRoles()).covariates}
    assert types == {"flag": "boolean", "heat": "numeric", "sky": "categorical", "code": "numeric"}
    corrected = build_dataset(read, ColumnRoles(covariates=(Correction("code", type="categorical"),)))
    assert corrected.frame.categories == {"code": ("0", "1", "2", "3"), "sky": ("rain", "sun")}
    assert corrected.frame.covariates["sky"][:4].tolist() == [0, 1, 1, 0]
    for wrong in (Correction("sky", type="numeric"), Correction("heat", type="boolean")):
        with pytest.raises(DataInvalid, match=wrong.name):
            infer_schema(read, ColumnRoles(covariates=(wrong,)))


def test_a_covariate_constant_within_every_series_is_static() -> None:
    rows = [{"id": s, "ds": d, "y": i * 3 % 7, "size": s * 10} for s in (1, 2) for i, d in enumerate(days(12))]
    assert roles(read_rows(rows)) == {"size": "static"}
    with pytest.raises(DataInvalid, match="changes within"):
        infer_schema(table(heat=float), ColumnRoles(covariates=(Correction("heat", role="static"),)))


def test_values_after_the_last_target_make_a_covariate_known_in_advance() -> None:
    rows = [{"ds": d, "y": i % 5 if i < 25 else None, "plan": i * 1.5, "heat": i % 3 if i < 25 else None}
            for i, d in enumerate(days(30))]  # fmt: skip
    schema = infer_schema(read_rows(rows), ColumnRoles())
    assert {c.name: (c.role, c.nullable) for c in schema.covariates} == {
        "heat": ("historical", False),
        "plan": ("known_future", False),
    }
    assert "5 rows after the last target" in schema.covariates[1].reason


def test_calendar_and_plan_names_are_known_in_advance_and_every_role_has_a_reason() -> None:
    read = table(is_holiday=lambda i: i % 7 == 0, workingDay=lambda i: i % 3, load_forecast=float, heat=lambda i: i % 6)
    found = roles(read)
    assert found == {
        **dict.fromkeys(("is_holiday", "workingDay", "load_forecast"), "known_future"),
        "heat": "historical",
    }
    assert all(covariate.reason for covariate in infer_schema(read, ColumnRoles()).covariates)
    assert roles(read, ColumnRoles(covariates=(Correction("heat", role="known_future"),)))["heat"] == "known_future"


def test_a_copy_and_parts_that_add_up_are_held_back_and_refused_as_known() -> None:
    copy = table(shifted=lambda i: 3.0 * (i * 7 % 11) + 1)
    assert "copy of the target" in infer_schema(copy, ColumnRoles()).covariates[0].reason
    parts = table(a=lambda i: i * 7 % 11 - i % 3, b=lambda i: i % 3, noise=lambda i: i % 5)
    schema = infer_schema(parts, ColumnRoles())
    assert sum("adds up to the target" in warning for warning in schema.warnings) == 2
    assert roles(parts) == {"a": "historical", "b": "historical", "noise": "historical"}
    with pytest.raises(DataInvalid, match="'a' cannot be known_future"):
        infer_schema(parts, ColumnRoles(covariates=(Correction("a", role="known_future"),)))


def test_larger_sums_are_caught_and_honest_columns_are_left_alone() -> None:
    random = np.random.default_rng(3)
    parts = random.integers(0, 50, (100, 5))
    rows = [
        {"ds": day, "y": int(part.sum()), **{f"p{k}": int(v) for k, v in enumerate(part)}, "heat": float(heat)}
        for day, part, heat in zip(days(100), parts, random.normal(size=100), strict=True)
    ]
    warned = [warning.split("'")[1] for warning in infer_schema(read_rows(rows), ColumnRoles()).warnings]
    assert warned == ["p0", "p1", "p2", "p3", "p4"]


def test_not_nullable_is_checked_against_the_file() -> None:
    read = table(heat=lambda i: None if i == 3 else float(i))
    assert infer_schema(read, ColumnRoles()).covariates[0].nullable
    with pytest.raises(DataInvalid, match="absent in 1 rows"):
        infer_schema(read, ColumnRoles(covariates=(Correction("heat", nullable=False),)))


def test_useless_columns_are_left_out_by_name() -> None:
    read = table(200, empty=lambda _: None, seen=lambda i: days(200)[i])
    schema = infer_schema(table(300, text=lambda i: f"order {i}"), ColumnRoles())
    assert not schema.covariates
    assert "300 distinct texts" in schema.warnings[0]
    with pytest.raises(DataInvalid, match="'empty' has no value"):
        infer_schema(read, ColumnRoles(time="ds", covariates=(Correction("empty", role="historical"),)))
    assert [w for w in infer_schema(read, ColumnRoles(time="ds", drop=("seen",))).warnings if "'empty'" in w]


def test_mixed_series_without_a_name_are_refused() -> None:
    rows = [{"store": s, "ds": d, "y": i} for s in range(3) for i, d in enumerate(days(10))]
    with pytest.raises(DataInvalid, match="several series") as refusal:
        infer_schema(read_rows(rows), ColumnRoles())
    assert (refusal.value.field, refusal.value.allowed) == ("series", ["store"])


def test_mixed_series_of_counted_steps_are_no_revisions_whatever_dates_they_carry() -> None:
    rows = [{"store": f"s{s}", "ds": i, "y": i, "sent": d} for s in range(3) for i, d in enumerate(days(30)[s::3])]
    with pytest.raises(DataInvalid, match="several series") as refusal:
        infer_schema(read_rows(rows), ColumnRoles(time="ds"))
    assert (refusal.value.field, "store" in refusal.value.allowed) == ("series", True)


def test_what_may_be_revisions_or_series_is_told_with_the_columns_that_tell_series_apart() -> None:
    seen = days(60)
    rows = [{"store": f"s{s}", "ds": d, "y": i, "sent": seen[i + s]} for s in range(3) for i, d in enumerate(seen[:10])]
    with pytest.raises(DataInvalid, match="'sent' looks like the time") as refusal:
        infer_schema(read_rows(rows), ColumnRoles())
    assert refusal.value.next_step.endswith("name the columns that tell these apart with `series`: 'store', 'sent'")


def test_a_wide_table_becomes_one_series_per_column() -> None:
    rows = [{"ds": d, "south": i * 2.0, "north": float(i), "heat": i % 3} for i, d in enumerate(days(10))]
    frame = build_dataset(read_rows(rows), ColumnRoles(wide=("south", "north"))).frame
    assert frame.unique_id == ("north", "south")
    assert frame.y.tolist() == [*range(10), *range(0, 20, 2)]
    assert frame.covariates["heat"].tolist() == [i % 3 for i in range(10)] * 2


def test_the_schema_is_plain_json_and_free_of_prose() -> None:
    schema = infer_schema(table(b=lambda i: i % 4, a=lambda i: i % 3), ColumnRoles(source="inline"))
    plain = schema.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert [covariate["name"] for covariate in plain["covariates"]] == ["a", "b"]
    assert plain["covariates"][0]["source"] == "inline"
    assert "reason" not in plain["covariates"][0]


@pytest.mark.parametrize(
    ("freq", "refused"),
    [("12h", False), ("D", False), ("h", True), ("1", True), ("fortnight", True), ("W", True), ("MS", True)],
)
def test_a_given_frequency_must_fit_the_time_column(freq: str, refused: bool) -> None:
    if refused:
        with pytest.raises(DataInvalid):
            infer_schema(table(), ColumnRoles(freq=freq))
    else:
        assert infer_schema(table(), ColumnRoles(freq=freq)).axis.freq == freq


@shared
def test_the_bike_parts_are_caught_and_weather_can_be_declared_known() -> None:
    read = shared_file("bike_sharing_hourly.parquet")
    found = roles(read, ColumnRoles(covariates=(Correction("temp", role="known_future"),)))
    assert found["temp"] == found["holiday"] == found["workingday"] == "known_future"
    assert found["casual"] == found["registered"] == "historical"
    with pytest.raises(DataInvalid, match="casual and registered"):
        infer_schema(read, ColumnRoles(covariates=(Correction("registered", role="known_future"),)))


@shared
def test_public_files_are_understood_with_little_said() -> None:
    assert roles(shared_file("epf_np.parquet")) == dict.fromkeys(("load_forecast", "wind_forecast"), "known_future")
    tourism = infer_schema(shared_file("tourism.parquet"), ColumnRoles(drop=("split",)))
    assert (tourism.axis.kind, tourism.covariates[0].role) == ("integer", "static")
    m4 = build_dataset(shared_file("m4_hourly.parquet"), ColumnRoles(drop=("split",))).profile
    assert (m4.series, m4.shortest, m4.longest, m4.gaps) == (414, 748, 1008, 0)
    ett = build_dataset(shared_file("ETTh1.csv.gz"), ColumnRoles(target="OT"))
    assert (ett.profile.rows, ett.schema.axis.freq, ett.frame.unique_id) == (17_420, "h", ("OT",))


@shared
def test_walmart_is_read_with_store_and_department_as_its_series() -> None:
    read = shared_file("walmart_weekly_sales.parquet")
    codes, words = read.columns["unique_id"].values, read.columns["unique_id"].words
    pairs = np.array([word.split("_") for word in words]).astype(float)[codes]
    number = type(read.columns["y"])
    columns = {name: column for name, column in read.columns.items() if name != "unique_id"}
    columns |= {"store": number("number", pairs[:, 0]), "dept": number("number", pairs[:, 1])}
    dataset = build_dataset(Table(columns, read.rows), ColumnRoles(series=("store", "dept")))
    assert (dataset.profile.series, dataset.schema.axis.freq) == (3_331, "W-FRI")
    assert dataset.frame.unique_id[0] == "1/1"
    assert dataset.frame.roles == {"is_holiday": "known_future"}
