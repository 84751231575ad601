"""Paired differences between arms, with an interval from a seeded block bootstrap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.evaluation.metrics import Scored, quantile_losses, scaled_losses
from mcp_forecast_engine.evaluation.plan import ENOUGH_WINDOWS, MANY_SERIES, BacktestPlan
from mcp_forecast_engine.evaluation.report import Comparison

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def compare(arm: str, against: str, scored: Scored, other: Scored, plan: BacktestPlan) -> tuple[Comparison, ...]:
    """Skill of `arm` over `against` on the same rows, for MASE and WQL."""
    pairs = (("MASE", scaled_losses(scored), scaled_losses(other)),)
    both = (*pairs, ("WQL", quantile_losses(scored), quantile_losses(other)))
    return tuple(_one(arm, against, name, mine, theirs, scored, plan) for name, mine, theirs in both)


def _one(
    arm: str, against: str, metric: str, mine: Floats, theirs: Floats, scored: Scored, plan: BacktestPlan
) -> Comparison:
    usable = np.isfinite(mine) & np.isfinite(theirs)
    group, unit, block = _groups(scored.window[usable], scored.series[usable])
    sums = np.stack([np.bincount(group, weights=loss[usable]) for loss in (mine, theirs)]).astype(np.float64)
    skill = _skill(sums.sum(axis=1)) if usable.any() else float("nan")
    low, high = _interval(sums, block=block, samples=plan.bootstrap_samples, seed=plan.seed) if block else (None, None)
    definition = f"1 - sum of {metric} losses / sum of those of {against}, over the same windows and series"
    definition += f"; 95 % interval from {plan.bootstrap_samples} samples of {unit}" if block else "; too few windows"
    return Comparison(arm, against, metric, skill, low, high, definition)


def _groups(window: Integers, series: Integers) -> tuple[Integers, str, int]:
    """What is drawn: blocks of neighbouring windows, or whole series where windows are few; 0 where both are."""
    by_window = np.unique(window, return_inverse=True)[1].astype(np.int64)
    windows = int(by_window.max()) + 1 if len(by_window) else 0
    if windows >= ENOUGH_WINDOWS:
        block = int(np.ceil(np.sqrt(windows)))
        return by_window, f"circular blocks of {block} neighbouring windows (seeded)", block
    names, by_series = np.unique(series, return_inverse=True)
    if len(names) >= MANY_SERIES:
        return by_series.astype(np.int64), "series (seeded)", 1
    return by_window, "", 0


def _interval(sums: Floats, *, block: int, samples: int, seed: int) -> tuple[float | None, float | None]:
    """Percentile interval of the skill over circular block resamples (Politis and Romano 1992)."""
    count = sums.shape[1]
    draw = np.random.default_rng(seed)
    starts = draw.integers(0, count, size=(samples, -(-count // block)))
    picked = ((starts[:, :, None] + np.arange(block)) % count).reshape(samples, -1)[:, :count]
    mine, theirs = sums[0][picked].sum(axis=1), sums[1][picked].sum(axis=1)
    if not np.all(theirs > 0):
        return None, None
    low, high = np.quantile(1 - mine / theirs, [0.025, 0.975])
    return float(low), float(high)


def _skill(totals: Floats) -> float:
    return float(1 - totals[0] / totals[1]) if totals[1] > 0 else float("nan")
