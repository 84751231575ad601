"""Rows that a training passes its gate on, and rows that it fails it on."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any


def passing(days: int = 168) -> list[dict[str, Any]]:
    """A daily series with a weekly season and a rise, which a repetition of the last season misses by a week."""
    chance, first = random.Random(3), date(2025, 1, 1)
    return [
        {"ds": (first + timedelta(days=i)).isoformat(), "y": round(50 + 10 * (i % 7) + 0.5 * i + chance.gauss(0, 8), 3)}
        for i in range(days)
    ]


def failing() -> list[dict[str, Any]]:
    """A daily series whose season starts again with each month: nothing beats its repetition surely."""
    chance = random.Random(3)
    return [
        {"ds": f"2025-{m:02d}-{d:02d}", "y": round(50 + 10 * (d % 7) + chance.gauss(0, 8), 3)}
        for m in range(1, 7)
        for d in range(1, 29)
    ]
