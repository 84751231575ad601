"""Paired differences between arms, on the same windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.evaluation.metrics import Scored, is_exact, mean_of, quantile_losses, scaled_losses, weighted
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.evaluation.report import Comparison
from mcp_forecast_engine.evaluation.resampling import block_of, nothing_to_save, skills_of, unit_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def compare(arm: str, against: str, scored: Scored, other: Scored, plan: BacktestPlan) -> tuple[Comparison, ...]:
    """Skill of `arm` over `against` on the same rows, for MASE and WQL; 0 where both forecast every value exactly."""
    lost = quantile_losses(scored), quantile_losses(other)
    exact = all(_exact(*pair) for pair in zip((scored, other), lost, strict=True))
    scaled = (_nothing(scored),) * 2 if exact else (scaled_losses(scored), scaled_losses(other))
    both = (("MASE", *scaled), ("WQL", *lost))
    sums, units, blocks = zip(*(_sums(mine, theirs, scored) for _, mine, theirs in both), strict=True)
    if exact:
        found = [nothing_to_save(block) for block in blocks]
    else:
        found = skills_of(sums, blocks=blocks, samples=plan.bootstrap_samples, seed=plan.seed)
    told = [
        f"1 - sum of {metric} losses / sum of those of {against}, over the same windows and series"
        + (f"; 95 % interval from {plan.bootstrap_samples} samples of {unit}, widened for few blocks (t)" if block
           else "; too few windows")
        for (metric, _, _), unit, block in zip(both, units, blocks, strict=True)
    ]  # fmt: skip
    return tuple(
        Comparison(arm, against, metric, skill.value, skill.low, skill.high, definition)
        for (metric, _, _), skill, definition in zip(both, found, told, strict=True)
    )


def _exact(scored: Scored, lost: Floats) -> bool:
    """lost: (R), decile pinball losses."""
    size = float(np.abs(scored.y)[scored.observed].sum())
    return is_exact(mean_of(np.abs(scored.errors)), weighted(float(np.nansum(lost)), size))


def _nothing(scored: Scored) -> Floats:
    """No loss per row that was scored, (R), also where a series has no change to scale errors by."""
    return np.where(scored.observed.any(axis=1), 0.0, np.nan)


def _sums(mine: Floats, theirs: Floats, scored: Scored) -> tuple[tuple[Floats, Floats], str, int]:
    """Losses of both by unit, how units are drawn in words, and the length of a block."""
    usable = np.isfinite(mine) & np.isfinite(theirs)
    group, unit, block = _groups(scored.window[usable], scored.series[usable])
    own, other = (np.bincount(group, weights=loss[usable]).astype(np.float64) for loss in (mine, theirs))
    return (own, other), unit, block


def _groups(window: Integers, series: Integers) -> tuple[Integers, str, int]:
    """The unit of every row, how units are drawn in words, and the length of a block."""
    windows, by_window = np.unique(window, return_inverse=True)
    names, by_series = np.unique(series, return_inverse=True)
    unit = unit_of(len(windows), len(names))
    block = block_of(unit, len(names) if unit == "series" else len(windows))
    if unit == "series":
        return by_series.astype(np.int64), "series (seeded)", block
    return by_window.astype(np.int64), f"circular blocks of {block} neighbouring windows (seeded)", block
