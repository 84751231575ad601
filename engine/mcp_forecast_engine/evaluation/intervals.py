"""Split-conformal quantiles: how wide past errors were says how wide the next interval is."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.spec import QUANTILES

Floats = NDArray[np.float64]

ENOUGH_RESIDUALS = 150


def conformal_offsets(residuals: Floats, levels: tuple[float, ...] = QUANTILES) -> Floats:
    """Quantile offsets per horizon step, (horizon, levels), ascending in the level.

    residuals: (n, horizon), truth minus path in the windows' units, NaN where unobserved. Steps are pooled with their
    neighbours until 150 residuals are together. Ranks are those of split conformal prediction (Vovk et al. 2005):
    the ceil(q (n + 1))-th smallest above the median, the floor(q (n + 1))-th below. No residuals: zeros.
    """
    horizon = residuals.shape[1]
    out = np.zeros((horizon, len(levels)))
    for step in range(horizon):
        pool = _pool(residuals, step)
        if len(pool):
            out[step] = pool[_ranks(len(pool), levels)]
    return out


def _pool(residuals: Floats, step: int) -> Floats:
    """Sorted residuals of a step and of as many neighbours on both sides as are needed."""
    horizon = residuals.shape[1]
    for radius in range(horizon):
        near = residuals[:, max(step - radius, 0) : step + radius + 1]
        pool = near[np.isfinite(near)]
        if len(pool) >= ENOUGH_RESIDUALS:
            break
    return np.sort(pool)


@lru_cache(maxsize=4096)
def _ranks(count: int, levels: tuple[float, ...]) -> NDArray[np.int64]:
    # Rounding first: 0.9 * 10 must be 9 on every platform.
    exact = np.round(np.array(levels) * (count + 1), 9)
    rank = np.where(np.array(levels) < 0.5, np.floor(exact), np.ceil(exact))
    rank = np.where(np.array(levels) == 0.5, np.round((count + 1) / 2), rank)
    return np.clip(rank.astype(np.int64) - 1, 0, count - 1)
