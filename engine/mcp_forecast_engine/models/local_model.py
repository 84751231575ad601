"""Theta, CES and ETS as families: fitted anew inside every window, so that a fit keeps nothing but a few settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.array_tensor import ArrayTensor, array
from mcp_forecast_engine.models.ces import ces_path
from mcp_forecast_engine.models.ets import ets_path
from mcp_forecast_engine.models.features import Inputs, Layout, layout_for
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.graph_scan import graph_tensor, written
from mcp_forecast_engine.models.local_window import LocalWindow, local_window
from mcp_forecast_engine.models.season_totals import drawn
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.tensor import Tensor
from mcp_forecast_engine.models.theta import theta_path
from mcp_forecast_engine.models.validation import validation_windows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Path = Callable[[LocalWindow, int, Settings], Tensor]

# Older seasons say little about the next one, and every step costs a round of the walk.
MOST_SEASONS = 25
MOST_STEPS = 720
FEWEST_STEPS = 200
# Windows computed at a time: their candidates' states stay in the processor's cache.
_ROWS = 64

# A quarter of the way: half the way helped each model alone a little more, but not the three together.
_PULL = 0.25

PATHS: Mapping[str, Path] = MappingProxyType(
    {
        "theta": lambda window, h, settings: theta_path(window, h, memory=settings["memory"]),
        "ces": lambda window, h, settings: ces_path(window, h),
        "ets": lambda window, h, settings: ets_path(window, h, scale=settings["scale"], memory=settings["memory"]),
    }
)


@dataclass(frozen=True)
class LocalModel:
    """A rule that fits itself to the genuine part of each window. settings: plain values that `PATHS[family]` reads.

    layout.lookback is a whole number of seasons.
    """

    family: str
    layout: Layout
    settings: Settings

    def point(self, inputs: Inputs) -> Floats:
        """The forecast in the series' units, (B, horizon); a window's answer depends on that window alone."""
        out = np.empty((len(inputs), self.layout.horizon))
        order = np.argsort(inputs.known, kind="stable")
        for start in range(0, len(order), _ROWS):
            rows = order[start : start + _ROWS]
            out[rows] = self._answered(inputs.target[rows], inputs.known[rows])
        return out

    def write(self, graph: Graph, ports: Ports) -> str:
        """The nodes of `point`: the same function, read as a graph."""
        target = graph_tensor(graph, graph.cast(ports.target, TensorProto.DOUBLE))
        count = graph.node("Unsqueeze", ports.known, graph.constant([1], np.int64))
        known = replace(target, name=graph.cast(count, TensorProto.DOUBLE))
        return written(self._path(target, known, self.layout.lookback))

    def _answered(self, target: Floats, known: Integers) -> Floats:
        """Steps that are made up in all of these windows are left out: they would change nothing."""
        m, lookback = max(self.layout.season_length, 1), self.layout.lookback
        length = min(-(-int(known.max(initial=1)) // m) * m, lookback)
        path = self._path(
            ArrayTensor(target[:, lookback - length :]), ArrayTensor(known[:, None].astype(np.float64)), length
        )
        return array(path)

    def _path(self, target: Tensor, known: Tensor, length: int) -> Tensor:
        season = max(self.layout.season_length, 1)
        window = local_window(target, known, length=length, season=season)
        rule = PATHS[self.family]
        path = drawn(lambda w, h: rule(w, h, self.settings), window, self.layout.horizon, self.settings["pull"])
        return window.back(path)


def local_lookback(season_length: int, longest: int) -> int:
    """How many steps a window holds: the longest history, but at most 25 seasons (200 steps, if that is more) or 720.

    A whole number of seasons, at least one.
    """
    m = max(season_length, 1)
    most = min(max(MOST_SEASONS * m, FEWEST_STEPS), MOST_STEPS) // m
    return max(min(-(-longest // m), most), 1) * m


class LocalFamily:
    """What the three share: candidates are scored as they are on validation windows, and a fit fixes the lookback."""

    family: ClassVar[str]
    candidates: ClassVar[tuple[Settings, ...]]

    @classmethod
    def tune(cls, panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], asked: Settings) -> Settings:
        """The candidate with the smallest mean absolute error in units of each series' seasonal change."""
        allowed = list({_key(c): c for c in ({**candidate, **asked} for candidate in cls.candidates)}.values())
        if len(allowed) == 1 or not origins:
            return dict(allowed[0])
        windows = validation_windows(panel, spec, origins)
        losses = [windows.loss(cls.fit(panel, spec, settings)) for settings in allowed]
        return dict(allowed[int(np.argmin(losses))])

    @classmethod
    def fit(cls, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None = None) -> LocalModel:
        """Nothing is learned; the lookback holds the longest series."""
        longest = int(panel.lengths.max(initial=1))
        plain = ForecastSpec(
            horizon=spec.horizon,
            season_length=spec.season_length,
            lookback=local_lookback(spec.season_length, longest),
            nonnegative=spec.nonnegative,
        )
        return LocalModel(cls.family, layout_for(plain, panel.axis), dict(settings))


class Theta(LocalFamily):
    """Dynamic optimised Theta.

    Settings: memory, the weight of a season against the next when the profile is taken; pull, how far the means of
    whole seasons go towards a forecast of those means.
    """

    family: ClassVar[str] = "theta"
    candidates: ClassVar[tuple[Settings, ...]] = (
        {"memory": 0.8, "pull": _PULL},
        {"memory": 0.8, "pull": 0.0},
        {"memory": 1.0, "pull": _PULL},
        {"memory": 1.0, "pull": 0.0},
    )


class Ces(LocalFamily):
    """Complex exponential smoothing, seasonal where there is a season. Settings: pull, as for Theta."""

    family: ClassVar[str] = "ces"
    candidates: ClassVar[tuple[Settings, ...]] = ({"pull": _PULL}, {"pull": 0.0})


class Ets(LocalFamily):
    """Exponential smoothing, averaged over kinds.

    Settings: scale, "raw" or "log"; memory of the profile it starts from; pull, as for Theta.
    """

    family: ClassVar[str] = "ets"
    candidates: ClassVar[tuple[Settings, ...]] = (
        {"scale": "raw", "memory": 0.8, "pull": _PULL},
        {"scale": "raw", "memory": 0.8, "pull": 0.0},
        {"scale": "log", "memory": 0.8, "pull": _PULL},
    )


def _key(settings: Settings) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(settings.items()))
