"""Scores in plain numpy, each with its exact definition; `tests` hold them against utilsforecast.

Arrays are y, forecast: (W, S, H), windows by series by steps; scale: (W, S); quantiles: (W, S, H, L).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
DECILES = tuple(round(0.1 * k, 1) for k in range(1, 10))


def mae(y: Floats, forecast: Floats) -> float:
    """Mean of |y - forecast| over everything."""
    return float(np.abs(y - forecast).mean())


def mse(y: Floats, forecast: Floats) -> float:
    """Mean of (y - forecast)^2 over everything."""
    return float(((y - forecast) ** 2).mean())


def rmse(y: Floats, forecast: Floats) -> float:
    """Root of the mean of (y - forecast)^2 over everything."""
    return float(np.sqrt(mse(y, forecast)))


def wape(y: Floats, forecast: Floats) -> float:
    """Sum of |y - forecast| over the sum of |y|."""
    return float(np.abs(y - forecast).sum() / np.abs(y).sum())


def smape(y: Floats, forecast: Floats) -> float:
    """Mean of 200 |y - forecast| / (|y| + |forecast|), 0 where both are 0; 0 to 200.

    With windows of equal length the mean over everything equals M4's mean over series of the series' own mean.
    """
    size = np.abs(y) + np.abs(forecast)
    return float((200 * np.abs(y - forecast) / np.where(size > 0, size, 1.0)).mean())


def scales(panel: Panel, season: int, origins: Integers) -> Floats:
    """Mean |y[t] - y[t - season]| over everything before each origin, (W, S); NaN where that is zero or undefined."""
    found = np.full(origins.shape, np.nan)
    for s in range(len(panel.unique_id)):
        y = panel.y[panel.offsets[s] : panel.offsets[s + 1]]
        total = np.concatenate([[0.0], np.cumsum(np.abs(y[season:] - y[:-season]))])
        count = origins[:, s] - season
        mean = total[np.clip(count, 0, None)] / np.maximum(count, 1)
        found[:, s] = np.where((count > 0) & (mean > 0), mean, np.nan)
    return found


def mase(y: Floats, forecast: Floats, scale: Floats) -> float:
    """Mean |y - forecast| of each window and series over its scale, then the mean; those without a scale left out."""
    return float(np.nanmean(np.abs(y - forecast).mean(axis=-1) / scale))


def sql(y: Floats, quantiles: Floats, levels: tuple[float, ...], scale: Floats) -> float:
    """Scaled quantile loss: 2 x pinball, mean over steps and the levels 0.1 .. 0.9, over the scale, then the mean."""
    picked = [_place(levels, level) for level in DECILES]
    loss = 2 * _pinball(y, quantiles[..., picked], np.array(DECILES)).mean(axis=(-2, -1))
    return float(np.nanmean(loss / scale))


def inside(y: Floats, quantiles: Floats, levels: tuple[float, ...], share: float) -> Floats:
    """Part of the steps inside the central interval of `share`, (W, S)."""
    low, high = (quantiles[..., _place(levels, level)] for level in ((1 - share) / 2, (1 + share) / 2))
    return np.asarray(((low <= y) & (y <= high)).mean(axis=-1), np.float64)


def coverages(y: Floats, quantiles: Floats | None, levels: tuple[float, ...]) -> dict[str, float]:
    """Coverage of the 80 % and 90 % intervals that were issued, each with a block-bootstrap interval of 95 %.

    Blocks are windows in a row, or series where there is one window only.
    """
    found: dict[str, float] = {}
    for share in (0.8, 0.9):
        if quantiles is None or not {_rounded((1 - share) / 2), _rounded((1 + share) / 2)} <= set(
            map(_rounded, levels)
        ):
            continue
        part = inside(y, quantiles, levels, share)
        name = f"cov{100 * share:.0f}"
        found[name] = float(part.mean())
        found[f"{name} low"], found[f"{name} high"] = block_interval(part.mean(axis=1 if len(part) > 1 else 0))
    return found


def block_interval(values: Floats, *, samples: int = 2_000, seed: int = 7) -> tuple[float, float]:
    """The middle 95 % of the means of resampled blocks of about n^(1/3) neighbours (circular block bootstrap)."""
    n = len(values)
    length = max(round(n ** (1 / 3)), 1)
    starts = np.random.default_rng(seed).integers(0, n, (samples, -(-n // length)))
    places = (starts[:, :, None] + np.arange(length)) % n
    means = values[places.reshape(samples, -1)[:, :n]].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _pinball(y: Floats, quantiles: Floats, levels: Floats) -> Floats:
    error = y[..., None] - quantiles
    return np.asarray(np.maximum(levels * error, (levels - 1) * error), np.float64)


def _rounded(level: float) -> float:
    return round(level, 6)


def _place(levels: tuple[float, ...], level: float) -> int:
    return [_rounded(known) for known in levels].index(_rounded(level))
