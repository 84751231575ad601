"""The series of a dataset, one line each, for people and pages."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcp_forecast_engine.data.frame import Frame
from mcp_forecast_engine.data.profile import time_text


def series_lines(frame: Frame, *, first: int, count: int) -> list[dict[str, Any]]:
    """Series `first` … `first + count`: name, span, rows, absent targets, mean and last target (absent if none)."""
    return [_line(frame, i) for i in range(first, min(first + count, len(frame.unique_id)))]


def _line(frame: Frame, series: int) -> dict[str, Any]:
    low, high = int(frame.offsets[series]), int(frame.offsets[series + 1])
    y, ds = frame.y[low:high], frame.ds[low:high]
    known = np.flatnonzero(~np.isnan(y))
    end = known[-1] if len(known) else len(y) - 1
    line: dict[str, Any] = {
        "unique_id": frame.unique_id[series],
        "start": time_text(int(ds[0]), frame.axis),
        "end": time_text(int(ds[end]), frame.axis),
        "rows": high - low,
        "missing_target": int(np.isnan(y[: end + 1]).sum()),
    }
    if len(known):
        line |= {"mean": float(f"{y[known].mean():.6g}"), "last": float(f"{y[known[-1]]:.6g}")}
    return line
