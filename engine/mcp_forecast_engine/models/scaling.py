"""Every window in its own units: level and spread of its lookback, with a root or a logarithm where it pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Transform = Literal["identity", "root", "log"]

TRANSFORMS: tuple[Transform, ...] = ("identity", "root", "log")
LOG_UNIT = 0.1
FLAT = 1e-6
TINY = 1e-12


@dataclass(frozen=True)
class LocalScale:
    """The units of B windows: unit (B, 1) before the transform, level and spread (B, 1) after it, flat bool (B)."""

    transform: Transform
    unit: Floats
    level: Floats
    spread: Floats
    flat: NDArray[np.bool_]

    def forward(self, y: Floats) -> Floats:
        """(B, n) in the series' units to (B, n) in the window's units."""
        return (self._bend(y) - self.level) / self.spread

    def inverse(self, z: Floats) -> Floats:
        """(B, n) or (B, n, Q) in the window's units back to the series' units."""
        extra = (slice(None), slice(None)) + (None,) * (z.ndim - 2)
        bent = z * self.spread[extra] + self.level[extra]
        unit = self.unit[extra]
        if self.transform == "root":
            bent = unit * np.maximum(bent, 0.0) ** 2
        elif self.transform == "log":
            bent = unit * np.expm1(np.maximum(bent, 0.0))
        return np.asarray(bent, np.float64)

    def _bend(self, y: Floats) -> Floats:
        return _bend(y, self.unit, self.transform)


def local_scale(target: Floats, transform: Transform) -> LocalScale:
    """Measure each lookback, (B, L): shifting (identity only) and scaling y shifts and scales every forecast.

    root: sqrt(y / mean); log: log(1 + y / (0.1 mean)); both only for targets that are never negative.
    A flat lookback takes its level as spread, so that nothing is divided by zero.
    """
    unit = np.abs(target).mean(axis=1, keepdims=True)
    unit = np.where(unit > TINY, unit, 1.0)
    if transform == "log":
        unit = unit * LOG_UNIT
    if transform == "identity":
        unit = np.ones_like(unit)
    bent = _bend(target, unit, transform)
    level = bent.mean(axis=1, keepdims=True)
    spread = np.sqrt(((bent - level) ** 2).mean(axis=1, keepdims=True))
    size = np.abs(level)
    flat = spread <= FLAT * size + TINY
    spread = np.where(flat, np.where(size > TINY, size, 1.0), spread)
    return LocalScale(transform=transform, unit=unit, level=level, spread=spread, flat=flat[:, 0])


def _bend(y: Floats, unit: Floats, transform: Transform) -> Floats:
    if transform == "root":
        return np.sqrt(np.maximum(y, 0.0) / unit)
    return np.log1p(np.maximum(y, 0.0) / unit) if transform == "log" else y
