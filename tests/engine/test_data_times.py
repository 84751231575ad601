"""Times and steps from a caller's side: what cannot be told is refused, what can loses nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from contract_toys import Row, built, daily, refused, stamp, zoned

from mcp_forecast_engine.data.columns import Correction
from mcp_forecast_engine.data.dataset import decode, encode
from mcp_forecast_engine.data.future import with_future
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.data.schema import covariate_schema_hash

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


def test_the_hour_that_comes_twice_is_joined_and_said() -> None:
    data = built(zoned(96, "2024-10-25T22:00"), time_zone="Europe/Berlin")
    assert (data.schema.zone, data.schema.axis.freq, data.profile.duplicates) == ("Europe/Berlin", "h", 1)
    assert any("clocks were put back" in warning for warning in data.schema.warnings)
    panel, _ = to_panel(data.frame)
    assert len(panel.y) == 95
    assert str(panel.ds[0].astype("datetime64[s]")) == "2024-10-26T00:00:00"


def test_the_hour_that_comes_twice_without_a_zone_is_said_and_other_duplicates_are_not() -> None:
    rows = [{"ds": row["ds"][:16], "y": row["y"]} for row in zoned(96, "2024-10-25T22:00")]
    (told,) = [warning for warning in built(rows).schema.warnings if "clocks are put back" in warning]
    assert "1 times come twice" in told
    assert "2024-10-27T02:00:00" in told
    for other in ("2024-10-26T02:00", "2024-10-27T14:00"):
        plain = zoned(96, "2024-09-25T22:00")  # 26 to 29 of a month without a change
        again = [{"ds": row["ds"][:16].replace("2024-09", "2024-10"), "y": row["y"]} for row in plain]
        data = built([*again, {"ds": other, "y": 1.0}])
        assert not any("clocks are put back" in warning for warning in data.schema.warnings)


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


@pytest.mark.parametrize("given", ["DD/MM/YYYY", None, "%d/%m/%Y"])
def test_future_rows_are_dated_as_the_dataset_is(given: str | None) -> None:
    """The first days of a month can be day/month or month/day, though the data left no doubt of it."""
    days = [f"2025-01-{i:02d}" for i in range(1, 32)]
    rows: list[Row] = [{"ds": turned(at), "y": float(i % 5), "load": i % 3} for i, at in enumerate(days)]
    data = built(rows, target="y", time_format=given, covariates=(Correction("load", role="known_future"),))
    data = decode(encode(data))
    panel, _ = to_panel(data.frame)
    for write in (turned, str):
        ahead = [{"ds": write(f"2025-02-0{i}"), "load": i} for i in (1, 2, 3)]
        found, left = with_future(panel, data.schema, ahead, 3, ["load"])
        assert (found.future["load"].tolist(), left) == ([[1, 2, 3]], 0)
    told = refused(lambda: with_future(panel, data.schema, [{"ds": "soon", "load": 1}], 3, ["load"]))
    assert (told["code"], told["field"]) == ("DATA_INVALID", "future")
    assert told["allowed"] == [f"dates like {given or 'DD/MM/YYYY'}"]


def turned(at: str) -> str:
    """An ISO date as day/month/year."""
    return "/".join(reversed(at.split("-")))


def test_a_format_that_says_itself_moves_no_digest() -> None:
    assert encode(built(daily(20))) == encode(built(daily(20), time_format="YYYY-MM-DD"))
    assert b"time_format" not in encode(built(daily(20)))


@pytest.mark.parametrize(("zone", "offered"), [(None, "UTC"), ("Berlin", "Europe/Berlin"), ("Narnia", "UTC")])
def test_an_unclear_zone_is_refused_with_zones(zone: str | None, offered: str) -> None:
    times = ["2024-01-01T00:00:00+01:00", "2024-07-01T00:00:00+02:00"]
    body = refused(lambda: built([{"ds": at, "y": float(i)} for i, at in enumerate(times)], time="ds", time_zone=zone))
    assert body["field"] == "time_zone"
    assert body["allowed"][0] == offered
    assert not any("YYYY" in one for one in body["allowed"])


# --- series


def test_rows_of_many_series_name_the_column_that_tells_them_apart() -> None:
    rows = [
        {"store": f"s{shop:03d}", "ds": stamp("2024-01-01", day, "D"), "y": day % 5, "promo": day % 3, "kind": kind}
        for shop in range(300)
        for kind in ("AB"[shop % 2],)
        for day in range(6)
    ]
    body = refused(lambda: built(rows, target="y"))
    assert (body["field"], body["allowed"]) == ("series", ["store"])
    pairs = [{**row, "store": row["store"][:3]} for row in rows]
    assert refused(lambda: built(pairs, target="y"))["allowed"] == ["kind", "promo", "store"]


def test_rows_that_all_share_their_times_and_have_nothing_to_tell_them_apart_are_told_what_to_do() -> None:
    rows = [{"ds": stamp("2024-01-01", i // 2, "D"), "y": float(i)} for i in range(40)]
    body = refused(lambda: built(rows))
    assert "allowed" not in body
    assert "add a column that tells the series apart" in body["next_step"]


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
