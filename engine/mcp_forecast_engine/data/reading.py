"""Tables as values: CSV, Parquet and inline rows become named columns of four kinds."""

from __future__ import annotations

import gzip
import io
import re
import unicodedata
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.errors import ColumnMissing, DataInvalid, FileUnreadable

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["number", "boolean", "text", "time"]

NO_TIME = np.iinfo(np.int64).min
MAX_UNPACKED_BYTES = 2 << 30
EXACT_INTEGER = 2**53


@dataclass(frozen=True)
class Column:
    """One column of a table.

    values: number and boolean float64 (N), NaN where absent; text int32 (N) codes into `words`, -1 where absent;
    time int64 (N) seconds since 1970-01-01, NO_TIME where absent. words: the distinct texts, sorted.
    zone: a time column's zone; its seconds then count UTC. None means a wall clock without a zone.
    """

    kind: Kind
    values: NDArray[Any]
    words: tuple[str, ...] = ()
    zone: str | None = None

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Where the column has no value, bool (N)."""
        if self.kind == "text":
            return np.asarray(self.values < 0)
        return np.asarray(self.values == NO_TIME if self.kind == "time" else np.isnan(self.values))


@dataclass(frozen=True)
class Table:
    """Rows as they were read: column name → Column, all of the same length, and notes on what reading changed."""

    columns: Mapping[str, Column]
    rows: int
    notes: tuple[str, ...] = ()

    def column(self, name: str, *, field: str) -> Column:
        """One column by name; raises ColumnMissing, which lists the names that exist."""
        if name not in self.columns:
            raise ColumnMissing(
                f"no column is named {name!r}; the columns are {', '.join(map(repr, self.columns))}",
                field=field,
                allowed=list(self.columns),
                next_step=f"name an existing column in `{field}`",
            )
        return self.columns[name]


def read_file(data: bytes, format: Literal["csv", "parquet"]) -> Table:
    """Read a CSV (plain or gzip; comma, semicolon, tab, bar) or Parquet file; raises FileUnreadable, DataInvalid."""
    import pyarrow as pa

    if not data:
        raise FileUnreadable("the file is empty (0 bytes)", next_step="send a file with a header and rows")
    try:
        arrow = _read_parquet(data) if format == "parquet" else _read_csv(data)
        names = arrow.column_names
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, EOFError, zlib.error, UnicodeDecodeError) as refusal:
        reason = str(refusal).splitlines()[0] if str(refusal) else type(refusal).__name__
        raise FileUnreadable(
            f"the bytes cannot be read as {format}: {reason}",
            allowed=["csv", "csv with gzip", "parquet"],
            next_step="check that the file is complete and, if it is CSV, saved as UTF-8",
        ) from refusal
    return _table(names, arrow.columns, arrow.num_rows)


def read_rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Read inline rows, one mapping of column → value each; a column missing from a row is an absent value there.

    Values are numbers, booleans, text, dates or None. Raises DataInvalid naming the column and row at fault.
    """
    if not rows:
        raise DataInvalid("there are no rows", field="rows", next_step="send at least one row")
    names = list(dict.fromkeys(name for row in rows for name in row))
    arrays = [_row_array(name, [row.get(name) for row in rows]) for name in names]
    return _table(names, arrays, len(rows))


def _read_parquet(data: bytes) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    return parquet.read_table(pa.BufferReader(data))


