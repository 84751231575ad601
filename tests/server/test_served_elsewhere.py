"""A forecast from another place in the season than the tested ones says so; one from a tested place does not."""

from __future__ import annotations

import math
import random
from datetime import date, timedelta
from typing import Any

from conftest import Desk

DAYS, HORIZON = 300, 3


def rows(days: int) -> list[dict[str, Any]]:
    """Daily values with a weekly season: tested each week on the day on which the data end."""
    chance = random.Random(3)
    made = [round(50 + 9 * math.sin(2 * math.pi * day / 7) + chance.gauss(0, 1), 6) for day in range(days)]
    return [{"ds": (date(2023, 1, 1) + timedelta(days=day)).isoformat(), "y": y} for day, y in enumerate(made)]


def test_a_forecast_from_an_untested_place_in_the_season_says_so(desk: Desk) -> None:
    def registered(days: int) -> str:
        return str(desk.call("register_dataset", {"rows": rows(days)})["result"]["dataset_id"])

    home = registered(DAYS)
    run = desk.call("run_training", {"dataset_id": home, "horizon": HORIZON})["result"]["run_id"]
    desk.finish(run)

    def told(dataset: str) -> list[str]:
        answer = desk.call("run_inference", {"run_id": run, "dataset_id": dataset, "wait_s": 25})
        return [warning for warning in answer["result"]["result"]["warnings"] if "start at place" in warning]

    assert told(home) == []
    assert told(registered(DAYS + 7)) == []
    (warning,) = told(registered(DAYS + 1))
    assert "intervals were measured on forecasts from" in warning
