"""Spline basis and an LSTM over season segments beside a linear skip: the lineage of this project, as a family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

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

    (p, h), size, seeds = start[0].shape, training.hidden, training.seeds
    draw = torch.Generator().manual_seed(training.seed)
    basis = spline_basis(h, min(knots, h))
    inward, onward = drawn(draw, segment, seeds * 4 * size, fan=segment), drawn(draw, seeds, size, 4 * size, fan=size)
    second = drawn(draw, seeds, size, size, fan=size)
    beside = drawn(draw, p - lags, seeds * size, fan=max(p - lags, 1))
    third, ws, bs = zeros(seeds, size, len(basis)), zeros(p, seeds * h), zeros(seeds * h)
    inward_bias, second_bias = zeros(seeds * 4 * size), zeros(seeds * size)
    with torch.no_grad():
        # Jozefowicz, Zaremba and Sutskever 2015: a forget gate that starts open.
        inward_bias.view(seeds, 4, size)[:, 2] = 1.0
    thin = Dropout(training.dropout, draw, min(training.batch, len(lessons.rows)) * seeds * size)
    hats = torch.tensor(basis)

    def rest(x: torch.Tensor) -> torch.Tensor:
        """What every network adds to the linear start, (S, B, h)."""
        count = len(x)
        tokens = x[:, lags % segment : lags].reshape(-1, segment)
        gates = torch.addmm(inward_bias, tokens, inward).view(count, -1, seeds, 4 * size).permute(1, 2, 0, 3)
        state = last_state(gates, onward)
        others = torch.addmm(second_bias, x[:, lags:], beside).view(count, seeds, size).transpose(0, 1)
        a = thin(torch.nn.functional.silu(torch.baddbmm(others, thin(state), second)))
        linear = torch.addmm(bs, x, ws).view(count, seeds, h).transpose(0, 1)
        return linear + (a @ third) @ hats

    groups = [
        {"params": [inward, onward, second, beside, third], "weight_decay": training.decay, "scale": 1.0},
        {"params": [inward_bias, second_bias], "weight_decay": 0.0, "scale": 1.0},
        {"params": [ws, bs], "weight_decay": training.skip_decay, "scale": training.skip_rate},
    ]
    skip, bias = start
    descend(rest, groups, lessons.rows, lessons.z - (lessons.rows @ skip + bias), lessons.weight, training, draw)
    return SegmentLayers(
        lags=lags,
        segment=segment,
        skip=skip + as_array(ws).reshape(p, seeds, h).mean(axis=1),
        bias=bias + as_array(bs).reshape(seeds, h).mean(axis=0),
        inward=as_array(inward).reshape(segment, seeds, 4, size),
        inward_bias=as_array(inward_bias).reshape(seeds, 4, size),
        onward=as_array(onward),
        second=as_array(second),
        beside=as_array(beside).reshape(p - lags, seeds, size),
        second_bias=as_array(second_bias).reshape(seeds, size),
        third=(as_array(third) @ basis / seeds).astype(np.float32),
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
