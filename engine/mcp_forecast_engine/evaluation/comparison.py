"""Paired differences between arms, on the same windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.evaluation.metrics import Scored, quantile_losses, scaled_losses
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.evaluation.report import Comparison
from mcp_forecast_engine.evaluation.resampling import block_of, skill_of, unit_of

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
    sums = [np.bincount(group, weights=loss[usable]).astype(np.float64) for loss in (mine, theirs)]
    found = skill_of(*sums, block=block, samples=plan.bootstrap_samples, seed=plan.seed)
    definition = f"1 - sum of {metric} losses / sum of those of {against}, over the same windows and series"
    drawn = f"; 95 % interval from {plan.bootstrap_samples} samples of {unit}, widened for few blocks (t)"
    definition += drawn if block else "; too few windows"
    return Comparison(arm, against, metric, found.value, found.low, found.high, definition)


def _groups(window: Integers, series: Integers) -> tuple[Integers, str, int]:
    """The unit of every row, how units are drawn in words, and the length of a block."""
    windows, by_window = np.unique(window, return_inverse=True)
    names, by_series = np.unique(series, return_inverse=True)
    unit = unit_of(len(windows), len(names))
    block = block_of(unit, len(names) if unit == "series" else len(windows))
    if unit == "series":
        return by_series.astype(np.int64), "series (seeded)", block
    return by_window.astype(np.int64), f"circular blocks of {block} neighbouring windows (seeded)", block
