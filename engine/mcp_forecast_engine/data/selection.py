"""The part of a dataset that takes part: some of its series, from one time to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mcp_forecast_engine.data.frame import Frame, TimeAxis
from mcp_forecast_engine.data.labels import read_asof
from mcp_forecast_engine.errors import DataInvalid


def selected(frame: Frame, filters: Mapping[str, Any] | None) -> Frame:
    """The frame's rows that pass: series (names; None: all), start and end (ISO 8601 or the step, both inclusive).

    Times are of the wall clock that the data shows. Raises DataInvalid for a series that there is none of, and where
    nothing passes.
    """
    wanted = {name: value for name, value in (filters or {}).items() if value is not None}
    if not wanted:
        return frame
    names = wanted.get("series", frame.unique_id)
    strange = sorted(set(names) - set(frame.unique_id))
    if strange:
        raise DataInvalid(
            f"the dataset has no series {strange[0]!r}", field="filters.series", allowed=list(frame.unique_id[:40]),
            next_step="use names of describe_dataset",
        )  # fmt: skip
    of_these = np.repeat(np.isin(np.array(frame.unique_id), np.array(list(names))), np.diff(frame.offsets))
    first, last = (_stamp(wanted.get(name), frame.axis, field=f"filters.{name}") for name in ("start", "end"))
    inside = (frame.ds >= (first if first is not None else frame.ds.min())) & of_these
    inside &= frame.ds <= (last if last is not None else frame.ds.max())
    if not inside.any():
        raise DataInvalid("no row passes the filters", field="filters", next_step="widen them")
    return frame.only(np.flatnonzero(inside))


def _stamp(text: str | None, axis: TimeAxis, *, field: str) -> int | None:
    if text is None:
        return None
    try:
        return int(text) if axis.kind == "integer" else read_asof(text)
    except (ValueError, DataInvalid) as error:
        allowed = "a whole step number" if axis.kind == "integer" else "ISO 8601, e.g. 2024-05-01"
        raise DataInvalid(
            f"{text!r} is no time of this data", field=field, allowed=allowed, next_step="write it as the data does"
        ) from error
