"""Rows as callers send them, and what a caller is told."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mcp_forecast.errors import error_body
from mcp_forecast_engine.data.columns import ColumnRoles
from mcp_forecast_engine.data.dataset import Dataset, build_dataset
from mcp_forecast_engine.data.reading import read_rows
from mcp_forecast_engine.errors import EngineError

Row = dict[str, Any]
HEAT = {"name": "heat", "type": "numeric", "role": "known_future", "nullable": False}
PLAN = {"name": "plan", "type": "numeric", "role": "known_future", "nullable": True,
        "fallback": {"policy": "last_season", "usual": 1.0}}  # fmt: skip
SERVING: Row = {
    "horizon": 7, "target": "y", "wide": [], "series": [], "axis": "calendar", "freq": "D", "data_freq": "D",
    "needs_future": ["heat", "plan"], "optional_future": ["plan"], "derived": [], "covariates": [HEAT, PLAN],
    "series_count": 1, "model": "sha256:00",
}  # fmt: skip


def refused(call: Callable[[], object]) -> dict[str, Any]:
    """What a caller is told."""
    with pytest.raises(EngineError) as refusal:
        call()
    body = error_body(refusal.value, correlation_id="c")
    assert body["next_step"]
    return body


def stamp(start: str, steps: int, unit: str) -> str:
    return str(np.datetime64(start) + np.timedelta64(steps, unit))


def daily(count: int = 60, **columns: Callable[[int], Any]) -> list[Row]:
    chance = random.Random(4)
    made = {"heat": lambda _: round(chance.gauss(15, 4), 3), "plan": lambda i: float(i * 3 % 5), **columns}
    return [
        {"ds": stamp("2025-01-01", i, "D"), "y": float(i * 7 % 11), **{name: make(i) for name, make in made.items()}}
        for i in range(count)
    ]


def built(rows: list[Row], **asked: Any) -> Dataset:
    return build_dataset(read_rows(rows), ColumnRoles(source="", **asked))


def zoned(hours: int, start: str) -> list[Row]:
    """Hours of Berlin as a meter writes them, with the offset of summer or winter."""
    change = np.datetime64("2024-10-27T01:00")  # UTC
    utc = [np.datetime64(start) + np.timedelta64(i, "h") for i in range(hours)]
    offset = [1 if at >= change else 2 for at in utc]
    return [
        {"ds": f"{at + np.timedelta64(o, 'h')}:00+0{o}:00", "y": float(i % 24)}
        for i, (at, o) in enumerate(zip(utc, offset, strict=True))
    ]
