"""Small honest runs for the tests of leakage guards: raw rows, the steps that make a panel, and how it is tested."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from forecast_toys import REFERENCES_ONLY, hourly, panel_of
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Frame, Panel, TimeAxis
from mcp_forecast_engine.data.steps import (
    DEFAULT_STEPS,
    Outliers,
    Resample,
    Step,
    step_to_dict,
)
from mcp_forecast_engine.evaluation.backtest import backtest
from mcp_forecast_engine.evaluation.budget import BUDGETS, Budget
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.factory.governance import Replay
from mcp_forecast_engine.factory.inputs import shaped
from mcp_forecast_engine.factory.leakage import Checked, check_evaluation
from mcp_forecast_engine.factory.leakage_blind import source_of
from mcp_forecast_engine.store.identity import canonical_bytes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """Raw rows, the steps that make a panel of them, and how it is backtested."""

    frame: Frame
    steps: tuple[Step, ...] = DEFAULT_STEPS
    season: int = 24
    horizon: int = 24
    budget: Budget = REFERENCES_ONLY
    refits: int | None = None
    depth: Replay = "fits"

    @property
    def plan(self) -> dict[str, Any]:
        """What a run's plan says of the panel."""
        steps = [step_to_dict(step) for step in self.steps]
        return {"covariates": sorted(self.frame.covariates), "preprocessing": steps, "season_length": self.season}

    def panel(self) -> Panel:
        return shaped(self.frame, self.plan)[0]

    def checked(self) -> Checked:
        """The real corridor: rows → panel → backtest → stored documents → guards."""
        panel = self.panel()
        plan = replace(plan_for(panel, self.horizon), refits=self.refits)
        made = backtest(panel, plan, self.budget)
        document = json.loads(canonical_bytes(made.report.to_dict()))
        return check_evaluation(
            source_of(self.frame, self.plan, panel), panel, document, made.predictions(panel),
            budget=self.budget, depth=self.depth, seed=5,
        )  # fmt: skip


def rows_of(panel: Panel) -> Frame:
    return Frame(
        panel.unique_id, panel.offsets, panel.ds, panel.y.copy(), panel.covariates, panel.roles, panel.categories,
        panel.axis,
    )  # fmt: skip


def months() -> Frame:
    draw = np.random.default_rng(6)
    step = np.arange(72)
    made = [
        50 + i + draw.normal() * 0.3 * step + 9 * np.sin(2 * np.pi * step / 12) + draw.normal(size=72) for i in range(6)
    ]
    return rows_of(panel_of(made, season_length=12, freq="1"))


def drawn(frame: Frame, rows: Integers) -> Frame:
    """These rows of a frame, in order."""
    return replace(
        frame,
        offsets=np.searchsorted(rows, frame.offsets).astype(np.int64),
        ds=frame.ds[rows],
        y=frame.y[rows],
        covariates={name: values[rows] for name, values in frame.covariates.items()},
    )


def gaps() -> Frame:
    """Hours of which every seventh day lacks an afternoon, without rows."""
    frame = rows_of(hourly(40))
    hour = np.arange(len(frame.y))
    return drawn(frame, np.flatnonzero((hour // 24 % 7 != 5) | (hour % 24 <= 14)))


def first_test_origin(panel: Panel) -> Integers:
    plan = plan_for(panel, 24)
    return panel.lengths - plan.back(plan.validation_windows)


def history_matters() -> Frame:
    """Hours in which a historical column drives the target without a lag, so that its future would be worth much."""
    panel = hourly(24, effect=0.0)
    return rows_of(replace(panel, y=panel.y + 10 * panel.covariates["past"]))


def driver_turns() -> Frame:
    """Hours whose driver means the opposite from the first test step on: there, reading it does harm."""
    frame = rows_of(hourly(24))
    test = np.arange(len(frame.y)) >= first_test_origin(Case(frame).panel())[0]
    return replace(frame, y=frame.y - np.where(test, 8.0, 0.0) * frame.covariates["driver"])


def stores() -> Frame:
    """Days of 24 stores that open and close apart, rows twice and rows absent, columns of every kind with holes."""
    draw = np.random.default_rng(9)
    lengths = draw.integers(150, 200, size=24)
    opened = draw.integers(0, 25, size=24)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    day = np.concatenate([start + np.arange(n) for start, n in zip(opened, lengths, strict=True)])
    rows = int(lengths.sum())
    promo = (draw.random(rows) < 0.2).astype(float)
    stock = np.where(draw.random(rows) < 0.1, np.nan, draw.gamma(2.0, 5.0, size=rows))
    stock[offsets[3] : offsets[3] + 170] = np.nan  # first told behind the first test step
    y = 20 + 6 * (day % 7 == 5) + 5 * promo + draw.normal(size=rows)
    y[draw.random(rows) < 0.01] = 400.0
    frame = Frame(
        tuple(f"s{i:02d}" for i in range(24)), offsets, 1_325_376_000 + 86_400 * day, y,
        {"promo": promo, "stock": stock, "mood": draw.integers(0, 3, size=rows).astype(float),
         "town": np.repeat(np.arange(24) % 4, lengths).astype(float)},
        {"promo": "known_future", "stock": "historical", "mood": "historical", "town": "static"},
        {"mood": ("bad", "fair", "good"), "town": ("a", "b", "c", "d")}, TimeAxis("calendar", "D"),
    )  # fmt: skip
    copies = np.where(draw.random(rows) < 0.03, 2, 1)
    copies[draw.random(rows) < 0.03] = 0
    copies[np.concatenate([offsets[:-1], offsets[1:] - 1])] = 1
    return drawn(frame, np.repeat(np.arange(rows), copies))


STORES = Case(stores(), steps=(*DEFAULT_STEPS, Outliers(threshold=8.0, action="clip")), season=7, horizon=7)
DAYS = Case(
    gaps(), steps=(*DEFAULT_STEPS, Resample("D", target="sum")), season=1, horizon=2, refits=1
)  # the short steps are filled before: no day lacks its sum


HOURS = Case(rows_of(hourly(24)), refits=2)
RENEWED = replace(HOURS, refits=None)
CHOICE = replace(HOURS, depth="choice")
MONTHS = Case(months(), season=12, horizon=6, budget=BUDGETS["small"], refits=1)
GAPS = Case(gaps(), refits=1)
