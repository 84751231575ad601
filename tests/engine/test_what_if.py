"""A what-if moves the forecast in the direction the data support."""

from __future__ import annotations

import numpy as np
import pytest
from explain_toys import BIKES, ROLES, ahead, at_the_end, contribution, driven_panel, session_of

from mcp_forecast_engine.data.columns import ColumnRoles, Correction
from mcp_forecast_engine.data.dataset import build_dataset
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.data.reading import read_file
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.models.spec import QUANTILES, spec_for
from mcp_forecast_engine.models.table import MODELS
from mcp_forecast_engine.serving.explain import explain
from mcp_forecast_engine.serving.factors import factors
from mcp_forecast_engine.serving.forecast import forecast
from mcp_forecast_engine.serving.session import load_model


@pytest.fixture(scope="module")
def panel() -> Panel:
    return driven_panel()


# Only the absence of a package leaves a family out: one that cannot fit is a failure.
NEEDS = {"mlp": "torch", "segment_lstm": "torch", "tabular": "lightgbm"}
# Enough to learn the driver from; a network in earnest takes four times as long.
SMALLER: dict[str, dict[str, int]] = {
    "mlp": {"seeds": 1, "visits": 10_000},
    "segment_lstm": {"seeds": 1, "visits": 10_000},
}


@pytest.mark.parametrize("family", [name for name in MODELS if name != "pretrained"])  # it needs files of its own
def test_a_what_if_moves_every_family_that_reads_the_covariate_and_no_other(family: str, panel: Panel) -> None:
    spec, kind = spec_for(panel, 24, roles=ROLES), MODELS[family]
    if family in NEEDS:
        pytest.importorskip(NEEDS[family])
    path = kind.fit(panel, spec, kind.tune(panel, spec, [], SMALLER.get(family, {})))
    offsets = np.tile(np.linspace(-1, 1, len(QUANTILES)), (24, 1))
    model = CalibratedModel(path, Calibration(offsets, Unit("identity", "level"), None))
    session = load_model(export_onnx(model, contract_of(model, panel)))
    low, high = ahead(panel, "driver", -1.5), ahead(panel, "driver", 1.5)
    change = forecast(session, high).median - forecast(session, low).median
    names = [group.name for group in explain(session, high).groups]
    if "driver" not in path.layout.known_future:
        np.testing.assert_array_equal(change, 0)
        assert "driver" not in names
        return
    assert change.min() > 0
    moved = contribution(explain(session, high), "driver") - contribution(explain(session, low), "driver")
    assert moved.mean() == pytest.approx(change.mean(), rel=0.2)


def winter_bikes() -> Panel:
    """Two years of the bike data, to the end of a December; weather and working days known ahead."""
    table = read_file(BIKES.read_bytes(), "csv")
    known = ("temp", "hum", "windspeed", "weathersit", "workingday")
    left_out = tuple(name for name in table.columns if name not in ("ds", "y", *known))
    weather = tuple(Correction(name, role="known_future") for name in known)
    panel, _ = to_panel(
        build_dataset(table, ColumnRoles(time="ds", target="y", covariates=weather, drop=left_out)).frame
    )
    return at_the_end(panel, 24)


def test_warmer_winter_days_mean_more_rentals_and_the_explanation_says_it_is_the_temperature() -> None:
    panel = winter_bikes()
    session = session_of(panel, 24, windows=7)
    usual = panel.future["temp"]
    warm, cold = (ahead(panel, "temp", usual + step) for step in (0.15, -0.1))  # six degrees more, four less
    change = forecast(session, warm).median - forecast(session, cold).median
    assert change.mean() > 5
    assert (change > 0).mean() > 0.8
    found = [contribution(explain(session, one), "temp") for one in (warm, cold)]
    assert (found[0] - found[1]).mean() == pytest.approx(change.mean(), rel=0.2)
    told = factors(explain(session, warm), 0, 24)
    (temperature,) = [one for one in told["factors"] if one["name"] == "temp"]
    assert "raises the forecast" in temperature["told"]
