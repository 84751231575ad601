"""A covariate becomes regressors: hinges for what is continuous, indicators for what has few levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.levels import levels_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_KNOTS = 3


@dataclass(frozen=True)
class Basis:
    """How F columns expand into K regressors.

    Hinges: relu(clip(v[source], low, high) - knot) * factor, each of shape (Kh); the first hinge of a column has its
    knot at the lower end, so it is the clamped value itself. Levels: 1 where |v[level_source] - level| < half_gap.
    Values beyond the training range are clamped to it: a hinged ridge must not extrapolate.
    """

    columns: tuple[str, ...]
    source: Integers
    low: Floats
    high: Floats
    knot: Floats
    factor: Floats
    level_source: Integers
    level: Floats
    half_gap: Floats

    @property
    def size(self) -> int:
        """K, regressors per row."""
        return len(self.source) + len(self.level_source)

    @property
    def linear(self) -> Integers:
        """Which hinges are the clamped value itself: the first one of each continuous column."""
        return np.unique(self.source, return_index=True)[1].astype(np.int64)

    def straight(self, values: Floats) -> Floats:
        """(..., F) to (..., continuous columns): clamped values without their bends."""
        first = self.linear
        clamped = np.clip(values[..., self.source[first]], self.low[first], self.high[first])
        return np.asarray((clamped - self.knot[first]) * self.factor[first], np.float64)

    def expand(self, values: Floats) -> Floats:
        """(..., F) to (..., K)."""
        # In place: a panel's steps ahead are millions of numbers. No knot lies below its column's range.
        found = values[..., np.concatenate([self.source, self.level_source])]
        hinges, levels = found[..., : len(self.source)], found[..., len(self.source) :]
        np.maximum(hinges, self.knot, out=hinges)
        np.minimum(hinges, self.high, out=hinges)
        hinges -= self.knot
        hinges *= self.factor
        levels -= self.level
        levels[...] = np.abs(levels) < self.half_gap
        return np.asarray(found, np.float64)


def basis_for(panel: Panel, columns: tuple[str, ...]) -> Basis:
    """Learn knots, ranges and levels of the named covariates from a training panel."""
    hinges: list[tuple[int, float, float, float, float]] = []
    levels: list[tuple[int, float, float]] = []
    for place, name in enumerate(columns):
        values = panel.covariates[name]
        found = levels_of(values, categorical=name in panel.categories)
        if found is None:
            hinges += _hinges(place, values)
        else:
            levels += [(place, float(level), found[1]) for level in found[0]]
    h = np.array(hinges, np.float64).reshape(-1, 5)
    v = np.array(levels, np.float64).reshape(-1, 3)
    return Basis(
        columns=columns,
        source=h[:, 0].astype(np.int64),
        low=h[:, 1],
        high=h[:, 2],
        knot=h[:, 3],
        factor=h[:, 4],
        level_source=v[:, 0].astype(np.int64),
        level=v[:, 1],
        half_gap=v[:, 2],
    )


def _hinges(place: int, values: Floats) -> list[tuple[int, float, float, float, float]]:
    low, high = float(values.min()), float(values.max())
    inner = np.unique(np.quantile(values, np.linspace(0, 1, _KNOTS + 2)[1:-1]))
    knots = [low, *(float(k) for k in inner if low < k < high)]
    factor = 1.0 / (float(values.std()) or 1.0)
    return [(place, low, high, knot, factor) for knot in knots]
