"""How a dataset looks at first sight: its extent, what is absent or double, and the range of each covariate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Frame, TimeAxis
from mcp_forecast_engine.data.frequency import parse_frequency
from mcp_forecast_engine.data.grid import first_stamp, stamp_at, steps_since
from mcp_forecast_engine.data.longform import rows_after_last


@dataclass(frozen=True)
class CovariateProfile:
    """Range and absent values of one covariate; minimum and maximum are codes for categories, None if all absent."""

    name: str
    minimum: float | None
    maximum: float | None
    missing: int


@dataclass(frozen=True)
class Profile:
    """The extent of a dataset.

    start, end: first and last time with a target, ISO 8601 or the step number. future_rows: rows after the last target
    of their series. missing_target: absent targets before it. gaps: grid steps without a row, from first to last row of
    each series. duplicates: rows that share series and step with an earlier row. off_grid: rows beside the grid.
    """

    rows: int
    series: int
    shortest: int
    longest: int
    start: str
    end: str
    future_rows: int
    missing_target: int
    gaps: int
    duplicates: int
    off_grid: int
    covariates: tuple[CovariateProfile, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The profile as JSON values."""
        return asdict(self)


def profile_frame(frame: Frame, *, warnings: tuple[str, ...] = ()) -> Profile:
    """Count what a person asks first about a dataset; warnings are kept and extended."""
    tail = rows_after_last(frame.y, frame.offsets)
    step, lengths = parse_frequency(frame.axis.freq), np.diff(frame.offsets)
    starts = np.repeat(first_stamp(frame.ds[frame.offsets[:-1]], step), lengths)
    index = steps_since(starts, frame.ds, step)
    same_series = np.ones(max(len(index) - 1, 0), bool)
    same_series[frame.offsets[1:-1] - 1] = False
    moves = np.diff(index)[same_series]
    known = frame.ds[~np.isnan(frame.y)]
    counts = {
        "future_rows": int(tail.sum()),
        "missing_target": int((np.isnan(frame.y) & ~tail).sum()),
        "gaps": int((moves[moves > 1] - 1).sum()),
        "duplicates": int((moves == 0).sum()),
        "off_grid": int((stamp_at(starts, index, step) != frame.ds).sum()),
    }
    return Profile(
        rows=len(frame.ds),
        series=len(frame.unique_id),
        shortest=int(lengths.min()),
        longest=int(lengths.max()),
        start=time_text(int(known.min()), frame.axis),
        end=time_text(int(known.max()), frame.axis),
        covariates=tuple(_range(name, frame.covariates[name]) for name in sorted(frame.covariates)),
        warnings=(*warnings, *_warnings(frame, counts)),
        **counts,
    )


def time_text(ds: int, axis: TimeAxis) -> str:
    """A timestamp in words: ISO 8601 to the second, or the step number."""
    return str(ds) if axis.kind == "integer" else str(np.datetime64(ds, "s"))


def _range(name: str, values: NDArray[np.float64]) -> CovariateProfile:
    present = values[~np.isnan(values)]
    if not len(present):
        return CovariateProfile(name, None, None, len(values))
    return CovariateProfile(name, float(present.min()), float(present.max()), len(values) - len(present))


def _warnings(frame: Frame, counts: dict[str, int]) -> list[str]:
    words = {
        "missing_target": "rows have no target before the series ends; preprocessing fills them",
        "gaps": f"steps of {frame.axis.freq!r} have no row; preprocessing fills them",
        "duplicates": "rows repeat a time of their series; preprocessing merges them",
        "off_grid": f"rows lie beside the grid of {frame.axis.freq!r}; preprocessing moves them to the nearest step",
    }
    found = [f"{counts[name]} {text}" for name, text in words.items() if counts[name]]
    never = np.add.reduceat((~np.isnan(frame.y)).astype(np.int64), frame.offsets[:-1]) == 0
    if never.any():
        found.append(f"{int(never.sum())} series have no target at all; preprocessing leaves them out")
    return found
