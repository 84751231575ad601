"""Ridge regression from sums of products, or from the windows themselves where they are fewer than the columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float64]
_PINNED: ContextVar[bool] = ContextVar("pinned", default=False)


@contextmanager
def one_thread() -> Iterator[None]:
    """Pin linear algebra to one thread while this is open: LAPACK's last bits differ between thread counts.

    Inside another one it costs nothing: finding the libraries takes a millisecond, as long as a small solve.
    """
    if _PINNED.get():
        yield
        return
    token = _PINNED.set(True)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        _PINNED.reset(token)


class Solver(Protocol):
    """The normal equations of one set of windows, ready to be solved for any penalty.

    mean: (p), of each column over the windows.
    """

    mean: Floats

    def solve(self, penalty: float) -> tuple[Floats, Floats]:
        """Weights (p, H) and bias (H), in units of the mean square of a standardised column."""
        ...


@dataclass
class Moments:
    """Sums over n windows of [1, regressors (p)] times [1, regressors, targets (H)]; windows come and go."""

    count: int
    total: Floats
    level: Floats
    gram: Floats
    cross: Floats

    @classmethod
    def empty(cls, regressors: int, targets: int, dtype: type = np.float64) -> Moments:
        """No window yet."""
        p, h = regressors, targets
        return cls(0, np.zeros(p, dtype), np.zeros(h, dtype), np.zeros((p, p), dtype), np.zeros((p, h), dtype))

    def add(self, rows: Floats, targets: Floats, *, sign: int = 1) -> None:
        """Take in windows: rows (B, p), targets (B, H); sign -1 drops what was taken in before."""
        self.count += sign * len(rows)
        self.total += sign * rows.sum(axis=0)
        self.level += sign * targets.sum(axis=0)
        self.gram += sign * (rows.T @ rows)
        self.cross += sign * (rows.T @ targets)

    def columns(self, kept: NDArray[np.int64]) -> Moments:
        """The same windows with fewer regressors."""
        return Moments(self.count, self.total[kept], self.level, self.gram[np.ix_(kept, kept)], self.cross[kept])


class Ridge:
    """The centred, standardised normal equations in p unknowns."""

    def __init__(self, moments: Moments, shares: Floats | None = None, spread: Floats | None = None) -> None:
        """shares: (p), the part of the penalty that each column carries (default: all of it).

        spread: (p), a column varies at least this much: one that is rare in these windows but not in others must not
        be blown up.
        """
        n = max(moments.count, 1)
        self.mean, self.level = moments.total / n, moments.level / n
        gram = moments.gram / n - np.outer(self.mean, self.mean)
        own = np.sqrt(np.maximum(np.diag(gram), 0.0))
        self._factor = factor_of(own, self.mean, spread)
        self._shares = np.ones(len(own)) if shares is None else shares.astype(gram.dtype)
        self._gram = gram * self._factor[:, None] * self._factor
        self._cross = (moments.cross / n - np.outer(self.mean, self.level)) * self._factor[:, None]

    def solve(self, penalty: float) -> tuple[Floats, Floats]:
        """Weights (p, H) and bias (H) for one penalty, in units of the mean square of a standardised column."""
        left = self._gram.copy()
        left.flat[:: len(left) + 1] += penalty * self._shares
        weights: Floats = np.linalg.solve(left, self._cross) * self._factor[:, None]
        return weights, self.level - self.mean @ weights


class FewRows:
    """The same solution in as many unknowns as there are windows (the dual form), where columns outnumber them."""

    def __init__(self, rows: Floats, targets: Floats, shares: Floats, spread: Floats | None = None) -> None:
        """rows: (n, p), targets: (n, H); shares, spread: as for `Ridge`."""
        self.mean, self.level = rows.mean(axis=0), targets.mean(axis=0)
        self._rows = rows - self.mean
        own = np.sqrt(np.einsum("ij,ij->j", self._rows, self._rows) / len(rows))
        self._factor = (factor_of(own, self.mean, spread) / np.sqrt(shares)).astype(rows.dtype)
        self._rows *= self._factor
        self._targets = (targets - self.level) / len(rows)
        self._kernel = self._rows @ self._rows.T / len(rows)

    def solve(self, penalty: float) -> tuple[Floats, Floats]:
        """Weights (p, H) and bias (H) for one penalty, in units of the mean square of a standardised column."""
        left = self._kernel.copy()
        left.flat[:: len(left) + 1] += penalty
        weights = (self._rows.T @ np.linalg.solve(left, self._targets)) * self._factor[:, None]
        return weights, self.level - self.mean @ weights


class Driftless:
    """A solver whose constants do not say that levels move: what is left of them is what the other columns' means take.

    lags: the leading columns, which are in the units of the target.
    """

    def __init__(self, solver: Solver, lags: int) -> None:
        self._solver, self._others = solver, slice(lags, None)
        self.mean = solver.mean

    def solve(self, penalty: float) -> tuple[Floats, Floats]:
        """Weights (p, H) and bias (H), as the solver has them but for the drift."""
        weights, _ = self._solver.solve(penalty)
        return weights, -self.mean[self._others] @ weights[self._others]


def factor_of(own: Floats, mean: Floats, spread: Floats | None = None) -> Floats:
    """One over the spread of each column; 0 for one that hardly varies: it says nothing, and must say nothing later."""
    least = own if spread is None else np.maximum(own, spread)
    limit = _CONSTANT if own.dtype == np.float64 else _CONSTANT_FLOAT
    varies = own > limit * (1.0 + np.abs(mean))
    return np.asarray(np.where(varies, 1.0 / np.where(varies, least, 1.0), 0.0), own.dtype)


# A mean square less a squared mean is good to the root of the precision.
_CONSTANT, _CONSTANT_FLOAT = 1e-6, 3e-3
