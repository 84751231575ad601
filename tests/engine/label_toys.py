"""A small table of two stores whose values are published late and revised, and the plan that reads it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np

from mcp_forecast_engine.data.columns import ColumnRoles
from mcp_forecast_engine.data.dataset import Dataset, build_dataset, decode
from mcp_forecast_engine.data.labels import as_of
from mcp_forecast_engine.data.reading import read_rows
from mcp_forecast_engine.data.registration import DatasetRequest, PreparedDataset, from_rows
from mcp_forecast_engine.data.steps import DEFAULT_STEPS, step_to_dict
from mcp_forecast_engine.store.artifacts import ArtifactStore

FIRST = datetime(2024, 1, 1)
DAYS, AHEAD = 90, 7
ASOF = "2024-03-02T00:00:00Z"  # the value of two days before is late, that of yesterday is known
Row = dict[str, Any]
Rows = list[Row]
ONE = ColumnRoles(series=("store",), observed="seen")


def row(day: int, store: str, y: float | None, *, seen: float, stock: float | None = None) -> Row:
    """One row about a day, seen so many days later."""
    about = FIRST + timedelta(days=day)
    times = {"ds": about.isoformat(), "seen": (about + timedelta(days=seen)).isoformat()}
    return {**times, "store": store, "y": y, "stock": stock, "promo": float(day % 9 == 3)}


def revised_rows(days: int = DAYS) -> list[Row]:
    """Every value a day late, every tenth five days, every fourth revised after fifteen; promotions known ahead."""
    made = []
    for store, level in (("north", 50.0), ("south", 80.0)):
        for day in range(days):
            y, stock = level + 9 * (day % 7) + (day * 37 % 11), float(day * 13 % 17)
            made.append(row(day, store, y, seen=5 if day % 10 == 9 else 1, stock=stock))
            if day % 4 == 0:
                made.append(row(day, store, y + 20, seen=15, stock=stock + 5))
        made += [row(days + ahead, store, None, seen=-ahead) for ahead in range(AHEAD)]
    return made


def registered(rows: list[Row], artifacts: ArtifactStore, **columns: Any) -> PreparedDataset:
    """These rows as a stored dataset with observed times."""
    named = {"series": ["store"], "observed": "seen", **columns}
    return from_rows(rows, DatasetRequest(columns=named), artifacts)


def dataset_of(prepared: PreparedDataset, artifacts: ArtifactStore) -> Dataset:
    """The stored dataset."""
    return decode(artifacts.get(prepared.digest))


def plan_of(prepared: PreparedDataset, **changed: Any) -> dict[str, Any]:
    """What a training plan says about this data."""
    plan = {
        "dataset_digest": prepared.digest,
        "covariates": ["promo", "stock"],
        "preprocessing": [step_to_dict(step) for step in DEFAULT_STEPS],
        "season_length": 7,
        "label_asof": ASOF,
    }
    return {name: value for name, value in {**plan, **changed}.items() if value is not None}


def built(rows: Rows, request: ColumnRoles = ONE) -> Dataset:
    """These rows with observed times, unstored."""
    return build_dataset(read_rows(rows), request)


def targets(dataset: Dataset, label_asof: str, **more: Any) -> dict[tuple[str, int], float]:
    """Series and day → the target known then."""
    frame = as_of(dataset, label_asof, **more).frame
    names = np.repeat(np.array(frame.unique_id), np.diff(frame.offsets)).tolist()
    start = int(np.datetime64(FIRST, "s").astype(np.int64))
    days = ((frame.ds - start) // 86_400).tolist()
    return {(name, day): y for name, day, y in zip(names, days, frame.y.tolist(), strict=True) if y == y}


def on(day: float) -> str:
    """The time so many days after the first one, ISO 8601."""
    return (FIRST + timedelta(days=day)).isoformat()
