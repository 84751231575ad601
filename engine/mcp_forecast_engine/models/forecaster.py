"""What every model family can do: choose settings before a cutoff, fit on a history, answer, and be written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.features import Inputs, Layout
from mcp_forecast_engine.models.spec import ForecastSpec

if TYPE_CHECKING:  # what serves answers through onnxruntime and never builds a graph
    from mcp_forecast_engine.models.graph import Graph, Ports

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Settings = Mapping[str, Any]


class FittedModel(Protocol):
    """A fitted model as a value of arrays: answers with numpy alone, and writes the same steps as ONNX nodes."""

    @property
    def family(self) -> str:
        """The name under which MODELS lists the family."""
        ...

    @property
    def layout(self) -> Layout:
        """The columns and lengths that it reads."""
        ...

    def point(self, inputs: Inputs) -> Floats:
        """The uncalibrated forecast in the series' units, (B, horizon); inputs as `layout` says."""
        ...

    def write(self, graph: Graph, ports: Ports) -> str:
        """Add the nodes of `point`; ports name the inputs as `layout` says. Returns a double (batch, horizon)."""
        ...


class Family(Protocol):
    """A model family; `MODELS` lists them by name.

    In other units a forecast is the same one: scaling every series by a positive number scales what each family, their
    choice and their mix answer. A shift is followed by seasonal naive, by ridge, networks and trees in units of
    "identity" and "asinh" (but for a window that hardly moves: its usual spread is a part of its size), and by theta,
    ets and ces without a season. Roots, logs and seasonal factors, tried where nothing is negative, follow none; so
    choice and mix follow neither a shift nor a change of sign, and answer differently by a few hundredths of a spread.
    """

    family: ClassVar[str]

    @classmethod
    def tune(cls, panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], asked: Settings) -> Settings:
        """Choose settings on validation windows: `origins` holds, per window, steps of history by series (-1: none).

        asked: settings that a candidate fixes (a variant, a number of seeds, another lookback); the others are chosen.
        Fits only on what lies before the first window, scores on them, and never looks behind the panel's end.
        Returns all settings, plain JSON values: what `fit` needs beside the panel and the specification.
        """
        ...

    @classmethod
    def fit(
        cls, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None = None
    ) -> FittedModel:
        """Fit on the whole panel; `phases` limits the work to origins that will be asked for (default: all).

        Raises HistoryTooShort where no window fits.
        """
        ...


@runtime_checkable
class Recalibrated(Protocol):
    """A family that refits for every window at little cost, by adding what is new and taking away what is too old."""

    @classmethod
    def recalibrate(
        cls, panel: Panel, spec: ForecastSpec, settings: Settings, origins: Sequence[Integers]
    ) -> Iterator[FittedModel]:
        """One fitted model per window (ascending origins, as in `tune`), each from what lies before its origin."""
        ...


@runtime_checkable
class Phased(Protocol):
    """A fitted model that may know some phases of the season only."""

    @property
    def phases(self) -> tuple[int, ...]:
        """Phases of the first forecast step that it learned, () for all."""
        ...


def phases_of(model: FittedModel) -> tuple[int, ...]:
    """The phases of the first forecast step that a model learned, () for all."""
    return model.phases if isinstance(model, Phased) else ()
