"""The files of the newcomer's command: what it reads beside the tools, and what it writes."""

from __future__ import annotations

from csv import DictWriter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mcp_forecast.errors import body
from mcp_forecast.report import forecast_rows

Document = dict[str, Any]


class Refused(Exception):
    """A tool refused or a run failed; carries the error body of the contracts."""

    def __init__(self, error: Document) -> None:
        super().__init__(error["message"])
        self.error = error


def existing(file: Path, field: str) -> Path:
    """The file's real path. field: the argument it stands for. Raises Refused."""
    found = file.expanduser().resolve()
    if not found.is_file():
        raise Refused(body("FILE_UNREADABLE", f"there is no file {str(file)!r}", field=field,
                           next_step="check the name; relative paths start at this folder"))  # fmt: skip
    return found


def require_writable(*, plot: Path | None, csv: Path | None) -> None:
    """Refuse before hours of work what could not be written after it. Raises Refused."""
    for path, option in ((plot, "--plot"), (csv, "--csv")):
        if path is not None and not path.absolute().parent.is_dir():
            raise Refused(
                {"message": f"no folder {path.absolute().parent}", "next_step": "make it first", "field": option}
            )
    if plot is not None and find_spec("matplotlib") is None:
        raise Refused({"message": "a PNG needs matplotlib, which is not installed", "field": "--plot",
                       "next_step": "pip install matplotlib"})  # fmt: skip


def rows_of(file: Path) -> list[Document]:
    """The rows of a CSV or Parquet file as JSON values; empty cells are left out. Raises Refused."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    try:
        table = parquet.read_table(file) if file.suffix == ".parquet" else arrow_csv.read_csv(file)
    except pa.ArrowException as error:
        told = str(error).splitlines()[0]
        raise Refused(body("FILE_UNREADABLE", f"{file.name} cannot be read: {told}", field="future",
                           next_step="send CSV with commas and a header, or Parquet")) from error  # fmt: skip
    return [{n: _json_value(v) for n, v in row.items() if v is not None} for row in table.to_pylist()]


def _json_value(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def write_csv(file: Path, forecast: Document) -> None:
    """The forecast, one row per series and step."""
    rows = list(forecast_rows(forecast))
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = DictWriter(opened, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
