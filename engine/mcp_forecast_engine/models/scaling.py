"""Every window in its own units: level and spread of its lookback, with a root, log or asinh where it pays."""

from __future__ import annotations

from dataclasses import dataclass, field
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
# Smaller numbers are zero; a graph reads single precision, whose smallest are 1e-38.
TINY = 1e-30
# asinh is undone by sinh, which grows as exp does: no path leaves 10,000 spreads.
FURTHEST = 10.0
# One window in a hundred is stiller than the rest, and a window a quarter as still says nothing. More would measure the
# quiet series of a panel by its lively ones: with 0.05 and 0.5 the error on M4 weekly grew by half a percent.
_NEARLY_NONE, _STILL = 0.01, 0.25


@dataclass(frozen=True)
class Stillness:
    """How little a window may move before its spread says nothing of the steps ahead: then the usual one holds.

    still, usual: spreads of a training part as parts of the root mean square of their windows: what nearly all windows
    exceed, and their median. Both 0: unknown, and a flat window takes its size as spread.
    """

    still: float = 0.0
    usual: float = 0.0

    @classmethod
    def of(cls, target: Floats, transform: Transform) -> Stillness:
        """Learn from the lookbacks of a training part, (n, L); flat ones teach nothing."""
        return cls.of_bent(bend(target, unit_of(target, transform), transform))

    @classmethod
    def of_bent(cls, values: Floats) -> Stillness:
        """The same from lookbacks after the transform."""
        spread, size, flat = spread_of(values)
        shares = (spread / np.where(size > TINY, size, 1.0))[~flat]
        if not len(shares):
            return cls()
        return cls(_STILL * float(np.quantile(shares, _NEARLY_NONE)), float(np.median(shares)))

    def lift(self, spread: Floats, size: Floats, flat: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Spreads to measure by, and the part, 0 to 1, that is not the window's own; all (B, 1).

        From `still` down to no movement the spread goes up to the usual one; a window of zeros has none at all.
        """
        if not self.usual:
            return np.where(size > TINY, np.where(flat, size, spread), 0.0), np.zeros_like(spread)
        floor = np.where(size > TINY, self.still * size, 1.0)
        part = np.clip(1.0 - spread / floor, 0.0, 1.0)
        lifted = np.maximum(spread, self.still * size) + part * (self.usual - self.still) * size
        return np.where(size > TINY, lifted, 0.0), part


UNKNOWN = Stillness()


@dataclass(frozen=True)
class Yardstick:
    """What of a window's units is no matter of the window.

    level, spread: constants learned from a training part, of each of its S series in the order of the layout's series
    (S); None: measured in each lookback, as they are for a series that is not among them or whose spread is 0.
    recent: how many of the last steps of the lookback are measured, 0: all of them; where spreads are constants, only
    the level is measured on them. stillness: what a spread that is measured says, see there.
    """

    level: Floats | None = None
    spread: Floats | None = None
    recent: int = 0
    stillness: Stillness = field(default_factory=lambda: UNKNOWN)

    @property
    def by_series(self) -> bool:
        """Whether a window has to say of which series it is: of one alone too, another one has units of its own."""
        return self.spread is not None


MEASURED = Yardstick()


@dataclass(frozen=True)
class LocalScale:
    """The units of B windows: unit (B, 1) before the transform, level and spread (B, 1) after it, flat bool (B).

    spread: 0 for a window of zeros, whose forecast is zero. lifted: (B, 1), the part of the spread that is not the
    window's own.
    """

    transform: Transform
    unit: Floats
    level: Floats
    spread: Floats
    flat: NDArray[np.bool_]
    lifted: Floats

    def forward(self, y: Floats) -> Floats:
        """(B, n) in the series' units to (B, n) in the window's units."""
        z = (self._bend(y) - self.level) / divisor(self.spread)
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
        return bend(y, self.unit, self.transform)


def local_scale(
    target: Floats, transform: Transform, yard: Yardstick = MEASURED, series: Integers | None = None
) -> LocalScale:
    """Measure each lookback, (B, L): shifting (identity, asinh) and scaling y shifts and scales every forecast.

    series: int64 (B), place among the yardstick's series, -1: none of them; read only where constants are by series.

    root: sqrt(y / mean); log: log(1 + y / (0.1 mean)); both only for targets that are never negative. asinh: of the
    identity's units, for spikes of either sign. A lookback that hardly moves takes the spread that is usual for its
    size, see `Stillness`: there alone a shift counts.
    """
    recent = target[:, -yard.recent :]
    unit = unit_of(recent, transform)
    bent = bend(recent, unit, transform)
    level = bent.mean(axis=1, keepdims=True)
    whole = bent if yard.spread is None else bend(target, unit, transform)
    own, size, flat = spread_of(whole)
    spread, lifted = yard.stillness.lift(own, size, flat)
    if yard.spread is not None:
        fixed = _constants(yard.spread, series)
        known = fixed > 0
        spread, lifted, flat = np.where(known, fixed, spread), np.where(known, 0.0, lifted), flat & ~known
        if yard.level is not None:
            level = np.where(known, _constants(yard.level, series), level)
    return LocalScale(transform=transform, unit=unit, level=level, spread=spread, flat=flat[:, 0], lifted=lifted)


def spread_of(values: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Standard deviation and root mean square of windows (B, L), and whether one is flat, (B, 1) each."""
    spread = values.std(axis=1, keepdims=True)
    size = np.sqrt((values**2).mean(axis=1, keepdims=True))
    return spread, size, spread <= FLAT * size + TINY


def divisor(spread: Floats) -> Floats:
    """What is divided by: a window of zeros, less its level, is zero by any measure."""
    return np.where(spread > 0, spread, 1.0)


def widened(low: Floats, high: Floats, transform: Transform) -> tuple[Floats, Floats]:
    """The range of targets seen, in windows' units, and half as much on either side: no forecast lies beyond.

    What asinh has bent is widened by plain spreads: half of the bent range more would be many times as far.
    """
    bent = transform == "asinh" and np.isfinite(low).all()
    low, high = (np.sinh(low), np.sinh(high)) if bent else (low, high)
    margin = 0.5 * (high - low) + 0.1
    low, high = low - margin, high + margin
    return (np.arcsinh(low), np.arcsinh(high)) if bent else (low, high)


def growth_of(target: Floats, truth: Floats) -> Floats:
    """The largest step of truth (B, H) as a multiple of the largest of the lookback (B, L), (B); 0 without one."""
    most = target.max(axis=1)
    return np.asarray(np.where(most > 0, truth.max(axis=1) / np.where(most > 0, most, 1.0), 0.0), np.float64)


def reach_of(growth: Floats, transform: Transform) -> float:
    """How many times the largest value of its lookback a forecast may be: as far as was seen, and half as far again.

    Infinite where nothing was, and without a root or log: there the range of z is bound enough. Under these a few
    spreads more are many times the value, and a spread is large where a window holds zeros.
    """
    most = float(growth.max(initial=0.0))
    return 1.5 * most if transform in ("root", "log") and most > 0 else np.inf


def within_reach(y: Floats, target: Floats, reach: float) -> Floats:
    """A path (B, H) no larger than `reach` times the largest value of its lookback (B, L)."""
    return np.minimum(y, reach * target.max(axis=1, keepdims=True)) if np.isfinite(reach) else y


def _constants(values: Floats, series: Integers | None) -> Floats:
    """The constant of each window's series, (B, 1); 0 for a series that has none."""
    if series is None:
        raise ValueError("these units are of each series: say of which series the windows are")
    return np.asarray(np.append(values, 0.0)[series][:, None], np.float64)


def unit_of(target: Floats, transform: Transform) -> Floats:
    """What windows (B, L) are divided by before a root or a log, (B, 1): their mean size, for a log a tenth of it."""
    if transform in SIGNED:
        return np.ones((len(target), 1))
    size = np.abs(target).mean(axis=1, keepdims=True)
    return np.asarray(np.where(size > TINY, size, 1.0) * (LOG_UNIT if transform == "log" else 1.0), np.float64)


def bend(y: Floats, unit: Floats, transform: Transform) -> Floats:
    """The root or the log of (B, n) in `unit`; the values as they are under other transforms."""
    if transform == "root":
        return np.sqrt(np.maximum(y, 0.0) / unit)
    return np.log1p(np.maximum(y, 0.0) / unit) if transform == "log" else y
