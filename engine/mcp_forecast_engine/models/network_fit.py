"""Fitting a network: windows, units and regressors, a ridge to start from, then what the family adds to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.features import layout_for
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.network_path import Body, NetworkPath
from mcp_forecast_engine.models.network_rows import rows_for
from mcp_forecast_engine.models.network_settings import training_of
from mcp_forecast_engine.models.network_training import TrainingSettings
from mcp_forecast_engine.models.network_units import units_for
from mcp_forecast_engine.models.network_windows import Lessons, lessons_of
from mcp_forecast_engine.models.regression import one_thread
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.windows import TrainingWindows, before, no_window, training_windows

Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
# Lessons, the ridge's weights (p, h) and bias (h), how long to train, the question → the trained layers.
Train = Callable[[Lessons, tuple[Singles, Singles], TrainingSettings, ForecastSpec], Body]

_CHUNK = 4_096


def fit_network(
    family: str,
    panel: Panel,
    spec: ForecastSpec,
    settings: Settings,
    train: Train,
    *,
    phases: Integers | None,
    until: Integers,
) -> NetworkPath:
    """Fit on windows that end before `until` (S), at the phases asked for; HistoryTooShort where no window fits."""
    spec = replace(spec, lookback=settings["lookback"])
    units = units_for(panel, settings, lookback=spec.lookback, until=until)
    layout = layout_for(spec, panel.axis)
    if units.scale == "raw":  # constants are those of the series trained on: another one has units of its own
        layout = replace(layout, series=panel.unique_id)
    rows = rows_for(before(panel, until), layout)
    windows = network_windows(panel, spec, settings, phases=phases, until=until)
    lessons = lessons_of(panel, windows, layout, units, rows, weigh=settings["weigh"])
    training = training_of(settings, len(lessons.rows), phases_of(windows, settings))
    layers = train(lessons, linear_start(lessons, settings["penalty"]), training, spec)
    return NetworkPath(
        family, layout, units, rows, lessons.standard, layers, low=lessons.low, high=lessons.high,
        reach=lessons.reach, phases=covered(windows, settings, layout.season_length),
    )  # fmt: skip


def network_windows(
    panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None, until: Integers
) -> TrainingWindows:
    """The windows to learn from: at the phases asked for where they are aligned; raises HistoryTooShort without one."""
    aligned = settings["origins"] == "aligned"
    windows = training_windows(panel, spec, until=until, by_season=aligned)
    if aligned and phases is not None:
        windows = windows.where(np.isin(windows.phase, phases))
    every = -(-len(windows) // settings.get("most", len(windows) or 1))
    windows = windows.where(np.arange(len(windows)) % max(every, 1) == 0)
    if not len(windows):
        raise no_window(spec, until)
    return windows


def covered(windows: TrainingWindows, settings: Settings, season_length: int) -> tuple[int, ...]:
    """The phases that a fit learned where it did not learn all of them; () for all."""
    found = np.unique(windows.phase)
    return tuple(int(p) for p in found) if settings["origins"] == "aligned" and len(found) < season_length else ()


def phases_of(windows: TrainingWindows, settings: Settings) -> int:
    """How many phases a fit is for: aligned windows of several want more training, all origins have theirs."""
    return len(np.unique(windows.phase)) if settings["origins"] == "aligned" else 1


def linear_start(lessons: Lessons, penalty: float) -> tuple[Singles, Singles]:
    """Ridge weights (p, h) and bias (h) in closed form; penalty: in units of a standardised column's mean square."""
    count, size = lessons.rows.shape
    middle, level = (a.mean(axis=0, dtype=np.float64) for a in (lessons.rows, lessons.z))
    gram, cross = np.zeros((size, size)), np.zeros((size, len(level)))
    with one_thread():
        for start in range(0, count, _CHUNK):
            x = lessons.rows[start : start + _CHUNK] - middle
            gram += x.T @ x
            cross += x.T @ (lessons.z[start : start + _CHUNK] - level)
        weights = np.linalg.solve(gram / count + penalty * np.eye(size), cross / count)
    return weights.astype(np.float32), (level - middle @ weights).astype(np.float32)
