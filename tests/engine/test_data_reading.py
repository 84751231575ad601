"""Tables: what files and rows become, and what is refused."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_forecast_engine.data.dataset import build_dataset, decode, encode
from mcp_forecast_engine.data.reading import read_file, read_rows
from mcp_forecast_engine.data.schema import ColumnRoles
from mcp_forecast_engine.data.times import read_times
from mcp_forecast_engine.errors import ArtifactCorrupt, DataInvalid, FileUnreadable

ROWS: list[dict[str, Any]] = [
    {
        "unique_id": name,
        "ds": (datetime(2024, 1, 1) + timedelta(hours=step)).isoformat(sep=" "),
        "y": None if step == 7 else 10.5 * series + step % 24,
        "temp": 20.25 - step / 4 if step != 3 else None,
        "promo": step % 5 == 0,
        "kind": ["food", "toys"][series],
    }
    for series, name in enumerate(["b", "a"])
    for step in range(60)
]


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    words = {None: "", True: "true", False: "false"}
    lines = [",".join(words[v] if v is None or isinstance(v, bool) else str(v) for v in row.values()) for row in rows]
    return "\n".join([",".join(rows[0]), *lines, ""]).encode()


def as_parquet(rows: list[dict[str, Any]], *, native_time: bool) -> bytes:
    table = pa.Table.from_pylist(rows)
    if native_time:
        ds = pa.array([datetime.fromisoformat(row["ds"]) for row in rows], pa.timestamp("us"))
        table = table.set_column(table.column_names.index("ds"), "ds", ds)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def dataset_bytes(table: Any) -> bytes:
    return encode(build_dataset(table, ColumnRoles()))


def times(values: list[Any], **arguments: str) -> Any:
    column = read_rows([{"t": value} for value in values]).columns["t"]
    wanted = {"time_format": None, "time_zone": None, **arguments}
    return read_times(column, name="t", **wanted)


def iso(ds: np.ndarray[Any, Any]) -> list[str]:
    return [str(value) for value in ds.astype("datetime64[s]")]


def test_csv_gzip_parquet_and_rows_of_one_table_give_the_same_dataset_bytes() -> None:
    expected = dataset_bytes(read_rows(ROWS))
    assert dataset_bytes(read_file(as_csv(ROWS), "csv")) == expected
    assert dataset_bytes(read_file(gzip.compress(as_csv(ROWS)), "csv")) == expected
    assert dataset_bytes(read_file(as_parquet(ROWS, native_time=False), "parquet")) == expected
    assert dataset_bytes(read_file(as_parquet(ROWS, native_time=True), "parquet")) == expected


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(len(ROWS))), columns=st.permutations(list(ROWS[0])))
def test_the_order_of_rows_and_columns_does_not_change_the_bytes(order: list[int], columns: list[str]) -> None:
    shuffled = [{name: ROWS[i][name] for name in columns} for i in order]
    assert dataset_bytes(read_rows(shuffled)) == dataset_bytes(read_rows(ROWS))


def test_a_dataset_survives_its_bytes_and_damage_is_noticed() -> None:
    data = dataset_bytes(read_rows(ROWS))
    assert encode(decode(data)) == data
    for damaged in (data[: len(data) // 2], b"hello", b""):
        with pytest.raises(ArtifactCorrupt):
            decode(damaged)


def test_one_changed_value_gives_other_bytes() -> None:
    changed = [dict(row) for row in ROWS]
    changed[5]["y"] += 1e-9
    assert dataset_bytes(read_rows(changed)) != dataset_bytes(read_rows(ROWS))


def test_semicolons_and_decimal_commas_are_read() -> None:
    table = read_file(b"ds;y\n2024-01-01;1,5\n2024-01-02;2,25\n", "csv")
    assert table.columns["y"].values.tolist() == [1.5, 2.25]


@pytest.mark.parametrize(
    ("data", "format", "found"),
    [
        (b"", "csv", "empty"),
        (b"PAR1 nonsense", "parquet", "parquet"),
        (b"\x1f\x8b broken", "csv", "csv"),
        (b"a,b\n1\n2,3\n", "csv", "csv"),
        (b"a,b\n", "csv", "no rows"),
        (b"ds,y\n2024-01-01,\xff\xfe\n", "csv", "csv"),
        (b"a,a\n1,2\n", "csv", "two columns"),
        (b"a,b\x07c\n1,2\n", "csv", "control character"),
        (as_parquet(ROWS, native_time=True), "csv", "Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(data: bytes, format: Any, found: str) -> None:
    with pytest.raises(DataInvalid, match=found):
        read_file(data, format)


def test_a_column_that_changes_its_look_far_down_is_still_read() -> None:
    body = "".join(f"2024-01-01,{i % 90 + 10},\n" for i in range(90_000))
    table = read_file(f"ds,y,late\n{body}2024-01-01,1.5,3\n".encode(), "csv")
    assert table.columns["y"].values[-1] == 1.5
    assert table.columns["late"].values[-1] == 3


def test_windows_line_ends_a_byte_order_mark_and_row_numbers_are_no_trouble() -> None:
    table = read_file("\ufeff,ds, y\r\n0,2024-01-01,1\r\n1,2024-01-02,2\r\n".encode(), "csv")
    assert list(table.columns) == ["ds", "y"]
    assert "left out" in table.notes[0]


def test_a_dataset_is_opened_without_the_library_that_reads_files(tmp_path: Path) -> None:
    (tmp_path / "dataset.npz").write_bytes(dataset_bytes(read_rows(ROWS)))
    program = (
        "import sys, pathlib\n"
        "from mcp_forecast_engine.data.dataset import decode\n"
        "from mcp_forecast_engine.data.preprocessing import to_panel\n"
        "to_panel(decode(pathlib.Path(sys.argv[1]).read_bytes()).frame)\n"
        "assert 'pyarrow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "dataset.npz")], check=True, timeout=60)


def test_unreadable_bytes_are_their_own_error() -> None:
    with pytest.raises(FileUnreadable):
        read_file(b"PAR1 nonsense", "parquet")


def test_rows_of_mixed_kinds_are_refused_by_column_and_row() -> None:
    with pytest.raises(DataInvalid, match=r"'y'.*row 1"):
        read_rows([{"y": 1}, {"y": "two"}])
    with pytest.raises(DataInvalid, match="'y'"):
        read_rows([{"y": [1, 2]}])


def test_numbers_too_long_for_a_float_are_names() -> None:
    table = read_rows([{"id": 9_007_199_254_740_993}, {"id": 9_007_199_254_740_992}])
    assert table.columns["id"].words == ("9007199254740992", "9007199254740993")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2024-01-31T10:00:00", "2024-02-01T11:00:00"], ["2024-01-31T10:00:00", "2024-02-01T11:00:00"]),
        (["2024-01-31 10:00"], ["2024-01-31T10:00:00"]),
        (["2024/1/31"], ["2024-01-31T00:00:00"]),
        (["31.1.2024 06:30"], ["2024-01-31T06:30:00"]),
        (["01/31/2024"], ["2024-01-31T00:00:00"]),
        (["02/01/2024", "31/01/2024"], ["2024-01-02T00:00:00", "2024-01-31T00:00:00"]),
        (["2024-02"], ["2024-02-01T00:00:00"]),
        (["2024Q3", "2024-Q4"], ["2024-07-01T00:00:00", "2024-10-01T00:00:00"]),
        (["1999"], ["1999-01-01T00:00:00"]),
        ([1999], ["1999-01-01T00:00:00"]),
        ([20240131], ["2024-01-31T00:00:00"]),
        (["2024-01-31T00:00:00Z"], ["2024-01-31T00:00:00"]),
    ],
)
def test_times_are_read_in_the_formats_people_use(values: list[Any], expected: list[str]) -> None:
    read = times(values)
    assert read.kind == "calendar"
    assert iso(read.ds) == expected


def test_small_whole_numbers_are_steps() -> None:
    read = times([3, 1, 2])
    assert (read.kind, read.ds.tolist()) == ("integer", [3, 1, 2])
    assert times([1999, 2000], time_format="step").kind == "integer"


def test_an_ambiguous_date_asks_for_time_format_and_takes_it() -> None:
    with pytest.raises(DataInvalid, match="day/month") as refusal:
        times(["01/02/2024", "02/02/2024"])
    assert refusal.value.field == "time_format"
    assert iso(times(["01/02/2024"], time_format="DD/MM/YYYY").ds) == ["2024-02-01T00:00:00"]
    assert iso(times(["01/02/2024"], time_format="MM/DD/YYYY").ds) == ["2024-01-02T00:00:00"]
    assert iso(times(["31.12.23 07h"], time_format="%d.%m.%y %Hh").ds) == ["2023-12-31T07:00:00"]


def test_mixed_zones_are_refused_unless_the_wall_clock_is_named() -> None:
    zoned = ["2024-01-01T00:00:00+01:00", "2024-07-01T00:00:00+02:00"]
    with pytest.raises(DataInvalid, match="mixes the zones") as refusal:
        times(zoned)
    assert refusal.value.field == "time_zone"
    local = times(zoned, time_zone="Europe/Berlin")
    assert iso(local.ds) == ["2024-01-01T00:00:00", "2024-07-01T00:00:00"]
    assert "Europe/Berlin" in local.notes[0]
    with pytest.raises(DataInvalid, match="some have none"):
        times(["2024-01-01T00:00:00Z", "2024-01-02T00:00:00"])
    with pytest.raises(DataInvalid, match="Mars"):
        times(["2024-01-01T00:00:00Z"], time_zone="Mars/Base")


@pytest.mark.parametrize(
    "values", [["2024-02-30"], ["2024-01-01", "soon"], ["2024-01-01 25:00"], [None, "2024-01-01"], [1.5]]
)
def test_impossible_or_absent_times_are_refused(values: list[Any]) -> None:
    with pytest.raises(DataInvalid):
        times(values)


@given(st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)), min_size=1, max_size=20))
def test_every_written_time_is_read_back(moments: list[datetime]) -> None:
    whole = [moment.replace(microsecond=0) for moment in moments]
    for pattern in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%SZ", "%Y/%m/%d %H:%M:%S", "%d.%m.%Y %H:%M:%S"):
        assert iso(times([moment.strftime(pattern) for moment in whole]).ds) == [moment.isoformat() for moment in whole]
