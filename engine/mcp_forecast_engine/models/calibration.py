"""Quantiles around a fitted path: offsets learned from past errors, in each window's own units, never crossing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.features import Inputs
from mcp_forecast_engine.models.forecaster import FittedModel
from mcp_forecast_engine.models.scaling import LocalScale, Transform, local_scale

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Spread = Literal["level", "change"]

CHANGE_FLOOR = 0.1


@dataclass(frozen=True)
class Unit:
    """In what errors are measured: the window's units after a transform, times 1 or the recent seasonal change.

    transform: "identity", "root" or "log" (the last two only for targets that are never negative).
    spread: "level", units as they are; "change", times the mean absolute seasonal change within the lookback (for
    panels whose series are not equally predictable).
    """

    transform: Transform
    spread: Spread

    def measured(self, target: Floats, season_length: int) -> tuple[LocalScale, Floats]:
        """The units of windows, target (B, lookback): their scale, and the width of one unit of offset, (B, 1)."""
        scale = local_scale(target, self.transform)
        return scale, residual_unit(scale.forward(target), season_length, self.spread)


@dataclass(frozen=True)
class Calibration:
    """Offsets added to a path in its windows' units, before it goes back to the series' units.

    offsets: (horizon, levels), ascending in the level. unit: what they are measured in. phase: the phase at which they
    were measured; None where all phases were pooled. nonnegative: no quantile lies below zero.
    """

    offsets: Floats
    unit: Unit
    phase: int | None
    nonnegative: bool = False

    def by_phase(self, season_length: int) -> Floats:
        """(m, horizon, levels), or (1, horizon, levels) where phases were pooled: see `_moved`."""
        if self.phase is None or season_length < 2:
            return self.offsets[None]
        return np.stack([_moved(self.offsets, self.phase, phase, season_length) for phase in range(season_length)])


@dataclass(frozen=True)
class CalibratedModel:
    """A fitted path and its calibration: what is served and exported."""

    path: FittedModel
    calibration: Calibration

    def quantiles(self, inputs: Inputs) -> Floats:
        """(B, horizon, levels), levels as in QUANTILES, in the series' units."""
        season = self.path.layout.season_length
        by_phase = self.calibration.by_phase(season)
        offsets = by_phase[inputs.phase] if len(by_phase) > 1 else by_phase
        scale, width = self.calibration.unit.measured(inputs.target, season)
        return spread_out(self.path.point(inputs), scale, offsets * width[:, :, None], self.calibration.nonnegative)


def spread_out(point: Floats, scale: LocalScale, offsets: Floats, nonnegative: bool) -> Floats:
    """Add offsets (B, horizon, levels), in the windows' units, to a path (B, horizon) in the series'; sorted."""
    found = scale.inverse(scale.forward(point)[:, :, None] + offsets)
    return np.sort(np.maximum(found, 0.0) if nonnegative else found, axis=2)


def residual_unit(lags: Floats, season_length: int, spread: Spread) -> Floats:
    """What one unit of an offset means in each window, (B, 1); lags: (B, lookback) in the window's units."""
    if spread == "level" or lags.shape[1] <= season_length:
        return np.ones((len(lags), 1))
    change = np.abs(lags[:, season_length:] - lags[:, :-season_length])
    return np.asarray(change.mean(axis=1, keepdims=True) + CHANGE_FLOOR, np.float64)


def _moved(offsets: Floats, measured: int, phase: int, season_length: int) -> Floats:
    """Offsets for another phase: each step takes those of the nearest measured step at the same place of the season.

    Errors differ more by the hour of the day than by a few steps ahead. A place that was never measured keeps its step.
    """
    steps = np.arange(len(offsets))
    place = (measured + steps) % season_length
    moved = offsets.copy()
    for step in steps:
        same = np.flatnonzero(place == (phase + step) % season_length)
        if len(same):
            moved[step] = offsets[same[np.argmin(np.abs(same - step))]]
    return moved
