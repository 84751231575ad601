"""Linear skip and small networks: what is linear in closed form, what bends by a few seeds of a perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.models.features import layout_for
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.network_path import NetworkPath
from mcp_forecast_engine.models.network_rows import rows_for
from mcp_forecast_engine.models.network_settings import chosen, recipe_of, settings_for
from mcp_forecast_engine.models.network_training import train
from mcp_forecast_engine.models.network_units import units_for
from mcp_forecast_engine.models.network_windows import Lessons, lessons_of
from mcp_forecast_engine.models.regression import one_thread
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.windows import TrainingWindows, training_windows

Singles = NDArray[np.float32]
Integers = NDArray[np.int64]

_CHUNK = 4_096


class Mlp:
    """Networks that learn what a ridge leaves over, each window in its own units; needs torch to fit, numpy to answer.

    Settings: see `settings_for`. The ridge is the start of the linear skip, which carries the level beyond what
    training saw; several seeds are trained side by side and averaged.
    """

    family: ClassVar[str] = "mlp"

    @classmethod
    def tune(cls, panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], asked: Settings) -> Settings:
        """All settings by rule or as asked; where several are possible (bend, lookback) short fits choose."""
        return chosen(panel, spec, origins, settings_for(panel, spec, asked), _fit)

    @classmethod
    def fit(
        cls, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None = None
    ) -> NetworkPath:
        """Fit on the whole panel; what settings leave open follows the rule. HistoryTooShort where no window fits."""
        known = chosen(panel, spec, [], settings_for(panel, spec, settings), _fit)
        return _fit(panel, spec, known, phases=phases, until=panel.lengths)


def _fit(
    panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None, until: Integers
) -> NetworkPath:
    spec = replace(spec, lookback=settings["lookback"])
    layout, rows = layout_for(spec, panel.axis), rows_for(panel, layout_for(spec, panel.axis))
    windows = network_windows(panel, spec, settings, phases=phases, until=until)
    units = units_for(panel, settings, lookback=spec.lookback, until=until)
    lessons = lessons_of(panel, windows, layout, units, rows, weigh=settings["weigh"])
    recipe = recipe_of(settings, len(lessons.rows), phases_of(windows, settings))
    layers = train(lessons.rows, lessons.z, lessons.weight, linear_start(lessons, settings["penalty"]), recipe)
    return NetworkPath(
        Mlp.family, layout, units, rows, lessons.standard, layers, low=lessons.low, high=lessons.high,
        phases=covered(windows, settings, layout.season_length),
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
        raise HistoryTooShort(
            "no training window fits into the history; lookback and horizon are too long for it",
            field="horizon",
            next_step="send more rows, or shorten the horizon",
        )
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
