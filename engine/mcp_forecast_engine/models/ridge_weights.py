"""The weights of a direct ridge at an origin: solved for every calibration window, averaged, and kept up to date."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.models.examples import POOLED, Booleans, Examples
from mcp_forecast_engine.models.regression import Driftless, FewRows, Moments, Ridge, Solver, factor_of
from mcp_forecast_engine.models.ridge_recipe import Member, Recipe
from mcp_forecast_engine.models.season_ridge import SeasonRidge
from mcp_forecast_engine.models.seasonal_naive import repeated_lags
from mcp_forecast_engine.models.spec import ForecastSpec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Solved = tuple[Floats, Floats]

FEWEST = 20
# A fit is worth renewing once this part of its windows is new: on day-ahead prices less is not felt, more is.
_RENEWED = 0.01
# Beyond so many columns weights are renewed less often, in proportion to what it costs to solve for them.
_WIDE = 1_000
# A series' own departure is held back by this much of a standardised column beside the pooled moments.
_OWN_RIDGE = 0.1
_CHUNK = 8_192


def solver_of(
    examples: Examples, recipe: Recipe, running: Running, chosen: Booleans, shares: Floats, spread: Floats | None
) -> Solver:
    """The normal equations of some windows, in the smaller of their two forms."""
    if chosen.sum() >= examples.rows.shape[1] or recipe.seasons:
        return formed(examples, recipe, running.moved(chosen), shares, spread)
    few = FewRows(examples.rows[chosen], examples.targets[chosen], shares, spread)
    return few if recipe.drift else Driftless(few, len(examples.design.lags))


def formed(
    examples: Examples, recipe: Recipe, moments: Moments, shares: Floats, spread: Floats | None = None
) -> Solver:
    """The equations that a recipe makes of sums of products, which may leave out the oldest lags."""
    lags = len(shares) - examples.rows.shape[1] + len(examples.design.lags)
    solver: Solver = (
        SeasonRidge(moments, lags, examples.layout.season_length) if recipe.seasons else Ridge(moments, shares, spread)
    )
    return solver if recipe.drift else Driftless(solver, lags)


def _no_window() -> HistoryTooShort:
    return HistoryTooShort(
        "a phase of the season has no training window", field="horizon",
        next_step="shorten the horizon, send more history, or pass a shorter `season_length`",
    )  # fmt: skip


def averaged(examples: Examples, recipe: Recipe, origin: Integers, slot: int) -> Solved:
    """Mean of the members' weights; a recent part with too few windows falls back to all of them."""
    every = examples.at(origin, 1.0, slot)
    if not every.any():
        raise _no_window()
    shares = examples.design.penalty_shares(examples.layout, recipe.future_penalty)
    alone = all(recent == 1.0 for recent, _ in recipe.members)
    spread = None if alone else examples.rows[every].std(axis=0)
    solvers: dict[float, Solver] = {}
    solved = []
    for recent, penalty in recipe.members:
        if recent not in solvers:
            chosen = examples.at(origin, recent, slot)
            solvers[recent] = solver_of(
                examples, recipe, Running(examples), chosen if chosen.sum() >= FEWEST else every, shares, spread
            )
        solved.append(solvers[recent].solve(penalty))
    return mean_of(solved)


def mean_of(solved: list[Solved]) -> Solved:
    """The mean of several weights and biases."""
    if len(solved) == 1:
        return solved[0]
    weights, bias = zip(*solved, strict=True)
    return np.mean(weights, axis=0), np.mean(bias, axis=0)


def with_naive(solved: Solved, examples: Examples, recipe: Recipe, spec: ForecastSpec) -> Solved:
    """Mix seasonal naive into the weights: the lags come first among the regressors."""
    (weights, bias), share = solved, recipe.naive_share
    if not share:
        return solved
    weights = (1 - share) * weights
    repeated = repeated_lags(recipe.spec(spec), recipe.naive_period)
    weights[..., np.searchsorted(examples.design.lags, repeated), np.arange(spec.horizon)] += share
    return weights, (1 - share) * bias


def own_weights(examples: Examples, recipe: Recipe, origin: Integers) -> Solved:
    """The pooled weights, then those of each series: (1 + S, p, H), and their bias, (1 + S, H); see `departures`."""
    chosen = examples.at(origin, 1.0, POOLED)
    whole, ridge = pooled_ridge(examples, recipe, chosen)
    pooled = ridge.solve(recipe.members[0][1])
    weights, bias = np.tile(pooled[0], (1 + len(origin), 1, 1)), np.tile(pooled[1], (1 + len(origin), 1))
    for place, (found,) in departures(examples, recipe, chosen, whole, pooled, [recipe.local or 0.0]):
        weights[1 + place] += found[0]
        bias[1 + place] += found[1]
    return weights, bias


