"""Complex exponential smoothing: level and its hidden potential smoothed together, by a complex weight.

Svetunkov, Kourentzes and Ord (2022), "Complex exponential smoothing". With a season every place of the season has a
level and a potential of its own, all moved by the same weight (the "simple seasonal" form). The states before the first
step come from a walk forwards and one backwards; the weight is averaged over a grid by likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from mcp_forecast_engine.models.local_window import LocalWindow
from mcp_forecast_engine.models.tensor import Carried, Floats, Tensor, columns, likelihood_weights

_REAL = (1.05, 1.2, 1.4, 1.6, 1.8, 1.95)
_IMAGINARY = (0.97, 1.0, 1.03, 1.1)
_FIRST = 10
_POTENTIAL = 1.0 / 1.1


def _stable(real: float, imaginary: float) -> bool:
    """Errors fade: the eigenvalues of the recursion lie inside the unit circle."""
    decay = np.array([[1 - real + imaginary, imaginary - 1], [1 - real - imaginary, 1 - real]])
    return bool(np.abs(np.linalg.eigvals(decay)).max() < 0.999)


WEIGHTS: Floats = np.array([pair for pair in product(_REAL, _IMAGINARY) if _stable(*pair)]).T[:, None, :]


def ces_path(window: LocalWindow, horizon: int) -> Tensor:
    """The path in the window's units, (B, horizon)."""
    states = _start(window)
    for backwards in (False, True):
        states, _ = _walked(window, states, backwards=backwards)
    states, squares = _walked(window, states, backwards=False)
    weights = likelihood_weights(window.loss(squares))
    return _ahead(states, weights, horizon)


def _start(window: LocalWindow) -> Carried:
    """Levels begin at the mean of the first steps, with a season at the first value of each place."""
    m, wide = window.season, np.zeros_like(WEIGHTS[0])
    early = (-window.ages()).above(-(_FIRST + 0.5)).choose(1.0, 0.0) * window.mask
    level = (window.y * early).sum(1) / early.sum(1).at_least(1.0)
    if m > 1:
        seasons = window.length // m
        y, genuine = window.y.reshaped((-1, seasons, m)), window.mask.reshaped((-1, seasons, m))
        before = genuine.part(1, 0, 1) * 0.0
        first = genuine - (before.join(genuine.part(1, 0, seasons - 1), axis=1) if seasons > 1 else before)
        seen = first.sum(1).reshaped((0, -1))
        level = seen.above(0.5).choose((y * first).sum(1).reshaped((0, -1)), level)
    places = columns(level) + wide[None]
    return Carried((), (places.ring(), (places * _POTENTIAL).ring()))


def _walked(window: LocalWindow, states: Carried, *, backwards: bool) -> tuple[Carried, Tensor]:
    """The states after a walk over the history, and the sum of squared errors of one step ahead, (B, G)."""
    real, imaginary = WEIGHTS
    to_level, to_potential = real - imaginary, real + imaginary

    def step(carried: Carried, row: Sequence[Tensor]) -> tuple[Carried, tuple[Tensor, ...]]:
        (squares,), (levels, potentials) = carried.values, carried.rings
        level, potential, (y, genuine) = levels.head(), potentials.head(), row
        error = (y - level) * genuine
        held = potential * genuine
        moved = level + error * to_level - held * (1.0 - imaginary)
        hidden = potential + (level - potential * real) * genuine + error * to_potential
        return Carried((squares + error * error,), (levels.turned(moved), potentials.turned(hidden))), ()

    rings = tuple(ring.reversed() for ring in states.rings) if backwards else states.rings
    start = Carried((window.y.part(1, 0, 1) * 0.0 + np.zeros_like(real),), rings)
    end = window.y.scan(step, start, [columns(window.y), columns(window.mask)], backwards=backwards).end
    rings = tuple(ring.reversed() for ring in end.rings) if backwards else end.rings
    return Carried((), rings), end.values[0]


def _ahead(states: Carried, weights: Tensor, horizon: int) -> Tensor:
    real, imaginary = WEIGHTS

    def step(carried: Carried, row: Sequence[Tensor]) -> tuple[Carried, tuple[Tensor, ...]]:
        levels, potentials = carried.rings
        level, potential = levels.head(), potentials.head()
        rings = (
            levels.turned(level - potential * (1.0 - imaginary)),
            potentials.turned(level + potential * (1.0 - real)),
        )
        return Carried((), rings), ((level * weights).sum(1),)

    clock = columns(weights.sum(1) + np.zeros((1, horizon)))
    (kept,) = clock.scan(step, states, [clock]).kept
    return kept.reshaped((horizon, -1)).transposed((1, 0))
