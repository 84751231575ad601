"""Scores and what exactly they mean: every number carries its definition."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.spec import MEDIAN, QUANTILES

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Errors of this share of the values are those of rounding.
EXACT = 1e-6
DECILES = tuple(q for q in QUANTILES if 0.1 <= q <= 0.9)


@dataclass(frozen=True)
class Metric:
    """A measured number, NaN where it is undefined, and the sentence that says how it was measured."""

    name: str
    value: float
    definition: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; an undefined number is null."""
        return asdict(self) | {"value": self.value if np.isfinite(self.value) else None}


@dataclass(frozen=True)
class Scored:
    """Forecasts beside what happened, for R rows (a series at an origin).

    series, window: int64 (R). y: (R, horizon); observed: bool (R, horizon), the rest is not scored.
    quantiles: (R, horizon, levels). scale: (S), the seasonal change of every series before the first test origin.
    season_length: the m of that scale.
    """

    series: Integers
    window: Integers
    y: Floats
    observed: NDArray[np.bool_]
    quantiles: Floats
    scale: Floats
    season_length: int

    @property
    def median(self) -> Floats:
        """The point forecast, (R, horizon)."""
        return self.quantiles[:, :, MEDIAN]

    @property
    def errors(self) -> Floats:
        """y - median, NaN where unobserved."""
        return np.where(self.observed, self.y - self.median, np.nan)


def all_metrics(scored: Scored) -> tuple[Metric, ...]:
    """Every metric of the report."""
    return (
        mase(scored),
        wql(scored),
        smape(scored),
        mae(scored),
        rmse(scored),
        coverage(scored, 0.1, 0.9),
        coverage(scored, 0.025, 0.975),
        pinball(scored),
    )


def mase(scored: Scored) -> Metric:
    """Mean absolute scaled error."""
    definition = (
        f"mean |y - median| per series, divided by the series' mean |y[t] - y[t - {scored.season_length}]| before the "
        "first test origin, then the mean over series; series without such a change are left out"
    )
    return Metric("MASE", mean_scaled(np.abs(scored.errors), scored.series, scored.scale), definition)


def wql(scored: Scored) -> Metric:
    """Weighted quantile loss."""
    value = weighted(float(np.nansum(_pinball(scored, DECILES))), float(np.abs(scored.y)[scored.observed].sum()))
    definition = "2 x sum of pinball losses / sum of |y|, mean over the levels 0.1, 0.2 .. 0.9, all series pooled"
    return Metric("WQL", value, definition)


def pinball(scored: Scored) -> Metric:
    """Mean pinball loss."""
    definition = f"mean of max(q (y - f), (q - 1) (y - f)) over all scored steps and the {len(QUANTILES)} levels"
    return Metric("pinball", mean_of(_pinball(scored, QUANTILES)), definition)


def smape(scored: Scored) -> Metric:
    """Symmetric mean absolute percentage error."""
    size = np.abs(scored.y) + np.abs(scored.median)
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(size > 0, 200 * np.abs(scored.errors) / size, np.where(scored.observed, 0.0, np.nan))
    definition = "mean of 200 |y - median| / (|y| + |median|), 0 where both are 0, all scored steps pooled; 0 to 200"
    return Metric("sMAPE", mean_of(part), definition)


def mae(scored: Scored) -> Metric:
    """Mean absolute error."""
    return Metric("MAE", mean_of(np.abs(scored.errors)), "mean |y - median|, all scored steps pooled")


def rmse(scored: Scored) -> Metric:
    """Root mean squared error."""
    return Metric(
        "RMSE", float(np.sqrt(mean_of(scored.errors**2))), "root of the mean (y - median)^2, all scored steps pooled"
    )


def coverage(scored: Scored, low: float, high: float) -> Metric:
    """Part of the truth inside an interval."""
    share = round(100 * (high - low))
    definition = f"part of scored steps with q{low} <= y <= q{high}; {share / 100:g} is right"
    return Metric(f"coverage_{share}", mean_of(inside(scored, low, high)), definition)


def coverage_by_step(scored: Scored, low: float, high: float) -> tuple[float, ...]:
    """Coverage at every step of the horizon, NaN where nothing was observed."""
    return tuple(mean_of(column) for column in inside(scored, low, high).T)


def is_exact(mae: float | None, wql: float | None) -> bool:
    """Whether scores say that every tested value was forecast exactly; nothing is left to save there."""
    return mae == 0 or (wql is not None and wql < EXACT)


def mean_scaled(absolute: Floats, series: Integers, scale: Floats) -> float:
    """MASE of absolute errors, (R, any), NaN where they do not count; NaN if no series has a scale."""
    per_series = _mean_by(series, absolute, len(scale))
    with np.errstate(divide="ignore", invalid="ignore"):
        return mean_of(np.where(scale > 0, per_series / scale, np.nan))


def weighted(losses: float, size: float) -> float:
    """WQL of a sum of decile pinball losses and a sum of |y|; NaN where that is zero."""
    return 2 * losses / len(DECILES) / size if size > 0 else float("nan")


def mean_of(values: Floats) -> float:
    """Mean of the finite values; NaN without any."""
    seen = np.isfinite(values)
    kept = values.ravel() if seen.all() else values[seen]
    return float(kept.mean()) if len(kept) else float("nan")


def inside(scored: Scored, low: float, high: float) -> Floats:
    """Whether each step lay within an interval, 1 or 0, (R, horizon); NaN where unobserved."""
    lower, upper = (scored.quantiles[:, :, QUANTILES.index(level)] for level in (low, high))
    within = (lower <= scored.y) & (scored.y <= upper)
    return np.where(scored.observed, within.astype(np.float64), np.nan)


def step_losses(scored: Scored) -> Floats:
    """Sum of decile pinball losses of each step, (R, horizon); NaN where unobserved."""
    return np.asarray(_pinball(scored, DECILES).sum(axis=2), np.float64)


def scaled_losses(scored: Scored) -> Floats:
    """|y - median| over the series' seasonal change, mean over the observed horizon, per row (R); NaN if undefined."""
    scale = scored.scale[scored.series]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(_row_mean(np.abs(scored.errors)) / np.where(scale > 0, scale, np.nan), np.float64)


def quantile_losses(scored: Scored) -> Floats:
    """Sum of decile pinball losses per row, (R): the numerator of WQL."""
    return np.asarray(np.nansum(_pinball(scored, DECILES), axis=(1, 2)), np.float64)


def _pinball(scored: Scored, levels: tuple[float, ...]) -> Floats:
    """(R, horizon, levels), NaN where unobserved."""
    picked = scored.quantiles[:, :, [QUANTILES.index(level) for level in levels]]
    # In place: these are the largest arrays of a backtest.
    error = np.subtract(np.where(scored.observed, scored.y, np.nan)[:, :, None], picked, out=picked)
    q = np.array(levels)
    below = (q - 1) * error
    return np.asarray(np.maximum(np.multiply(q, error, out=error), below, out=error), np.float64)


def _row_mean(values: Floats) -> Floats:
    seen = np.isfinite(values)
    count = seen.sum(axis=1)
    return np.where(count > 0, np.where(seen, values, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _mean_by(group: Integers, values: Floats, groups: int) -> Floats:
    """Mean of all finite values of each group's rows, (groups); NaN for a group without any."""
    seen = np.isfinite(values)
    total = np.bincount(group, weights=np.where(seen, values, 0.0).sum(axis=1), minlength=groups)
    count = np.bincount(group, weights=seen.sum(axis=1), minlength=groups)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
