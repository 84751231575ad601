"""What every model family can do: choose its settings before a cutoff, fit on a history, and be a linear path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.design import Design
from mcp_forecast_engine.models.features import Inputs, Layout
from mcp_forecast_engine.models.scaling import LocalScale, Transform, local_scale
from mcp_forecast_engine.models.spec import ForecastSpec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class FittedPath:
    """A fitted model: z = clip(rows @ weights[slot] + bias[slot]), in each window's own units.

    weights: (P, p, horizon), bias: (P, horizon). slot: int64 (m), which of the P sets a phase uses; -1: not fitted.
    low, high: (horizon), the range of z seen in training and a margin around it; no extrapolation beyond.
    """

    family: str
    spec: ForecastSpec
    settings: Settings
    layout: Layout
    design: Design
    transform: Transform
    weights: Floats
    bias: Floats
    slot: Integers
    low: Floats
    high: Floats

    def scale(self, inputs: Inputs) -> LocalScale:
        """The units of each window."""
        return local_scale(inputs.target, self.transform)

    def centre(self, inputs: Inputs) -> Floats:
        """The forecast in each window's units, (B, horizon)."""
        rows = self.design.rows(inputs, self.scale(inputs), self.layout)
        slots = self.slot[inputs.phase]
        if np.any(slots < 0):
            raise ValueError("this fit has no weights for the phase asked for")
        z = np.empty((len(inputs), self.spec.horizon))
        for slot in np.unique(slots):
            of_slot = slots == slot
            z[of_slot] = rows[of_slot] @ self.weights[slot] + self.bias[slot]
        return np.clip(z, self.low, self.high)

    def point(self, inputs: Inputs) -> Floats:
        """The uncalibrated forecast in the series' units, (B, horizon)."""
        path = self.scale(inputs).inverse(self.centre(inputs))
        return np.maximum(path, 0.0) if self.spec.nonnegative else path


class Forecaster(Protocol):
    """A model family; `MODELS` lists them by name."""

    family: ClassVar[str]

    @classmethod
    def tune(cls, panel: Panel, spec: ForecastSpec, origins: Sequence[Integers]) -> Settings:
        """Choose settings on validation windows: `origins` holds, per window, steps of history by series (-1: none).

        Fits only on what lies before the first of them, scores on them, and never looks behind the panel's end.
        """
        ...

    @classmethod
    def fit(cls, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None = None) -> FittedPath:
        """Fit on the whole panel; `phases` limits the work to origins that will be asked for (default: all).

        Raises HistoryTooShort where no window fits.
        """
        ...
