from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_forecast_engine.evaluation.intervals import conformal_offsets
from mcp_forecast_engine.evaluation.metrics import DECILES, Scored, all_metrics, coverage, coverage_by_step
from mcp_forecast_engine.models.spec import QUANTILES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandas as pd
    from utilsforecast import losses

SEASON, HORIZON, SERIES = 4, 5, 6


@pytest.fixture(scope="module")
def scored() -> Scored:
    draw = np.random.default_rng(7)
    y = draw.gamma(2.0, 10.0, size=(SERIES, HORIZON))
    quantiles = np.sort(draw.gamma(2.0, 10.0, size=(SERIES, HORIZON, len(QUANTILES))), axis=2)
    return Scored(
        series=np.arange(SERIES),
        window=np.zeros(SERIES, np.int64),
        y=y,
        observed=np.ones(y.shape, bool),
        quantiles=quantiles,
        scale=np.abs(_train()[:, SEASON:] - _train()[:, :-SEASON]).mean(axis=1),
        season_length=SEASON,
    )


def _train() -> np.ndarray:
    return np.random.default_rng(8).gamma(2.0, 10.0, size=(SERIES, 30))


def _frames(scored: Scored) -> tuple[pd.DataFrame, pd.DataFrame]:
    ids = np.repeat(np.arange(SERIES), HORIZON)
    frame = pd.DataFrame({"unique_id": ids, "ds": np.tile(np.arange(HORIZON), SERIES), "y": scored.y.ravel()})
    frame["m"] = scored.median.ravel()
    for k, level in enumerate(QUANTILES):
        frame[f"q{level}"] = scored.quantiles[:, :, k].ravel()
    frame["m-lo-80"], frame["m-hi-80"] = frame["q0.1"], frame["q0.9"]
    train = pd.DataFrame({"unique_id": np.repeat(np.arange(SERIES), 30), "y": _train().ravel()})
    return frame, train


def test_every_metric_equals_the_public_library(scored: Scored) -> None:
    frame, train = _frames(scored)
    ours = {metric.name: metric.value for metric in all_metrics(scored)}
    deciles = {"m": [f"q{level}" for level in DECILES]}
    every = {"m": [f"q{level}" for level in QUANTILES]}
    theirs = {
        "MASE": losses.mase(frame, ["m"], SEASON, train)["m"].mean(),
        "MAE": losses.mae(frame, ["m"])["m"].mean(),
        "RMSE": np.sqrt(losses.mse(frame, ["m"])["m"].mean()),
        "sMAPE": 200 * losses.smape(frame, ["m"])["m"].mean(),
        "coverage_80": losses.coverage(frame, ["m"], 80)["m"].mean(),
        "WQL": 2 * losses.mqloss(frame, deciles, np.array(DECILES))["m"].sum() * HORIZON / np.abs(scored.y).sum(),
        "pinball": losses.mqloss(frame, every, np.array(QUANTILES))["m"].mean(),
    }
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=1e-9), name


def test_filled_steps_are_not_scored(scored: Scored) -> None:
    observed = scored.observed.copy()
    observed[:, 2] = False
    wild = scored.y.copy()
    wild[:, 2] = 1e9
    first, second = (
        Scored(scored.series, scored.window, y, observed, scored.quantiles, scored.scale, SEASON)
        for y in (scored.y, wild)
    )
    assert [m.value for m in all_metrics(first)] == [m.value for m in all_metrics(second)]
    assert np.isnan(coverage_by_step(first, 0.1, 0.9)[2])


def test_an_undefined_number_is_null_in_json_and_keeps_its_definition(scored: Scored) -> None:
    flat = Scored(scored.series, scored.window, scored.y, scored.observed, scored.quantiles, np.zeros(SERIES), SEASON)
    metric = all_metrics(flat)[0].to_dict()
    assert metric["value"] is None
    assert "y[t - 4]" in metric["definition"]


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 80), horizon=st.integers(1, 12), seed=st.integers(0, 9), gaps=st.booleans())
def test_offsets_never_cross_and_stay_among_the_residuals(n: int, horizon: int, seed: int, gaps: bool) -> None:
    draw = np.random.default_rng(seed)
    residuals = draw.standard_t(2, size=(n, horizon))
    if gaps:
        residuals[draw.random(residuals.shape) < 0.3] = np.nan
    offsets = conformal_offsets(residuals)
    assert (np.diff(offsets, axis=1) >= 0).all()
    if np.isfinite(residuals).any():
        assert np.isin(offsets, residuals[np.isfinite(residuals)]).all()
    else:
        assert (offsets == 0).all()


def test_split_conformal_covers_as_often_as_it_says() -> None:
    draw = np.random.default_rng(5)
    past, new = draw.standard_t(3, size=(400, 4)), draw.standard_t(3, size=(20_000, 4))
    quantiles = np.broadcast_to(conformal_offsets(past), (len(new), 4, len(QUANTILES)))
    rows = np.arange(len(new))
    scored = Scored(rows, rows, new, np.ones(new.shape, bool), quantiles, np.ones(len(new)), 1)
    assert coverage(scored, 0.1, 0.9).value == pytest.approx(0.8, abs=0.03)
    assert coverage(scored, 0.025, 0.975).value == pytest.approx(0.95, abs=0.02)
