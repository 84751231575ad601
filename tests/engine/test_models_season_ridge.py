"""The ridge from season to season, and solvers whose constants know no drift."""

from __future__ import annotations

import numpy as np
import pytest

from mcp_forecast_engine.models.regression import Driftless, Moments, Ridge
from mcp_forecast_engine.models.season_ridge import SeasonRidge


def moments_of(rows: np.ndarray, targets: np.ndarray) -> Moments:
    found = Moments.empty(rows.shape[1], targets.shape[1])
    found.add(rows, targets)
    return found


@pytest.mark.parametrize("horizon", [12, 10, 3])
def test_what_repeats_from_season_to_season_is_found_with_a_weight_for_each_season_alone(horizon: int) -> None:
    season, seasons = 4, 5
    rows = np.random.default_rng(3).normal(size=(400, 2 + season * seasons + 3))
    lags = rows[:, 2:-3].reshape(400, seasons, season)
    ahead = 0.7 * lags[:, -1] - 0.2 * lags[:, -3] + 0.4 * lags[:, -2].mean(axis=1, keepdims=True)
    targets = np.tile(ahead, 3)[:, :horizon]
    weights, bias = SeasonRidge(moments_of(rows, targets), lags=2 + season * seasons, season=season).solve(1e-9)
    # Places of a season are unlike by chance only, which few windows show.
    assert np.abs(rows @ weights + bias - targets).mean() < 0.1
    assert not weights[:2].any(), "lags of an incomplete season"
    assert not weights[-3:].any(), "columns that are no lags"


def test_a_solver_without_drift_keeps_the_weights_and_says_nothing_where_all_lags_stand_still() -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(200, 6))
    targets = rows[:, :2] + 3.0
    solver = Ridge(moments_of(rows, targets))
    weights, bias = Driftless(solver, lags=6).solve(0.1)
    np.testing.assert_array_equal(weights, solver.solve(0.1)[0])
    assert solver.solve(0.1)[1].mean() > 2.5
    assert not bias.any()
