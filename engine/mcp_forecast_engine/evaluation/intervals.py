"""Split-conformal quantiles: how wide past errors were says how wide the next interval is."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.spec import QUANTILES

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ENOUGH_RESIDUALS = 150


def conformal_offsets(residuals: Floats, levels: tuple[float, ...] = QUANTILES) -> Floats:
    """Quantile offsets per horizon step, (horizon, levels), ascending in the level.

    residuals: (n, horizon), truth minus path in the windows' units, NaN where unobserved. Steps are pooled with their
    neighbours until 150 residuals are together. Ranks are those of split conformal prediction (Vovk et al. 2005):
    the ceil(q (n + 1))-th smallest above the median, the floor(q (n + 1))-th below. No residuals: zeros.
    """
    seen = np.isfinite(residuals)
    first, last, count = _neighbours(seen)
    whole = count == (last - first) * len(residuals)
    out = np.zeros((residuals.shape[1], len(levels)))
    for width in np.unique((last - first)[whole & (count > 0)]):  # pools of one size without a gap, sorted together
        steps = np.flatnonzero(whole & (last - first == width))
        near = residuals[:, first[steps][:, None] + np.arange(width)]
        pools = np.sort(near.transpose(1, 0, 2).reshape(len(steps), -1), axis=1)
        out[steps] = pools[:, _ranks(pools.shape[1], levels)]
    for step in np.flatnonzero(~whole & (count > 0)):
        near = residuals[:, first[step] : last[step]]
        pool = np.sort(near[seen[:, first[step] : last[step]]])
        out[step] = pool[_ranks(len(pool), levels)]
    return out


def _neighbours(seen: NDArray[np.bool_]) -> tuple[Integers, Integers, Integers]:
    """For every step the columns first .. last - 1 that are pooled, as many on both sides as are needed, and how many
    residuals they hold; seen: (n, horizon)."""
    horizon = seen.shape[1]
    upto = np.concatenate([[0], np.cumsum(seen.sum(axis=0))])
    step = np.arange(horizon)
    radius = np.zeros(horizon, np.int64)
    for _ in range(horizon - 1):
        count = upto[np.minimum(step + radius + 1, horizon)] - upto[np.maximum(step - radius, 0)]
        few = count < ENOUGH_RESIDUALS
        if not few.any():
            break
        radius += few
    first, last = np.maximum(step - radius, 0), np.minimum(step + radius + 1, horizon)
    return first, last, upto[last] - upto[first]


@lru_cache(maxsize=4096)
def _ranks(count: int, levels: tuple[float, ...]) -> NDArray[np.int64]:
    # Rounding first: 0.9 * 10 must be 9 on every platform.
    exact = np.round(np.array(levels) * (count + 1), 9)
    rank = np.where(np.array(levels) < 0.5, np.floor(exact), np.ceil(exact))
    rank = np.where(np.array(levels) == 0.5, np.round((count + 1) / 2), rank)
    return np.clip(rank.astype(np.int64) - 1, 0, count - 1)
