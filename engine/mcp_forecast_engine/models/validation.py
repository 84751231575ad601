"""The windows that a model's settings are chosen on: what they turned out to be, and how errors there are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.features import inputs_at, phase_of
from mcp_forecast_engine.models.forecaster import FittedModel
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.windows import learnt, usual_change

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ValidationWindows:
    """n windows of a panel that lie before its test part.

    series, origin, phase: int64 (n). until: int64 (S), steps of each series before its first window, which is what a
    trial fit may see. y, weight: (n, horizon), the truth, and one over the series' usual change; steps that were not
    observed weigh 0.
    """

    panel: Panel
    series: Integers
    origin: Integers
    phase: Integers
    until: Integers
    y: Floats
    weight: Floats

    def loss(self, model: FittedModel) -> float:
        """Mean absolute error over the observed steps in units of each series' usual change, as evaluations score."""
        found = model.point(inputs_at(self.panel, model.layout, self.series, self.origin))
        error = np.abs(found - self.y) * self.weight
        return float(error.sum() / max(int((self.weight > 0).sum()), 1))


def validation_windows(
    panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], *, most: int | None = None
) -> ValidationWindows:
    """The windows at `origins`, each int64 (S) with -1 for series that take no part; thinned evenly to about `most`."""
    table, m = np.stack(origins), spec.season
    until = learnt(panel, origins)
    window, series = np.nonzero(table >= 0)
    kept = slice(None, None, 1 if most is None else -(-len(window) // most) or 1)
    window, series = window[kept], series[kept].astype(np.int64)
    origin = table[window, series]
    place = (panel.offsets[series] + origin)[:, None] + np.arange(spec.horizon)
    return ValidationWindows(
        panel=panel,
        series=series,
        origin=origin,
        phase=phase_of(panel.ds[place[:, 0]], panel.axis, m),
        until=until,
        y=panel.y[place],
        weight=panel.observed[place] / usual_change(panel, m, until)[series][:, None],
    )
