"""Training windows of a panel gathered into moments, by phase and by how recent they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.design import Design
from mcp_forecast_engine.models.features import Layout, inputs_at
from mcp_forecast_engine.models.regression import Moments
from mcp_forecast_engine.models.scaling import Transform, local_scale
from mcp_forecast_engine.models.windows import TrainingWindows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

POOLED = -1
_CHUNK = 2_048
_FURTHEST = 10.0


@dataclass(frozen=True)
class Gathered:
    """Moments by slot and by recent part of the history, and the range of the targets with its margin."""

    moments: list[dict[float, Moments]]
    low: Floats
    high: Floats


def gather(
    panel: Panel,
    windows: TrainingWindows,
    layout: Layout,
    design: Design,
    *,
    transform: Transform,
    slots: Integers,
    recent: tuple[float, ...],
) -> Gathered:
    """Read the windows in chunks; each goes into the moments of its slot and of the smallest recent part it is in."""
    ring = np.searchsorted(np.array(recent[::-1]), windows.age, side="left")
    rings: list[list[Moments | None]] = [[None] * (len(recent) + 1) for _ in slots]
    low, high = np.full(layout.horizon, np.inf), np.full(layout.horizon, -np.inf)
    for place, slot in enumerate(slots):
        of_slot = windows.where(windows.phase == slot) if slot != POOLED else windows
        ring_of = ring[windows.phase == slot] if slot != POOLED else ring
        for start in range(0, len(of_slot), _CHUNK):
            part = slice(start, start + _CHUNK)
            rows, z, usable = _rows(panel, of_slot, part, layout, design, transform)
            low, high = np.minimum(low, z.min(axis=0)), np.maximum(high, z.max(axis=0))
            for r in np.unique(ring_of[part]):
                chosen = usable & (ring_of[part] == r)
                found = rings[place][r] or Moments.empty(rows.shape[1], layout.horizon)
                found.add(rows[chosen], z[chosen])
                rings[place][r] = found
    margin = 0.5 * (high - low) + 0.1
    return Gathered([_nested(found, recent) for found in rings], low=low - margin, high=high + margin)


def _rows(
    panel: Panel, windows: TrainingWindows, part: slice, layout: Layout, design: Design, transform: Transform
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    series, origin = windows.series[part], windows.origin[part]
    inputs = inputs_at(panel, layout, series, origin)
    scale = local_scale(inputs.target, transform)
    truth = panel.y[(panel.offsets[series] + origin)[:, None] + np.arange(layout.horizon)]
    z = np.clip(scale.forward(truth), -_FURTHEST, _FURTHEST)
    # A flat lookback has no units of its own: it would drown the others. Only a panel of flat windows keeps them.
    usable = ~scale.flat if not scale.flat.all() else np.ones(len(series), bool)
    return design.rows(inputs, scale, layout), z, usable


def _nested(rings: list[Moments | None], recent: tuple[float, ...]) -> dict[float, Moments]:
    """Rings (newest first) add up to the recent parts that contain them."""
    out: dict[float, Moments] = {}
    total: Floats | None = None
    regressors = next((r.regressors for r in rings if r is not None), 0)
    for part, ring in zip((*recent[::-1], 2.0), rings, strict=True):
        if ring is not None:
            total = ring.sums if total is None else total + ring.sums
        if total is not None and part <= 1.0:
            out[part] = Moments(regressors=regressors, sums=total)
    return out
