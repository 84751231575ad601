"""Quantiles around a fitted path: offsets learned from past errors, in each window's own units, never crossing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.features import Inputs, Layout
from mcp_forecast_engine.models.forecaster import FittedModel
from mcp_forecast_engine.models.scaling import (
    FURTHEST,
    UNKNOWN,
    LocalScale,
    Stillness,
    Transform,
    Yardstick,
    local_scale,
)
from mcp_forecast_engine.models.spec import QUANTILES

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Spread = Literal["level", "change"]

CHANGE_FLOOR = 0.1
LEVELS: Floats = np.array(QUANTILES)
# Levels and parts of a window's steps that differ by less are one.
SAME_LEVEL = 1e-9


@dataclass(frozen=True)
class Unit:
    """In what errors are measured: the window's units after a transform, times 1 or the recent seasonal change.

    transform: "identity", "root" or "log" (the last two only for targets that are never negative).
    spread: "level", units as they are; "change", times the mean absolute seasonal change within the lookback (for
    panels whose series are not equally predictable). stillness: what is usual where a window hardly moves.
    intermittent: steps are mostly zero, and quantiles are 0 up to the part of zeros in the window.
    """

    transform: Transform
    spread: Spread
    stillness: Stillness = UNKNOWN
    intermittent: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        told = [self.stillness.still, self.stillness.usual]
        return {"transform": self.transform, "spread": self.spread, "stillness": told} | (
            {"intermittent": True} if self.intermittent else {}
        )

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Unit:
        """What `to_dict` told; releases before 0.4 did not know what is usual."""
        stillness = Stillness(*plain.get("stillness", ()))
        return cls(plain["transform"], plain["spread"], stillness, plain.get("intermittent", False))

    def measured(self, target: Floats, season_length: int, known: Integers | None = None) -> tuple[LocalScale, Floats]:
        """The units of windows, target (B, lookback): their scale, and the width of one unit of offset, (B, 1).

        known: int64 (B), how many of the last steps are genuine; None: all are taken for it.
        """
        scale = local_scale(target, self.transform, Yardstick(stillness=self.stillness))
        return scale, residual_unit(scale.forward(target), scale.lifted, season_length, self.spread, known)

    def empty(self, target: Floats) -> Floats:
        """Up to which level a quantile is 0: the part of zeros in each window, (B, 1); 0 where that says nothing."""
        zeros = (target == 0).sum(axis=1, keepdims=True)
        return np.asarray(zeros / target.shape[1] if self.intermittent else 0.0 * zeros, np.float64)


@dataclass(frozen=True)
class Calibration:
    """Offsets added to a path in its windows' units, before it goes back to the series' units.

    offsets: (horizon, levels), ascending in the level. unit: what they are measured in. phase: the phase at which they
    were measured; None where all phases were pooled. nonnegative: no quantile lies below zero. lookback: on how many of
    the last steps the unit was measured; None: on all that are read, as releases before 0.4 served. phases: places in
    the season of the first step of the forecasts whose errors these are; () where that is not known or no matter.
    """

    offsets: Floats
    unit: Unit
    phase: int | None
    nonnegative: bool = False
    lookback: int | None = None
    phases: tuple[int, ...] = ()

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

    @property
    def layout(self) -> Layout:
        """What is read: the path's columns, and no less of the target than what the unit is measured on."""
        own = self.path.layout
        return replace(own, lookback=max(own.lookback, self.measured))

    @property
    def measured(self) -> int:
        """On how many of the last steps of the target the unit is measured."""
        return self.calibration.lookback or self.path.layout.lookback

    def quantiles(self, inputs: Inputs) -> Floats:
        """(B, horizon, levels), levels as in QUANTILES, in the series' units; inputs as `layout` says."""
        whole, season = self.layout, self.path.layout.season_length
        by_phase = self.calibration.by_phase(season)
        offsets = by_phase[inputs.phase] if len(by_phase) > 1 else by_phase
        target, unit = inputs.target[:, whole.lookback - self.measured :], self.calibration.unit
        scale, width = unit.measured(target, season, inputs.known if self.calibration.lookback else None)
        point = self.path.point(inputs.narrow(whole, self.path.layout))
        return spread_out(point, scale, offsets * width[:, :, None], self.calibration.nonnegative, unit.empty(target))


def spread_out(point: Floats, scale: LocalScale, offsets: Floats, nonnegative: bool, empty: Floats) -> Floats:
    """Add offsets (B, horizon, levels), in the windows' units, to a path (B, horizon) in the series'; sorted.

    A window of zeros has no units: its path is all that is known. empty: (B, 1), the level up to which a quantile is 0.
    Where units are bent, no quantile is further than FURTHEST of them from the path: unbent, it would be anywhere.
    """
    offsets = offsets if scale.transform == "identity" else np.clip(offsets, -FURTHEST, FURTHEST)
    found = scale.inverse(scale.forward(point)[:, :, None] + offsets)
    found = np.where(scale.spread[:, :, None] > 0, found, point[:, :, None])
    found = np.where(empty[:, :, None] + SAME_LEVEL >= LEVELS, 0.0, found) if empty.any() else found
    return np.sort(np.maximum(found, 0.0) if nonnegative else found, axis=2)


def residual_unit(
    lags: Floats, lifted: Floats, season_length: int, spread: Spread, known: Integers | None = None
) -> Floats:
    """What one unit of an offset means in each window, (B, 1); lags: (B, lookback) in the window's units.

    lifted: (B, 1), the part of the window's spread that is not its own: usually a season changes by about a spread.
    Made-up steps, those before the last `known` (B), repeat a season and show no change: up to a season of missing
    changes are taken for a spread each.
    """
    if spread == "level" or lags.shape[1] <= season_length:
        return np.ones((len(lags), 1))
    change = np.abs(lags[:, season_length:] - lags[:, :-season_length])
    if known is None:
        return np.asarray(change.mean(axis=1, keepdims=True) + CHANGE_FLOOR + lifted, np.float64)
    genuine = np.arange(change.shape[1]) + known[:, None] >= lags.shape[1]
    count = genuine.sum(axis=1, keepdims=True)
    total = (change * genuine).sum(axis=1, keepdims=True) + np.maximum(season_length - count, 0)
    return np.asarray(total / np.maximum(count, season_length) + CHANGE_FLOOR + lifted, np.float64)


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
