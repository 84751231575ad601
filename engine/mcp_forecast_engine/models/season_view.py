"""A window seen as seasons: its level, the shape of its season, how it grew, where it stands now."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.features import Inputs
from mcp_forecast_engine.models.scaling import TINY

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# What happened this many steps earlier counts half in the shape of a season.
HALF_LIFE = 52.0
# A growth beyond this is an opening, a closing or a fault of the data, and no growth that goes on.
MOST_GROWTH = 1.0
# Neighbours in the season that the smooth shape averages.
NEIGHBOURS = (-2, -1, 1, 2)
_LEVEL_STEPS = 12
_MOST_SEASONS = 8
_MOST_STEPS = 156


@dataclass(frozen=True)
class SeasonView:
    """B windows in parts of their level; place j of a season is the one that forecast step j falls on.

    level: (B, 1), mean absolute value of the last season (of twelve steps where that is more).
    own: (B, m), the shape: the mean over whole genuine seasons, each in parts of its own level. smooth: (B, m), mean of
    the shape's neighbours. facts: (B, A), what may move the level: growth for each span (mean of the last steps less
    that of the same steps a season before, zero where the history is too short), the mean of the last steps less one,
    and one.
    """

    level: Floats
    own: Floats
    smooth: Floats
    facts: Floats


def seasons_read(season_length: int, history: int) -> int:
    """How many seasons a window holds: three years of weeks, eight weeks of days, as far as the history goes."""
    wanted = min(max(_MOST_STEPS // season_length, 2), _MOST_SEASONS)
    return max(min(wanted, -(-history // season_length)), 1)


def spans_of(season_length: int) -> tuple[int, ...]:
    """How many last steps count as recent: a twelfth and a quarter of a season; one step and all of a short season."""
    m = season_length
    return tuple(sorted({max(m // 12, 1), m // 4 if m >= 12 else m}))


def season_weights(season_length: int, seasons: int) -> Floats:
    """How much each season counts in the shape, oldest first, (K)."""
    age = np.arange(seasons - 1, -1, -1)
    return np.asarray(0.5 ** (age * season_length / HALF_LIFE), np.float64)


def genuine_weights(known: Integers, season_length: int, seasons: int) -> Floats:
    """The part of each season in the shape, (B, K): whole genuine ones, and the last; known: (B), genuine steps."""
    whole = known[:, None] >= season_length * np.arange(seasons, 0, -1)
    # The last season counts always: where it is not whole, it was continued backwards.
    whole[:, -1] = True
    weight = np.where(whole, season_weights(season_length, seasons), 0.0)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), np.float64)


def level_seasons(season_length: int, seasons: int) -> int:
    """How many last seasons the level is the mean of."""
    return min(-(-_LEVEL_STEPS // season_length), seasons)


def season_view(inputs: Inputs, season_length: int) -> SeasonView:
    """Measure windows whose lookback is whole seasons; inputs.target: (B, K m)."""
    m, target = season_length, inputs.target
    count = target.shape[1] // m
    seasons = target.reshape(len(target), count, m)
    size = np.abs(seasons).mean(axis=2)
    level = size[:, -level_seasons(m, count) :].mean(axis=1, keepdims=True)
    own = (seasons * (genuine_weights(inputs.known, m, count) / _positive(size))[:, :, None]).sum(axis=1)
    smooth = np.mean([np.roll(own, k, axis=1) for k in NEIGHBOURS], axis=0)
    return SeasonView(level, own, smooth, _facts(target / _positive(level), inputs.known, m))


def _facts(u: Floats, known: Integers, m: int) -> Floats:
    steps = u.shape[1]
    spans = spans_of(m)
    facts = [
        np.where(
            known >= m + k,
            np.clip(u[:, -k:].mean(1) - u[:, -m - k : steps - m].mean(1), -MOST_GROWTH, MOST_GROWTH),
            0.0,
        )
        if steps >= m + k
        else np.zeros(len(u))
        for k in spans
    ]
    return np.stack([*facts, u[:, -spans[0] :].mean(axis=1) - 1.0, np.ones(len(u))], axis=1)


def _positive(size: Floats) -> Floats:
    # What is zero throughout is divided by one and stays zero.
    return np.where(size > TINY, size, 1.0)
