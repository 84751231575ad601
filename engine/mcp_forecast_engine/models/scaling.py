"""Every window in its own units: level and spread of its lookback, with a root, log or asinh where it pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Transform = Literal["identity", "root", "log", "asinh"]

# Those that a target with negative values can take.
SIGNED: tuple[Transform, ...] = ("identity", "asinh")
LOG_UNIT = 0.1
FLAT = 1e-6
TINY = 1e-12
# asinh is undone by sinh, which grows as exp does: no path leaves 10,000 spreads.
FURTHEST = 10.0


@dataclass(frozen=True)
class Yardstick:
    """What of a window's units is no matter of the window.

    level, spread: constants learned from a training part, of each of its S series in the order of the layout's series
    (S), or one for all (1); None: measured in each lookback, as they are for a series that is not among them or whose
    spread is 0. recent: how many of the last steps of the lookback are measured, 0: all of them; where spreads are
    constants, only the level is measured on them.
    """

    level: Floats | None = None
    spread: Floats | None = None
    recent: int = 0

    @property
    def by_series(self) -> bool:
        """Whether a window has to say of which series it is."""
        return self.spread is not None and len(self.spread) > 1


MEASURED = Yardstick()


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
        z = (self._bend(y) - self.level) / self.spread
        return np.arcsinh(z) if self.transform == "asinh" else z

    def inverse(self, z: Floats) -> Floats:
        """(B, n) or (B, n, Q) in the window's units back to the series' units."""
        extra = (slice(None), slice(None)) + (None,) * (z.ndim - 2)
        if self.transform == "asinh":
            z = np.sinh(np.clip(z, -FURTHEST, FURTHEST))
        bent = z * self.spread[extra] + self.level[extra]
        unit = self.unit[extra]
        if self.transform == "root":
            bent = unit * np.maximum(bent, 0.0) ** 2
        elif self.transform == "log":
            bent = unit * np.expm1(np.maximum(bent, 0.0))
        return np.asarray(bent, np.float64)

    def _bend(self, y: Floats) -> Floats:
        return _bend(y, self.unit, self.transform)


def local_scale(
    target: Floats, transform: Transform, yard: Yardstick = MEASURED, series: Integers | None = None
) -> LocalScale:
    """Measure each lookback, (B, L): shifting (identity, asinh) and scaling y shifts and scales every forecast.

    series: int64 (B), place among the yardstick's series, -1: none of them; read only where constants are by series.

    root: sqrt(y / mean); log: log(1 + y / (0.1 mean)); both only for targets that are never negative. asinh: of the
    identity's units, for spikes of either sign. A flat lookback takes its level as spread, so that nothing is divided
    by zero.
    """
    recent = target[:, -yard.recent :]
    unit = np.abs(recent).mean(axis=1, keepdims=True)
    unit = np.where(unit > TINY, unit, 1.0)
    if transform == "log":
        unit = unit * LOG_UNIT
    if transform in SIGNED:
        unit = np.ones_like(unit)
    bent = _bend(recent, unit, transform)
    level = bent.mean(axis=1, keepdims=True)
    whole = bent if yard.spread is None else _bend(target, unit, transform)
    middle = level if whole is bent else whole.mean(axis=1, keepdims=True)
    spread = np.sqrt(((whole - middle) ** 2).mean(axis=1, keepdims=True))
    size = np.abs(middle)
    flat = spread <= FLAT * size + TINY
    spread = np.where(flat, np.where(size > TINY, size, 1.0), spread)
    if yard.spread is not None:
        fixed = _constants(yard.spread, series, len(target))
        known = fixed > 0
        spread, flat = np.where(known, fixed, spread), flat & ~known
        if yard.level is not None:
            level = np.where(known, _constants(yard.level, series, len(target)), level)
    return LocalScale(transform=transform, unit=unit, level=level, spread=spread, flat=flat[:, 0])


def _constants(values: Floats, series: Integers | None, size: int) -> Floats:
    """The constant of each window's series, (B, 1); 0 for a series that has none."""
    if len(values) == 1:
        return np.full((size, 1), values[0])
    if series is None:
        raise ValueError("these units are of each series: say of which series the windows are")
    return np.asarray(np.append(values, 0.0)[series][:, None], np.float64)


def _bend(y: Floats, unit: Floats, transform: Transform) -> Floats:
    if transform == "root":
        return np.sqrt(np.maximum(y, 0.0) / unit)
    return np.log1p(np.maximum(y, 0.0) / unit) if transform == "log" else y
