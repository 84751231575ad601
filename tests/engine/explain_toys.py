"""A panel with a driver, the model of it, and futures it did not have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from forecast_toys import hourly

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.models.features import tail_inputs
from mcp_forecast_engine.models.spec import MEDIAN, QUANTILES, spec_for
from mcp_forecast_engine.models.table import MODELS
from mcp_forecast_engine.serving.explain import Explanation
from mcp_forecast_engine.serving.session import ModelSession, load_model
from mcp_forecast_engine.serving.usual import usual_inputs

BIKES = Path(__file__).parents[2] / "examples" / "data" / "bike_sharing_hourly.csv.gz"
ROLES = ("known_future", "historical", "static")


def at_the_end(panel: Panel, horizon: int) -> Panel:
    """The panel without its last steps, whose covariates are known ahead."""
    return window_at(panel, panel.lengths - horizon, horizon).history


def session_of(panel: Panel, horizon: int, *, windows: int = 0) -> ModelSession:
    """A ridge, tuned on the last windows of the panel, as it is served."""
    spec, ridge = spec_for(panel, horizon, roles=ROLES), MODELS["direct_ridge"]
    origins = [panel.lengths - horizon * (back + 1) for back in reversed(range(windows))]
    path = ridge.fit(panel, spec, ridge.tune(panel, spec, origins, {}))
    offsets = np.tile(np.linspace(-1, 1, len(QUANTILES)), (horizon, 1))
    model = CalibratedModel(path, Calibration(offsets, Unit("identity", "level"), None))
    return load_model(export_onnx(model, contract_of(model, panel)))


def ahead(panel: Panel, name: str, values: float | np.ndarray) -> Panel:
    """The panel with other values of a covariate over the horizon."""
    return replace(panel, future={**panel.future, name: np.broadcast_to(values, panel.future[name].shape)})


def contribution(found: Explanation, name: str) -> np.ndarray:
    return found.contributions[:, :, [group.name for group in found.groups].index(name)]


def median_with(session: ModelSession, panel: Panel, real: frozenset[str]) -> np.ndarray:
    """The median where only these groups are as they are, made by hand: the mean over the usual histories."""
    layout = session.contract.layout
    here, found = tail_inputs(panel, layout), []
    for usual in usual_inputs(panel, layout, here):
        hist, ahead = usual.cov_hist.copy(), usual.cov_future.copy()
        for name in real & {*layout.historical} | ({*layout.known_future} if "recent history" in real else set()):
            hist[:, :, layout.cov_hist.index(name)] = here.cov_hist[:, :, layout.cov_hist.index(name)]
        for name in real & {*layout.known_future}:
            ahead[:, :, layout.known_future.index(name)] = here.cov_future[:, :, layout.known_future.index(name)]
        mixed = replace(
            usual, cov_hist=hist, cov_future=ahead,
            target=(here if "recent history" in real else usual).target,
            calendar=(here if "calendar" in real else usual).calendar,
        )  # fmt: skip
        found.append(session.run(mixed)[:, :, MEDIAN])
    return np.asarray(np.mean(found, axis=0))


def driven_panel() -> Panel:
    """A day profile, and a driver drawn anew each hour that moves the target by four per unit."""
    whole, draw = hourly(70, effect=0.0), np.random.default_rng(5)
    driver = draw.uniform(-3, 3, size=len(whole.y))
    return at_the_end(replace(whole, y=whole.y + 4 * driver, covariates={**whole.covariates, "driver": driver}), 24)