def pooled_ridge(examples: Examples, recipe: Recipe, chosen: Booleans) -> tuple[Moments, Solver]:
    """Sums of products over all series, and their equations."""
    whole = Running(examples).moved(chosen)
    shares = examples.design.penalty_shares(examples.layout, recipe.future_penalty)
    return whole, formed(examples, recipe, whole, shares)


def departures(
    examples: Examples, recipe: Recipe, chosen: Booleans, whole: Moments, pooled: Solved, penalties: Sequence[float]
) -> Iterator[tuple[int, list[Solved]]]:
    """How each series departs from the pooled weights: series, and weights (p, H) and bias (H) to add, by penalty.

    B_u - B = (G_u + l (G + 0.1 I))^-1 (C_u - G_u B) on standardised columns and a constant, l = penalty times the usual
    number of windows of a series: one with few windows keeps the pooled weights by itself.
    """
    n, p = whole.count, len(whole.total)
    mean = whole.total / n
    spread = np.sqrt(np.maximum(np.diag(whole.gram) / n - mean**2, 0.0))
    factor = factor_of(spread, mean)
    hold = np.zeros((p + 1, p + 1), whole.gram.dtype)
    hold[:p, :p] = (whole.gram / n - np.outer(mean, mean)) * factor[:, None] * factor
    hold[p, p] = 1.0
    place = np.flatnonzero(chosen)
    names, begin, counts = np.unique(examples.series[place], return_index=True, return_counts=True)
    hold.flat[:: p + 2] += _OWN_RIDGE
    if not recipe.drift:
        mean[: len(examples.design.lags)] = 0.0
    hold *= float(np.median(counts))
    for name, start, count in zip(names, begin, counts, strict=True):
        own = place[start : start + count]
        x = np.full((count, p + 1), float(recipe.drift), examples.rows.dtype)
        x[:, :p] = (examples.rows[own] - mean) * factor
        cross = x.T @ (examples.targets[own] - examples.rows[own] @ pooled[0] - pooled[1])
        gram, found = x.T @ x, []
        for penalty in penalties:
            moved = np.linalg.solve(gram + penalty * hold, cross)
            step = moved[:-1] * factor[:, None]
            found.append((step, moved[-1] - mean @ step))
        yield int(name), found


class Running:
    """Sums of products over some windows, moved from one choice of windows to the next by what comes and goes."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples
        self._held = np.zeros(len(examples.rows), bool)
        self._moments = self._empty()

    def moved(self, chosen: Booleans) -> Moments:
        """The sums over `chosen` (R); valid until the next call."""
        if (chosen != self._held).sum() > chosen.sum():
            self._moments, self._held = self._empty(), np.zeros(len(chosen), bool)
        for mask, sign in ((chosen & ~self._held, 1), (self._held & ~chosen, -1)):
            for part in _pieces(np.flatnonzero(mask)):
                self._moments.add(self._examples.rows[part], self._examples.targets[part], sign=sign)
        self._held = chosen
        return self._moments

    def _empty(self) -> Moments:
        rows, targets = self._examples.rows, self._examples.targets
        return Moments.empty(rows.shape[1], targets.shape[1], rows.dtype.type)


def _pieces(places: Integers) -> list[Integers]:
    """Places in chunks that are copied one at a time."""
    return [places[start : start + _CHUNK] for start in range(0, len(places), _CHUNK)]


class Renewal:
    """One calibration window in one slot, moved along the history: windows come and go, the weights follow.

    Not thread-safe; fed with ascending origins.
    """

    def __init__(
        self, examples: Examples, recipe: Recipe, member: Member, slot: int, shares: Floats, spread: Floats
    ) -> None:
        """spread: (p), as for `Ridge`, of the windows before the first origin."""
        self._examples, self._recipe, self._member, self._slot = examples, recipe, member, slot
        self._shares, self._spread = shares, spread
        self._running = Running(examples)
        self._solved_on = np.zeros(len(examples.rows), bool)
        self._solved: Solved | None = None

    def at(self, origin: Integers) -> Solved:
        """Weights and bias of the window that ends at `origin` (S), solved again where enough of it is new."""
        recent, penalty = self._member
        chosen = self._examples.at(origin, recent, self._slot)
        if chosen.sum() < FEWEST:
            chosen = self._examples.at(origin, 1.0, self._slot)
        if not chosen.any():
            raise _no_window()
        new = int((chosen & ~self._solved_on).sum())
        share = _RENEWED * max(len(self._shares) / _WIDE, 1.0) ** 3
        if self._solved is None or new >= max(share * chosen.sum(), 1):
            solver = solver_of(self._examples, self._recipe, self._running, chosen, self._shares, self._spread)
            self._solved, self._solved_on = solver.solve(penalty), chosen
        return self._solved
