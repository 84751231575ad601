"""Files to panels the way the product does: read, columns registered, preprocessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from mcp_forecast_engine.data.columns import ColumnRoles
from mcp_forecast_engine.data.dataset import build_dataset
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.data.reading import read_file
from mcp_forecast_engine.data.steps import DEFAULT_STEPS, Step


def panel_of(
    data: bytes, roles: ColumnRoles, season_length: int | None = None, steps: Sequence[Step] = DEFAULT_STEPS
) -> Panel:
    """The panel of a Parquet or CSV file's bytes. Raises what reading and registering raise."""
    table = read_file(data, "parquet" if data[:4] == b"PAR1" else "csv")
    return to_panel(build_dataset(table, roles).frame, steps, season_length)[0]


def scored_everywhere(panel: Panel) -> Panel:
    """The panel with filled steps counted as measured, where the protocol scores what they are filled with."""
    return replace(panel, observed=np.ones(len(panel.y), bool))


def table_bytes(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file, for tasks whose file is a part or a join of the published ones."""
    import pyarrow.parquet as parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    return bytes(sink.getvalue())