def _read_csv(data: bytes) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    text = _unpack(data)
    if text[:4] == b"PAR1":
        raise FileUnreadable(
            "the bytes are a Parquet file, not CSV", field="path", allowed=[".parquet"],
            next_step="rename the file to end with .parquet",
        )  # fmt: skip
    if b"\x00" in text[:4096]:
        raise FileUnreadable("the bytes are no UTF-8 text", next_step="save the file as CSV in UTF-8, or as Parquet")
    header, _, rest = text[:65_536].partition(b"\n")
    delimiter = max((b",", b";", b"\t", b"|"), key=header.count).decode()
    first = rest.partition(b"\n")[0]
    decimal = _decimal_point(first.decode("utf-8", "replace"), delimiter)
    parse = csv.ParseOptions(delimiter=delimiter)
    convert = csv.ConvertOptions(
        strings_can_be_null=True,
        decimal_point=decimal,
        # Times with a clock stay text: arrow would fold different zones into UTC, and we refuse to mix them.
        timestamp_parsers=["%%"],
    )
    try:
        table = csv.read_csv(pa.BufferReader(text), parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid:
        # Arrow takes the types from the first mebibyte; a file that goes on otherwise is read again in one block.
        whole = csv.ReadOptions(block_size=min(len(text) + 1, MAX_UNPACKED_BYTES - 1))
        table = csv.read_csv(pa.BufferReader(text), read_options=whole, parse_options=parse, convert_options=convert)
    # Arrow reads bytes that are no UTF-8 as binary values.
    wrong = next((field.name for field in table.schema if field.type == pa.binary()), None)
    if wrong is not None:
        raise FileUnreadable(f"column {wrong!r} of the csv is no UTF-8 text", next_step="save the file in UTF-8")
    return table


def _decimal_point(row: str, delimiter: str) -> str:
    """A comma where a cell of the first row is a number with one and none is a number with a point (dates have two)."""
    cells = [cell.strip().strip('"') for cell in row.split(delimiter)] if delimiter != "," else []
    commas = any(re.fullmatch(r"[-+]?\d+,\d+", cell) for cell in cells)
    points = any(re.fullmatch(r"[-+]?\d+\.\d+", cell) for cell in cells)
    return "," if commas and not points else "."


def _unpack(data: bytes) -> bytes:
    if data[:2] != b"\x1f\x8b":
        return data
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
        text = packed.read(MAX_UNPACKED_BYTES + 1)
    if len(text) > MAX_UNPACKED_BYTES:
        raise FileUnreadable(f"the file unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB", next_step="split it")
    return text


def _row_array(name: str, values: list[Any]) -> pa.Array:
    import pyarrow as pa

    present = [value for value in values if value is not None]
    kinds = {_row_kind(value) for value in present}
    if len(kinds) > 1 or None in kinds:
        found = "values must be numbers, booleans, text, dates or null"
        if None not in kinds:
            row = next(i for i, v in enumerate(values) if v is not None and _row_kind(v) != _row_kind(present[0]))
            found = f"the first value is {present[0]!r}, row {row} has {values[row]!r}"
        raise DataInvalid(f"column {name!r} is not of one kind: {found}", field="rows", next_step="send one kind")
    if kinds == {"number"} and not all(isinstance(value, int) and abs(value) < 2**63 for value in present):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(values)


def _row_kind(value: Any) -> str | None:
    from datetime import date, datetime

    for kind, types in (("boolean", bool), ("number", (int, float)), ("text", str), ("time", datetime), ("date", date)):
        if isinstance(value, types):
            return kind
    return None


def _table(names: Iterable[str], arrays: Iterable[pa.ChunkedArray], rows: int) -> Table:
    if not rows:
        raise DataInvalid("the file has a header but no rows", next_step="send a file with rows")
    columns: dict[str, Column] = {}
    notes: list[str] = []
    for name, array in zip((name.strip() for name in names), arrays, strict=True):
        if name in columns:
            raise DataInvalid(f"two columns are named {name!r}", next_step="give each column its own name")
        if any(unicodedata.category(letter) in ("Cc", "Cf") for letter in name):
            raise DataInvalid(f"column name {name!r} holds a control character", next_step="rename the column")
        column, note = _column(array)
        if not name and column is not None and not _is_row_number(column):
            raise DataInvalid("a column has no name", next_step="give each column a name in the header")
        if not name or column is None:
            note = f"holds {array.type} values and was left out" if column is None else "numbers the rows, left out"
        elif column is not None:
            columns[name] = column
        if note:
            notes.append(f"column {name!r} {note}")
    return Table(columns=columns, rows=rows, notes=tuple(notes))


def _is_row_number(column: Column) -> bool:
    return column.kind == "number" and bool(np.all(np.diff(column.values) == 1))


def _column(array: pa.ChunkedArray) -> tuple[Column | None, str]:
    """A column from an arrow array, with a note on what changed; None for nested or binary values."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as types

    if types.is_dictionary(array.type):
        array = pc.cast(array, array.type.value_type)
    if types.is_boolean(array.type):
        return Column("boolean", _floats(array)), ""
    if types.is_date(array.type) or types.is_timestamp(array.type):
        return _time_column(array)
    if types.is_null(array.type) or types.is_floating(array.type) or types.is_decimal(array.type):
        return _number_column(array)
    if types.is_integer(array.type):
        largest = max((abs(value) for value in pc.min_max(array).as_py().values() if value is not None), default=0)
        # Beyond 2^53 a float64 no longer tells neighbours apart: such numbers are names, not amounts.
        return _number_column(array) if largest <= EXACT_INTEGER else (_text_column(pc.cast(array, pa.string())), "")
    if types.is_time(array.type):
        array = pc.cast(array, pa.string())
    if types.is_string(array.type) or types.is_large_string(array.type) or types.is_string_view(array.type):
        return _text_column(array), ""
    return None, ""


def _floats(array: pa.ChunkedArray) -> NDArray[np.float64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.fill_null(pc.cast(array, pa.float64(), safe=False), float("nan")).to_numpy()
    return np.ascontiguousarray(values, dtype=np.float64)


def _number_column(array: pa.ChunkedArray) -> tuple[Column, str]:
    values = _floats(array)
    infinite = np.isinf(values)
    if not infinite.any():
        return Column("number", values), ""
    return Column("number", np.where(infinite, np.nan, values)), f"has {infinite.sum()} infinite values, read as absent"


def _text_column(array: pa.ChunkedArray) -> Column:
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    coded = pc.dictionary_encode(array)
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    words = coded.dictionary.to_pylist()
    order = sorted(range(len(words)), key=words.__getitem__)
    rank = np.empty(len(words) + 1, np.int32)
    rank[order], rank[-1] = np.arange(len(words)), -1
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    return Column("text", rank[codes], words=tuple(words[i] for i in order))


def _time_column(array: pa.ChunkedArray) -> tuple[Column, str]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as types

    zone = array.type.tz if types.is_timestamp(array.type) else None
    seconds = pc.cast(array, pa.timestamp("s", tz=zone), safe=False)
    # A date has no clock to cut, and arrow compares it with a timestamp of its own making.
    exact = types.is_date(array.type) or not pc.any(pc.not_equal(pc.cast(seconds, array.type), array)).as_py()
    values = pc.fill_null(pc.cast(seconds, pa.int64()), NO_TIME).to_numpy()
    note = "" if exact else "holds fractions of a second, cut to whole seconds"
    return Column("time", np.ascontiguousarray(values, np.int64), zone=zone), note
