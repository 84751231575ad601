"""Spline basis and an LSTM over season segments beside a linear skip: the lineage of this project, as a family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.network_fit import fit_network
from mcp_forecast_engine.models.network_path import NetworkPath
from mcp_forecast_engine.models.network_segments import SegmentLayers, spline_basis
from mcp_forecast_engine.models.network_settings import chosen, settings_for
from mcp_forecast_engine.models.network_training import Dropout, TrainingSettings, as_array, descend, drawn, zeros
from mcp_forecast_engine.models.network_windows import Lessons
from mcp_forecast_engine.models.spec import ForecastSpec

if TYPE_CHECKING:
    import torch

Singles = NDArray[np.float32]
Integers = NDArray[np.int64]

# An LSTM costs more per unit than a layer does; the knots are those of the spline that the horizon is drawn with.
_RULE = {"hidden": 64, "knots": 8}


class SegmentLstm:
    """An LSTM reads the lookback season by season; needs torch to fit, numpy to answer, one LSTM node in the file.

    Settings: those of the perceptron (`settings_for`), hidden for the LSTM and for the layer after it, and knots: of
    the linear spline over the horizon in which the network answers; the linear skip has every step of its own.
    """

    family: ClassVar[str] = "segment_lstm"

    @classmethod
    def tune(cls, panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], asked: Settings) -> Settings:
        """All settings by rule or as asked; where several are possible (bend, lookback) short fits choose."""
        return chosen(panel, spec, origins, settings_for(panel, spec, {**_RULE, **asked}), _fit)

    @classmethod
    def fit(
        cls, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None = None
    ) -> NetworkPath:
        """Fit on the whole panel; what settings leave open follows the rule. HistoryTooShort where no window fits."""
        known = chosen(panel, spec, [], settings_for(panel, spec, {**_RULE, **settings}), _fit)
        return _fit(panel, spec, known, phases=phases, until=panel.lengths)


def _fit(
    panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None, until: Integers
) -> NetworkPath:
    def train(
        lessons: Lessons, start: tuple[Singles, Singles], training: TrainingSettings, spec: ForecastSpec
    ) -> SegmentLayers:
        segment = min(spec.season_length if spec.season_length > 1 else spec.horizon, spec.lookback)
        return _train(lessons, start, training, lags=spec.lookback, segment=segment, knots=settings["knots"])

    return fit_network(SegmentLstm.family, panel, spec, settings, train, phases=phases, until=until)


def _train(
    lessons: Lessons, start: tuple[Singles, Singles], training: TrainingSettings, *, lags: int, segment: int, knots: int
) -> SegmentLayers:
    """Train from a linear start; the last layer starts at zero, so training begins there."""
    import torch

    draw = torch.Generator().manual_seed(training.seed)
    skip, bias = start
    networks = _Networks(skip.shape, training, draw, rows=len(lessons.rows), lags=lags, segment=segment, knots=knots)
    left = lessons.z - (lessons.rows @ skip + bias)
    descend(networks.rest, networks.groups(training), lessons.rows, left, lessons.weight, training, draw)
    return networks.layers(skip, bias)


class _Networks:
    """What stands beside a linear start (p inputs, h steps) while it is trained: S networks, seed by seed."""

    def __init__(
        self,
        shape: tuple[int, ...],
        training: TrainingSettings,
        draw: torch.Generator,
        *,
        rows: int,
        lags: int,
        segment: int,
        knots: int,
    ) -> None:
        """rows: how many lessons there are; the order of draws is part of a seed's meaning."""
        import torch

        (p, h), size, seeds = shape, training.hidden, training.seeds
        self.shape, self.lags, self.segment, self.size, self.seeds = (p, h), lags, segment, size, seeds
        self.basis = spline_basis(h, min(knots, h))
        self.inward, self.onward = (
            drawn(draw, segment, seeds * 4 * size, fan=segment), drawn(draw, seeds, size, 4 * size, fan=size),
        )  # fmt: skip
        self.second = drawn(draw, seeds, size, size, fan=size)
        self.beside = drawn(draw, p - lags, seeds * size, fan=max(p - lags, 1))
        self.third, self.ws, self.bs = zeros(seeds, size, len(self.basis)), zeros(p, seeds * h), zeros(seeds * h)
        self.inward_bias, self.second_bias = zeros(seeds * 4 * size), zeros(seeds * size)
        with torch.no_grad():
            # Jozefowicz, Zaremba and Sutskever 2015: a forget gate that starts open.
            self.inward_bias.view(seeds, 4, size)[:, 2] = 1.0
        self.thin = Dropout(training.dropout, draw, min(training.batch, rows) * seeds * size)
        self.hats = torch.tensor(self.basis)

    def rest(self, x: torch.Tensor) -> torch.Tensor:
        """What every network adds to the linear start, (S, B, h), for inputs (B, p)."""
        import torch

        count, h = len(x), self.shape[1]
        tokens = x[:, self.lags % self.segment : self.lags].reshape(-1, self.segment)
        gates = torch.addmm(self.inward_bias, tokens, self.inward).view(count, -1, self.seeds, 4 * self.size)
        state = last_state(gates.permute(1, 2, 0, 3), self.onward)
        others = torch.addmm(self.second_bias, x[:, self.lags :], self.beside).view(count, self.seeds, self.size)
        told = torch.baddbmm(others.transpose(0, 1), self.thin(state), self.second)
        a = self.thin(torch.nn.functional.silu(told))
        linear = torch.addmm(self.bs, x, self.ws).view(count, self.seeds, h).transpose(0, 1)
        return linear + (a @ self.third) @ self.hats

    def groups(self, training: TrainingSettings) -> list[dict[str, Any]]:
        """The weights by how they decay and how fast they learn."""
        layers = [self.inward, self.onward, self.second, self.beside, self.third]
        return [
            {"params": layers, "weight_decay": training.decay, "scale": 1.0},
            {"params": [self.inward_bias, self.second_bias], "weight_decay": 0.0, "scale": 1.0},
            {"params": [self.ws, self.bs], "weight_decay": training.skip_decay, "scale": training.skip_rate},
        ]

    def layers(self, skip: Singles, bias: Singles) -> SegmentLayers:
        """The trained weights on their linear start, as arrays."""
        (p, h), seeds, size = self.shape, self.seeds, self.size
        return SegmentLayers(
            lags=self.lags,
            segment=self.segment,
            skip=skip + as_array(self.ws).reshape(p, seeds, h).mean(axis=1),
            bias=bias + as_array(self.bs).reshape(seeds, h).mean(axis=0),
            inward=as_array(self.inward).reshape(self.segment, seeds, 4, size),
            inward_bias=as_array(self.inward_bias).reshape(seeds, 4, size),
            onward=as_array(self.onward),
            second=as_array(self.second),
            beside=as_array(self.beside).reshape(p - self.lags, seeds, size),
            second_bias=as_array(self.second_bias).reshape(seeds, size),
            third=(as_array(self.third) @ self.basis / seeds).astype(np.float32),
        )


def last_state(gates: torch.Tensor, onward: torch.Tensor) -> torch.Tensor:
    """Run the LSTMs of all seeds over their tokens: gates (T, S, B, 4 H), onward (S, H, 4 H); the state (S, B, H)."""
    import torch

    _, seeds, count, wide = gates.shape
    state = cell = torch.zeros(seeds, count, wide // 4)
    for step in gates:
        i, o, f, c = torch.baddbmm(step, state, onward).chunk(4, dim=2)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(c)
        state = torch.sigmoid(o) * torch.tanh(cell)
    return state
