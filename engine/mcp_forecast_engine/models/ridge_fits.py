"""The fits of one trial of direct ridges: sums and products that its options share are taken once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.examples import POOLED, Booleans, Examples
from mcp_forecast_engine.models.regression import Driftless, FewRows, Solver, factor_of
from mcp_forecast_engine.models.ridge_recipe import Recipe
from mcp_forecast_engine.models.ridge_weights import Running, formed

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
# A penalty to the path of the windows asked for, in the windows' units.
Answer = Callable[[float], Floats]

# Windows of a slot, as a multiple of the columns, up to which their products are taken once for all fits.
_ALL_AT_ONCE = 1.5


class Fits:
    """Solves one trial's options; not thread-safe.

    rows: (n, p), regressors of the windows that are asked for.
    """

    def __init__(self, examples: Examples, recipe: Recipe, rows: Floats) -> None:
        self._examples, self._recipe, self._rows = examples, recipe, rows
        self._shares = examples.design.penalty_shares(examples.layout, recipe.future_penalty)
        self._sums: dict[tuple[int, float], Running] = {}
        self._near: dict[tuple[int, int], Neighbours | None] = {}
        self._spread: tuple[Booleans | None, Floats] = None, np.zeros(0)

    def answers(
        self, slot: int, part: float, *, chosen: Booleans, every: Booleans, lookbacks: Sequence[int], asked: Integers
    ) -> Iterator[tuple[int, Answer]]:
        """For every lookback what a penalty answers, fitted on `chosen` (R), a recent part of `every` (R).

        asked: which of the rows. The sums of the longest lookback hold those of the others.
        """
        p = len(self._shares)
        moments = (
            None
            if chosen.sum() < p and not self._recipe.seasons
            else self._sums.setdefault((slot, part), Running(self._examples)).moved(chosen)
        )
        for lookback in lookbacks:
            kept = np.arange(self._examples.layout.lookback - lookback, p)
            near = None if moments is not None or not self._recipe.drift else self._neighbours(slot, lookback, kept)
            if near is not None:
                yield lookback, near.fitted(chosen, self._examples.targets[chosen], asked)
                continue
            spread = np.zeros(p) if chosen is every else self._spread_of(every)
            solver: Solver
            if moments is not None:
                whole = moments if len(kept) == p else moments.columns(kept)
                solver = formed(self._examples, self._recipe, whole, self._shares[kept], spread[kept])
            else:
                rows = self._examples.rows[chosen][:, kept]
                solver = FewRows(rows, self._examples.targets[chosen], self._shares[kept], spread[kept])
                if not self._recipe.drift:
                    solver = Driftless(solver, len(kept) - p + len(self._examples.design.lags))
            yield lookback, _answer(solver, self._rows[np.ix_(asked, kept)])

    def _neighbours(self, slot: int, lookback: int, kept: Integers) -> Neighbours | None:
        if (slot, lookback) not in self._near:
            of_slot = (self._examples.phase == slot) | (slot == POOLED)
            few = of_slot.sum() <= _ALL_AT_ONCE * len(kept)
            self._near[slot, lookback] = (
                Neighbours(self._examples.rows[:, kept], of_slot, self._shares[kept], self._rows[:, kept])
                if few
                else None
            )
        return self._near[slot, lookback]

    def _spread_of(self, every: Booleans) -> Floats:
        if self._spread[0] is not every:
            self._spread = every, self._examples.rows[every].std(axis=0)
        return self._spread[1]


def _answer(solver: Solver, rows: Floats) -> Answer:
    def path(penalty: float) -> Floats:
        weights, bias = solver.solve(penalty)
        return np.asarray(rows @ weights + bias)

    return path


class Neighbours:
    """Products of windows with each other, from which fits on any few of them are solved in as many unknowns.

    Columns are measured on all of them, which `FewRows` does for every fit anew: near enough to choose by.
    """

    def __init__(self, rows: Floats, members: Booleans, shares: Floats, asked: Floats) -> None:
        """rows: (R, p), of which `members` (R) take part; shares: as for `Ridge`. asked: (n, p)."""
        own = rows[members]
        mean = own.mean(axis=0)
        factor = (factor_of(own.std(axis=0), mean) / np.sqrt(shares)).astype(rows.dtype)
        own = (own - mean) * factor
        self._place = np.cumsum(members) - 1
        self._products, self._across = own @ own.T, ((asked - mean) * factor) @ own.T

    def fitted(self, chosen: Booleans, targets: Floats, asked: Integers) -> Answer:
        """The fit on `chosen` (R) with targets (n', H), for some of the rows asked."""
        place, level, n = self._place[chosen], targets.mean(axis=0), len(targets)
        kernel, across = self._products[np.ix_(place, place)], self._across[np.ix_(asked, place)]
        usual = kernel.mean(axis=0)
        middle = usual.mean()
        kernel = (kernel - usual - usual[:, None] + middle) / n
        across = across - across.mean(axis=1, keepdims=True) - usual + middle
        centred = (targets - level) / n

        def path(penalty: float) -> Floats:
            left = kernel.copy()
            left.flat[:: n + 1] += penalty
            return np.asarray(across @ np.linalg.solve(left, centred) + level)

        return path
