"""A column that is known ahead by name only is demoted by name; one that only looks so within a day stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from forecast_toys import panel_of

from mcp_forecast_engine.data.demotion import demoted
from mcp_forecast_engine.data.frame import Panel

HOURS = 24 * 60
CHANCE = np.random.default_rng(2)


def origins(panel: Panel, windows: int = 14) -> list[np.ndarray]:
    return [panel.lengths - 24 * back for back in range(windows, 0, -1)]


def panel(series: int = 1, **known: np.ndarray) -> Panel:
    y = [CHANCE.gamma(3, 10, HOURS) for _ in range(series)]
    return panel_of(y, season_length=24, known_future={name: [values] * series for name, values in known.items()})


def test_a_working_day_flag_is_constant_within_each_day_and_stays() -> None:
    workday = (np.arange(HOURS) // 24 % 7 < 5).astype(float)
    made = panel(workday=workday, load=CHANCE.normal(size=HOURS))
    roles, warnings = demoted(made, origins(made), 24)
    assert roles == dict(made.roles)
    assert warnings == ()


def test_a_column_frozen_over_every_horizon_is_historical_and_named() -> None:
    frozen = np.where(np.arange(HOURS) < 24 * 40, CHANCE.normal(size=HOURS), 4.2)
    made = panel(series=3, frozen=frozen, load=CHANCE.normal(size=HOURS))
    roles, warnings = demoted(made, origins(made), 24)
    assert roles == {"frozen": "historical", "load": "known_future"}
    assert len(warnings) == 1
    assert "'frozen' varies in the history but has one value over every horizon" in warnings[0]
    assert demoted(made, origins(made, 30), 24)[1] == ()
    assert demoted(made, origins(made), 24, keep=("frozen",))[1] == ()


def test_a_column_that_never_varies_and_series_that_take_no_part_say_nothing() -> None:
    made = panel(series=2, always=np.ones(HOURS))
    assert demoted(made, origins(made), 24)[1] == ()
    frozen = panel(series=2, frozen=np.where(np.arange(HOURS) < 24 * 40, CHANCE.normal(size=HOURS), 4.2))
    none = [np.full(2, -1)] * 3
    assert demoted(frozen, none, 24)[1] == ()


def test_a_column_absent_over_the_future_that_others_have_is_historical() -> None:
    made = panel(plan=CHANCE.normal(size=HOURS), heat=CHANCE.normal(size=HOURS))
    given = replace(made, future={"plan": np.ones((1, 24)), "heat": np.zeros((1, 0))})
    roles, warnings = demoted(given, origins(given), 24)
    assert roles["heat"] == "historical"
    assert "'heat' is absent over the future that is given for 'plan'" in warnings[0]
    assert demoted(made, origins(made), 24)[1] == ()


def test_a_lag_of_the_target_is_known_for_a_horizon_up_to_the_lag_only() -> None:
    made = panel(spare=CHANCE.normal(size=HOURS))
    lag = np.concatenate([np.zeros(24), made.y[:-24]])
    lagged = replace(made, covariates={**made.covariates, "week": lag}, roles={**made.roles, "week": "known_future"})
    assert demoted(lagged, origins(lagged), 24)[1] == ()
    roles, warnings = demoted(lagged, origins(lagged)[:-1], 48)
    assert roles["week"] == "historical"
    assert "'week' repeats the target of 24 steps ago, which is not known 48 steps ahead" in warnings[0]
