"""A daily series with everything that preprocessing mends, through the pipeline."""

from __future__ import annotations

import json
import math
import random
from datetime import date, timedelta
from typing import Any

import jsonschema
from conftest import Desk

from mcp_forecast_contracts.catalogue import documents

OUTLIER_DAY, GAP, TWICE = 300, range(120, 124), 50
CLIP: list[dict[str, Any]] = [
    {"kind": "merge_duplicates", "how": "last"},
    {"kind": "fill_gaps", "target": "last"},
    {"kind": "fill_covariates"},
    {"kind": "outliers", "action": "clip", "threshold": 6},
]
WEEKLY: list[dict[str, Any]] = [
    {"kind": "merge_duplicates"},
    {"kind": "fill_gaps"},
    {"kind": "fill_covariates"},
    {"kind": "resample", "freq": "W-SUN", "target": "sum"},
]


def day(number: int) -> str:
    return (date(2023, 1, 1) + timedelta(days=number)).isoformat()


def rows(days: int, *, known: int = 0, seed: int = 3) -> list[dict[str, Any]]:
    """A daily series with a weekly season, a price that moves it, four days absent, one day twice and one far off."""
    chance, made = random.Random(seed), []
    for number in range(days + known):
        price = round(chance.uniform(1, 5), 2)
        row: dict[str, Any] = {"ds": day(number), "price": price}
        if number < days:
            y = 100 + 20 * math.sin(2 * math.pi * number / 7) - 8 * price + chance.gauss(0, 3)
            row["y"] = round(9000 if number == OUTLIER_DAY else y, 6)
        made += [] if number in GAP else [row, {**row, "y": 500.0}] if number == TWICE else [row]
    return made


def register(desk: Desk, **asked: Any) -> str:
    corrections = [{"name": "price", "role": "known_future"}]
    answer = desk.call("register_dataset", {"rows": rows(**asked), "freq": "D", "covariates": corrections})
    assert answer["ok"], answer
    return str(answer["result"]["dataset_id"])


def preprocess(desk: Desk, dataset: str, **asked: Any) -> dict[str, Any]:
    answer = desk.call("run_preprocessing", {"dataset_id": dataset, **asked})
    assert answer["ok"], answer
    jsonschema.validate(answer, documents()["run_preprocessing"]["output_schema"])
    assert len(json.dumps(answer)) < 8000
    result: dict[str, Any] = answer["result"]
    return result
