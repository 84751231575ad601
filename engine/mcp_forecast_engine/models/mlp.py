"""Linear skip and small networks: what is linear in closed form, what bends by a few seeds of a perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.network_fit import fit_network
from mcp_forecast_engine.models.network_path import Layers, NetworkPath
from mcp_forecast_engine.models.network_settings import chosen, settings_for
from mcp_forecast_engine.models.network_training import TrainingSettings, train
from mcp_forecast_engine.models.network_windows import Lessons
from mcp_forecast_engine.models.spec import ForecastSpec

Singles = NDArray[np.float32]
Integers = NDArray[np.int64]


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
    return fit_network(Mlp.family, panel, spec, settings, _train, phases=phases, until=until)


def _train(lessons: Lessons, start: tuple[Singles, Singles], training: TrainingSettings, spec: ForecastSpec) -> Layers:
    return train(lessons.rows, lessons.z, lessons.weight, start, training)
