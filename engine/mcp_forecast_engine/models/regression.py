"""Ridge regression from sums of products: gathered once, in chunks, solved for every output and penalty at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float64]


def one_thread() -> threadpool_limits:
    """Pin linear algebra to one thread while this is open: LAPACK's last bits differ between thread counts."""
    return threadpool_limits(limits=1)


@dataclass
class Moments:
    """Sums over n windows of products of [1, regressors (p), targets (H)]; adding windows is a rank-k update."""

    regressors: int
    sums: Floats

    @classmethod
    def empty(cls, regressors: int, targets: int) -> Moments:
        """No window yet."""
        size = 1 + regressors + targets
        return cls(regressors=regressors, sums=np.zeros((size, size)))

    def add(self, rows: Floats, targets: Floats) -> None:
        """Take in windows: rows (B, p), targets (B, H)."""
        block = np.concatenate([np.ones((len(rows), 1)), rows, targets], axis=1)
        self.sums += block.T @ block

    @property
    def count(self) -> int:
        """Windows taken in."""
        return int(self.sums[0, 0])


class Ridge:
    """The centred, standardised normal equations of one set of windows, ready to be solved for any penalty."""

    def __init__(self, moments: Moments, shares: Floats | None = None) -> None:
        """shares: (p), the part of the penalty that each column carries (default: all of it)."""
        self._shares = np.ones(moments.regressors) if shares is None else shares
        p, n = moments.regressors, max(moments.count, 1)
        mean = moments.sums[0] / n
        cov = moments.sums / n - np.outer(mean, mean)
        spread = np.sqrt(np.maximum(np.diag(cov)[1 : p + 1], 0.0))
        # A column that hardly varies in training says nothing, and must say nothing when it varies later.
        self._factor = np.where(
            spread > _CONSTANT * (1.0 + np.abs(mean[1 : p + 1])), 1.0 / np.maximum(spread, 1e-300), 0.0
        )
        self._gram = cov[1 : p + 1, 1 : p + 1] * self._factor[:, None] * self._factor
        self._cross = cov[1 : p + 1, p + 1 :] * self._factor[:, None]
        self._mean, self._level = mean[1 : p + 1], mean[p + 1 :]

    def solve(self, penalty: float) -> tuple[Floats, Floats]:
        """Weights (p, H) and bias (H) for one penalty, in units of the mean square of a standardised column."""
        solved = np.linalg.solve(self._gram + np.diag(penalty * self._shares), self._cross)
        weights: Floats = np.asarray(solved * self._factor[:, None], np.float64)
        return weights, self._level - self._mean @ weights


_CONSTANT = 1e-6
