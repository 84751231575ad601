"""Every forecast behind a report's numbers, as Parquet: whoever doubts a number can compute it again."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.evaluation.metrics import Scored
from mcp_forecast_engine.models.spec import QUANTILES

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
LEVEL_NAMES: Final = tuple(f"q{level:g}" for level in QUANTILES)
COLUMNS: Final = (
    "arm", "unique_id", "cutoff", "ds", "step", "y", "observed", "scale", "path", *LEVEL_NAMES,
)  # fmt: skip
# Above so many rows only the arms that decide are kept: 2 million are about 200 MB in memory.
MOST_ROWS: Final = 2_000_000


@dataclass(frozen=True)
class Forecasts:
    """An arm's test windows: what was issued beside what happened, and the path before calibration, (R, horizon)."""

    scored: Scored
    path: Floats


@dataclass(frozen=True)
class Stored:
    """An arm's test windows as they were stored, R rows of a series at a cutoff.

    unique_id, cutoff: texts, (R). ds: texts, (R, horizon). y, observed, path: (R, horizon). scale: (R).
    quantiles: (R, horizon, levels).
    """

    unique_id: NDArray[np.object_]
    cutoff: NDArray[np.object_]
    ds: NDArray[np.object_]
    y: Floats
    observed: NDArray[np.bool_]
    scale: Floats
    path: Floats
    quantiles: Floats


def kept_arms(rows: Mapping[str, int], deciding: Sequence[str]) -> tuple[str, ...]:
    """The arms whose forecasts are stored: all of them, or only the deciding ones where these are too many rows.

    rows: of each arm, windows times series times steps.
    """
    if sum(rows.values()) <= MOST_ROWS:
        return tuple(rows)
    return tuple(name for name in rows if name in deciding)


def write_predictions(
    arms: Mapping[str, Forecasts], panel: Panel, *, ds: Integers, origins: Sequence[Integers]
) -> bytes:
    """The test windows of these arms, one row per arm, series, cutoff and step; equal forecasts give equal bytes.

    arms: scored on the same rows. ds: (R, horizon), the times of these rows. origins: of the test windows, (S) each.
    Columns: arm, unique_id, cutoff (the last known step) and ds (texts; integer time in digits), step (1 … horizon),
    y, observed (false: filled in, never scored), scale (MASE's, of the series), path (the forecast before it was
    calibrated), and a column per quantile level.
    """
    import pyarrow.parquet as parquet

    packed, writer = io.BytesIO(), None
    first = next(iter(arms.values())).scored
    named = _names(first, panel, ds, origins)
    for name, forecasts in arms.items():
        table = _table(name, forecasts, named)
        # Arm after arm: together they can be gigabytes.
        writer = writer or parquet.ParquetWriter(packed, table.schema, compression="zstd", store_schema=False)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return packed.getvalue()


def read_predictions(data: bytes) -> dict[str, Stored]:
    """What `write_predictions` wrote, by arm. Raises ArtifactCorrupt."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(io.BytesIO(data))
        horizon = int(pc.max(table["step"]).as_py())
        arms = [str(name) for name in pc.unique(table["arm"]).to_pylist()]
        return {name: _stored(table.filter(pc.equal(table["arm"], name)), horizon) for name in arms}
    except (pa.ArrowException, KeyError, ValueError, TypeError) as refusal:
        raise ArtifactCorrupt(f"the bytes are no predictions: {refusal}") from refusal


def _names(scored: Scored, panel: Panel, ds: Integers, origins: Sequence[Integers]) -> dict[str, Any]:
    """The columns that all arms share, but for the truth."""
    horizon = scored.y.shape[1]
    cutoffs = panel.ds[panel.offsets[scored.series] + _origin_of(scored, origins) - 1]
    return {
        "unique_id": _words(scored.series, panel.unique_id, horizon),
        "cutoff": _times(cutoffs, panel, horizon),
        "ds": _times(ds.ravel(), panel, 1),
        "step": np.tile(np.arange(1, horizon + 1, dtype=np.int32), len(scored.y)),
    }


def _table(name: str, forecasts: Forecasts, named: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    scored, horizon = forecasts.scored, forecasts.scored.y.shape[1]
    return pa.table(
        {
            "arm": _words(np.zeros(scored.y.size, np.int64), [name], 1),
            **named,
            "y": scored.y.ravel(),
            "observed": scored.observed.ravel(),
            "scale": np.repeat(scored.scale[scored.series], horizon),
            "path": forecasts.path.ravel(),
            **{level: scored.quantiles[:, :, k].ravel() for k, level in enumerate(LEVEL_NAMES)},
        }
    )


def _words(place: Integers, words: Sequence[str], repeats: int) -> pa.DictionaryArray:
    """Each word once, and its places, each repeated."""
    import pyarrow as pa

    at = np.repeat(place, repeats).astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(at), pa.array(list(words), pa.string()))


def _times(ds: Integers, panel: Panel, repeats: int) -> pa.DictionaryArray:
    stamps, place = np.unique(ds, return_inverse=True)
    return _words(place.astype(np.int64), [time_text(int(at), panel.axis) for at in stamps], repeats)


def _origin_of(scored: Scored, origins: Sequence[Integers]) -> Integers:
    """Steps of history of every row, (R): windows are numbered from the first validation one."""
    first = int(scored.window.min())
    found: Integers = np.stack(origins)[scored.window - first, scored.series]
    return found


def _stored(table: pa.Table, horizon: int) -> Stored:
    def numbers(name: str) -> NDArray[Any]:
        return np.asarray(table[name].to_numpy().reshape(-1, horizon))

    def words(name: str) -> NDArray[np.object_]:
        return np.array(table[name].to_pylist(), object).reshape(-1, horizon)

    return Stored(
        unique_id=words("unique_id")[:, 0],
        cutoff=words("cutoff")[:, 0],
        ds=words("ds"),
        y=numbers("y"),
        observed=numbers("observed").astype(bool),
        scale=numbers("scale")[:, 0],
        path=numbers("path"),
        quantiles=np.stack([numbers(level) for level in LEVEL_NAMES], axis=2),
    )
