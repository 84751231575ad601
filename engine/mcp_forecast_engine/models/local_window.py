"""What a local model sees of one series: its genuine history in units of its own size, and which steps those are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mcp_forecast_engine.models.tensor import Tensor

# Below this part of the largest value a logarithm would be about rounding, not about growth.
_LOG_FLOOR = 1e-3
# How far a path of logarithms may rise above the largest one seen: e² is a factor of about seven.
_LOG_ROOM = 2.0


@dataclass(frozen=True)
class LocalWindow:
    """B histories of up to L steps that all end at the last one; L is a whole number of seasons.

    y: (B, L), divided by `unit` (B, 1), the mean size; zero where made up. mask: (B, L), 1 for genuine steps.
    steps: (B, 1), how many. positive, nonnegative: (B, 1) truth values of the genuine steps.
    """

    y: Tensor
    mask: Tensor
    steps: Tensor
    unit: Tensor
    positive: Tensor
    nonnegative: Tensor
    length: int
    season: int

    def mean(self, values: Tensor) -> Tensor:
        """The mean over genuine steps, (B, 1)."""
        return (values * self.mask).sum(1) / self.steps

    def back(self, path: Tensor) -> Tensor:
        """A path (B, h) in the series' units; a series that never fell below zero is not forecast below it."""
        return self.nonnegative.choose(path.at_least(0.0), path) * self.unit

    def variance(self) -> Tensor:
        """The mean squared distance from the mean, (B, 1)."""
        apart = self.y - self.mean(self.y)
        return self.mean(apart * apart)

    def loss(self, squares: Tensor) -> Tensor:
        """n · log(sum of squares / n), (B, G), minus twice a Gaussian log-likelihood; a perfect fit stays finite."""
        floor = self.variance() * 1e-10 + 1e-16
        return (squares.at_least(0.0) / self.steps + floor).log() * self.steps

    def ages(self) -> Tensor:
        """Which step of its series each place is, counted from 1, (B, L); 1 also where made up."""
        return (self.steps + (np.arange(self.length) + 1.0 - self.length)[None, :]).at_least(1.0)

    def onset(self) -> Tensor:
        """1 at the first genuine step, (B, L)."""
        return self.mask - (self.steps + np.arange(self.length)[None, :]).above(self.length + 0.5).choose(1.0, 0.0)

    def logarithms(self) -> tuple[LocalWindow, Tensor]:
        """The same histories as logarithms where all are positive, and the ceiling (B, 1) for a path of them."""
        top = (self.y * self.mask).reduce("ReduceMax", 1)
        safe = self.positive.choose(self.y.at_least(top * _LOG_FLOOR).at_least(1e-12), 1.0)
        y = self.positive.choose(safe.log(), self.y) * self.mask
        ceiling = self.positive.choose(top.at_least(1e-12), 1.0).log() + _LOG_ROOM
        return replace(self, y=y), ceiling


def local_window(target: Tensor, known: Tensor, *, length: int, season: int) -> LocalWindow:
    """See `LocalWindow`; target (B, length) and known (B, 1), both doubles, length a whole number of seasons."""
    steps = known.at_least(1.0)
    mask = (steps + np.arange(length)[None, :]).above(length - 0.5).choose(1.0, 0.0)
    size = (target.abs() * mask).sum(1) / steps
    unit = size.above(1e-300).choose(size, 1.0)
    y = target * mask / unit
    lowest = (y + (1.0 - mask) * 1e9).reduce("ReduceMin", 1)
    return LocalWindow(
        y=y,
        mask=mask,
        steps=steps,
        unit=unit,
        positive=lowest.above(0.0),
        nonnegative=lowest.above(-1e-12),
        length=length,
        season=season,
    )
