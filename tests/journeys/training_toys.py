"""A daily series that a promotion lifts, registered and trained."""

from __future__ import annotations

import math
import random
from datetime import date, timedelta
from typing import Any

from conftest import Answer, Desk


def rows(days: int, *, known: int = 0) -> list[dict[str, Any]]:
    """A daily series with a weekly season, a promotion that lifts it, and `known` days of promotions ahead."""
    made, chance = [], random.Random(11)
    for day in range(days + known):
        promotion = int(chance.random() < 0.3)
        y = 100 + 20 * math.sin(2 * math.pi * day / 7) + 30 * promotion + chance.gauss(0, 3)
        row: dict[str, Any] = {"ds": (date(2023, 1, 1) + timedelta(days=day)).isoformat(), "promotion": promotion}
        if day < days:
            row["y"] = round(y, 6)
        made.append(row)
    return made


def register(desk: Desk, *, known: int = 14) -> str:
    answer = desk.call("register_dataset", {"rows": rows(700, known=known)})
    assert answer["ok"], answer
    return str(answer["result"]["dataset_id"])


def train(desk: Desk, dataset: str, **more: Any) -> Answer:
    started = desk.call("run_training", {"dataset_id": dataset, "horizon": 7, **more})
    assert started["ok"], started
    return desk.finish(started["result"]["run_id"])
