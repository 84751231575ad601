"""Training windows of a panel as the arrays that a network learns from, gathered in chunks of bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.features import Layout, inputs_at
from mcp_forecast_engine.models.network_rows import Rows
from mcp_forecast_engine.models.network_standard import Standard, measures, standard_for
from mcp_forecast_engine.models.network_units import Units
from mcp_forecast_engine.models.scaling import FURTHEST, growth_of, reach_of, widened
from mcp_forecast_engine.models.windows import TrainingWindows

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

# Regressors, targets, measures, which are flat, growth.
_Gathered = tuple[Singles, Singles, Floats, NDArray[np.bool_], Floats]

_CHUNK = 4_096
# Targets further from their window's level than this many spreads would drown the others.
_HEAVIEST = 10.0
# Training numbers are rounded to this part of a spread, far below their noise: so a series told in other units gives
# the same numbers to the last bit, and the same network.
_GRID = 2.0**-14


@dataclass(frozen=True)
class Lessons:
    """W windows: rows float32 (W, p), targets z float32 (W, h) in the windows' units, weight float32 (W), mean 1.

    low, high: (h), the range of z and a margin around it; no forecast leaves it. reach: see `within_reach`.
    """

    standard: Standard
    rows: Singles
    z: Singles
    weight: Singles
    low: Floats
    high: Floats
    reach: float


def lessons_of(
    panel: Panel, windows: TrainingWindows, layout: Layout, units: Units, rows: Rows, *, weigh: float
) -> Lessons:
    """Gather and standardise; windows count as their spread to the power `weigh`.

    Flat windows have no units of their own and are left out, unless all are flat.
    """
    found, shift = _gathered(panel, windows, layout, units, rows)
    wide, z, both, flat, growth = found
    usable = ~flat if not flat.all() else np.ones(len(flat), bool)
    wide, z, both = wide[usable], z[usable], both[usable]
    standard = standard_for(wide, shift, both, lags=layout.lookback, constant_units=units.scale == "raw")
    kept = (wide[:, standard.kept] - (standard.mean - shift[standard.kept]).astype(np.float32)).astype(np.float32)
    kept *= standard.factor.astype(np.float32)
    x = np.concatenate([kept, standard.around(both).astype(np.float32)], axis=1)
    low, high = widened(z.min(axis=0).astype(np.float64), z.max(axis=0).astype(np.float64), units.bend)
    weight = np.exp(weigh * (both[:, 1] - np.median(both[:, 1])))
    weight = np.minimum(weight, _HEAVIEST)
    # No forecast leaves what targets are clipped to: the inverse of a bend would make it a huge one.
    low, high = np.maximum(low, -FURTHEST), np.minimum(high, FURTHEST)
    reach = reach_of(growth[usable], units.bend)
    return Lessons(standard, _rounded(x), z, _rounded(weight / weight.mean()), low=low, high=high, reach=reach)


def _gathered(
    panel: Panel, windows: TrainingWindows, layout: Layout, units: Units, rows: Rows
) -> tuple[_Gathered, Floats]:
    """Regressors less the mean of the first chunk, so that single precision holds them; and that mean."""
    parts: list[_Gathered] = []
    shift = np.zeros(0)
    for start in range(0, len(windows), _CHUNK):
        series, origin = windows.series[start : start + _CHUNK], windows.origin[start : start + _CHUNK]
        inputs = inputs_at(panel, layout, series, origin)
        measured = units.measure(inputs.target)
        wide = rows.of(inputs, measured, layout)
        shift = wide.mean(axis=0) if not parts else shift
        truth = panel.y[(panel.offsets[series] + origin)[:, None] + np.arange(layout.horizon)]
        z = _rounded(np.clip(measured.forward(truth), -FURTHEST, FURTHEST))
        growth = growth_of(inputs.target, truth)
        parts.append(((wide - shift).astype(np.float32), z, measures(measured), measured.flat, growth))
    wide_all, z_all, both, flat, growth = (np.concatenate(column) for column in zip(*parts, strict=True))
    return (wide_all, z_all, both, flat, growth), shift


def _rounded(values: NDArray[np.floating]) -> Singles:
    return np.asarray(np.rint(values / _GRID) * _GRID, np.float32)
