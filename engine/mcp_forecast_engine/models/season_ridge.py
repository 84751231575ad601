"""Ridge regression from season to season: the level of each season, and the shape within it, from those before.

A dense ridge has a weight for every lag and step; a few hundred seasons of history cannot tell that many apart. Here a
step ahead reads the same place of the seasons before it, with weights that all places share, and the means of these
seasons (the sparse forecasting of Lin et al. 2024, "SparseTSF", in closed form).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.regression import Moments, factor_of

Floats = NDArray[np.float64]


class SeasonRidge:
    """A solver whose weights follow from two small regressions, of levels and of departures from them.

    The sums of products are those of the dense equations, averaged over the places of a season.
    """

    def __init__(self, moments: Moments, lags: int, season: int) -> None:
        """lags: the leading columns, oldest first; others, and lags of an incomplete season, get no weight."""
        n = max(moments.count, 1)
        self.mean, self.level = moments.total / n, moments.level / n
        first = lags % season
        self._lags, self._season = slice(first, lags), season
        mean = self.mean[self._lags]
        gram = moments.gram[self._lags, self._lags] / n - np.outer(mean, mean)
        cross = moments.cross[self._lags] / n - np.outer(mean, self.level)
        seasons, steps = len(mean) // season, cross.shape[1]
        folded = gram.reshape(seasons, season, seasons, season)
        self._of_means = _Standard(folded.mean(axis=(1, 3)))
        self._parts: list[tuple[slice, _Standard, Floats, Floats]] = []
        for part in (slice(0, steps - steps % season), slice(steps - steps % season, steps)):
            if part.start == part.stop:
                continue
            # A last season that the horizon cuts short: only the places that it has.
            places = min(season, part.stop - part.start)
            ahead = cross[:, part].reshape(seasons, season, -1, places)
            means = ahead.mean(axis=(1, 3))
            mixed = folded[:, :places].mean(axis=(1, 3))
            own = np.einsum("apbp->ab", folded[:, :places, :, :places]) / places - mixed - mixed.T
            own += folded.mean(axis=(1, 3))
            self._parts.append((part, _Standard(own), np.einsum("apjp->aj", ahead[:, :places]) / places - means, means))

    def solve(self, penalty: float) -> tuple[Floats, Floats]:
        """Weights (p, H) and bias (H), as `Ridge` has them."""
        weights = np.zeros((len(self.mean), len(self.level)), self.mean.dtype)
        for part, of_shapes, shapes, means in self._parts:
            places = min(self._season, part.stop - part.start)
            shape, level = of_shapes.solve(shapes, penalty), self._of_means.solve(means, penalty)
            same = np.eye(self._season, places, dtype=weights.dtype)
            found = shape[:, None, :, None] * same[:, None, :] + (level - shape)[:, None, :, None] / self._season
            weights[self._lags, part] = found.reshape(-1, part.stop - part.start)
        return weights, self.level - self.mean @ weights


class _Standard:
    """Normal equations of standardised columns."""

    def __init__(self, gram: Floats) -> None:
        self._factor = factor_of(np.sqrt(np.maximum(np.diag(gram), 0.0)), np.zeros(len(gram)))
        self._gram = gram * self._factor[:, None] * self._factor

    def solve(self, cross: Floats, penalty: float) -> Floats:
        left = self._gram.copy()
        left.flat[:: len(left) + 1] += penalty
        return np.asarray(np.linalg.solve(left, cross * self._factor[:, None]) * self._factor[:, None])
