"""On data with a known effect, explanation and what-if agree, for every family that reads covariates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from explain_toys import ahead, at_the_end, contribution
from forecast_toys import panel_of

from mcp_forecast_engine.data.frame import Panel, TimeAxis
from mcp_forecast_engine.data.frequency import parse_frequency
from mcp_forecast_engine.data.grid import next_stamps
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.models.spec import QUANTILES, spec_for
from mcp_forecast_engine.models.table import MODELS
from mcp_forecast_engine.serving.explain import explain
from mcp_forecast_engine.serving.forecast import forecast
from mcp_forecast_engine.serving.session import ModelSession, load_model

EFFECT = 80.0
HORIZON = 6
# freq, steps per season, steps of history: lookbacks of one season, which cannot tell what is usual of it.
KINDS = {"monthly": ("MS", 12, 120), "weekly": ("W-SUN", 52, 260), "hourly": ("h", 24, 1_200)}
SMALLER: dict[str, dict[str, int]] = {
    "mlp": {"seeds": 1, "visits": 4_000},
    "segment_lstm": {"seeds": 1, "visits": 4_000},
}
SIZES = {"one": 1, "many": 12}


def promoted(kind: str, series: int) -> Panel:
    """A season around 300, noise of 8, and promotions that sell 80 more; none in the last season."""
    freq, m, n = KINDS[kind]
    draw = np.random.default_rng(7)
    promotions = [(draw.random(n) < 0.12).astype(float) for _ in range(series)]
    for promotion in promotions:
        promotion[-m - HORIZON :] = 0
    season = 300 + 60 * np.sin(2 * np.pi * np.arange(n) / m)
    y = [season + EFFECT * promotion + draw.normal(0, 8, n) for promotion in promotions]
    panel = panel_of(y, season_length=m, known_future={"promotion": promotions})
    start = np.array([np.datetime64("2015-01-04" if kind == "weekly" else "2015-01-01", "s").astype(np.int64)])
    ds = np.concatenate([start[:, None], next_stamps(start, n - 1, parse_frequency(freq))], axis=1)[0]
    return at_the_end(replace(panel, axis=TimeAxis("calendar", freq), ds=np.tile(ds, series)), HORIZON)


def trained(family: str, panel: Panel) -> ModelSession:
    kind = MODELS[family]
    spec = replace(spec_for(panel, HORIZON, roles=("known_future",)), lookback=panel.season_length)
    path = kind.fit(panel, spec, kind.tune(panel, spec, [], SMALLER.get(family, {})))
    offsets = np.tile(np.linspace(-1, 1, len(QUANTILES)), (HORIZON, 1))
    model = CalibratedModel(path, Calibration(offsets, Unit("identity", "level"), None))
    return load_model(export_onnx(model, contract_of(model, panel)))


def require_agreement(session: ModelSession, panel: Panel, *, near: float) -> None:
    plan = np.zeros(HORIZON)
    plan[[1, 4]] = 1
    planned, none = ahead(panel, "promotion", plan), ahead(panel, "promotion", 0.0)
    change = forecast(session, planned).median - forecast(session, none).median
    found = explain(session, planned)
    told = contribution(found, "promotion")
    assert np.all(change[:, [1, 4]] > EFFECT / 3)
    np.testing.assert_allclose(told, change, atol=near * EFFECT)
    assert found.base.min() > panel.y.min()
    assert found.base.max() < panel.y.max()


@pytest.mark.parametrize("family", ["direct_ridge", "effects"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_promotion_explains_what_a_what_if_of_it_shows(kind: str, size: str, family: str) -> None:
    panel = promoted(kind, SIZES[size])
    require_agreement(trained(family, panel), panel, near=0.02)


@pytest.mark.parametrize("family", ["mlp", "segment_lstm", "tabular"])
def test_so_it_does_for_the_other_families_that_read_it(family: str) -> None:
    pytest.importorskip("lightgbm" if family == "tabular" else "torch")
    panel = promoted("hourly", 1)
    require_agreement(trained(family, panel), panel, near=0.1)


def test_a_series_at_an_unusual_end_is_explained_in_the_units_it_ends_with() -> None:
    panel = promoted("monthly", 1)
    session = trained("direct_ridge", panel)
    quiet = np.where(np.arange(len(panel.y)) >= len(panel.y) - 12, 20 + 0.05 * panel.y, panel.y)
    ended = replace(panel, y=quiet)
    high, low = ahead(ended, "promotion", 1.0), ahead(ended, "promotion", 0.0)
    change = forecast(session, high).median - forecast(session, low).median
    np.testing.assert_allclose(contribution(explain(session, high), "promotion"), change, atol=1e-3)
    assert explain(session, high).base.min() > 200
