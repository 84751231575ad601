"""A task is data: which series, how far ahead, from which origins, and how its forecasts are scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Budget = Literal["small", "large"]
Scores = dict[str, float]


@dataclass(frozen=True)
class Forecasts:
    """What was issued for W windows of S series, in the panel's order of series.

    median: (W, S, horizon), the point forecast. quantiles: (W, S, horizon, levels), ascending, or None where only a
    point was issued. cpu_s: CPU seconds for choosing, fitting and forecasting. peak_rss_mb: of the process that
    forecast, where it was not this one. notes: what a reader should know.
    """

    median: Floats
    quantiles: Floats | None = None
    levels: tuple[float, ...] = ()
    cpu_s: float = 0.0
    peak_rss_mb: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One question to forecast.

    read: folder of the data → panel that ends with the last scored step. season_length: what a user would declare, m.
    Origins are `stride` steps apart, the last one `horizon` before the end of each series; `test_windows` of them.
    fit_rows, choose_rows: rows of each series that may fit and that may choose, where the protocol says so (then no
    refit either); None: everything before an origin. score: (panel, task, forecasts) → figures. naive: the rule
    that everyone has to beat.
    """

    name: str
    read: Callable[[Path], Panel]
    horizon: int
    season_length: int
    score: Callable[[Panel, Task, Forecasts], Scores]
    naive: Callable[[Panel, Task], Forecasts]
    stride: int = 1
    test_windows: int = 1
    fit_rows: int | None = None
    choose_rows: int | None = None


@dataclass(frozen=True)
class Aim:
    """What a row is for: limits that its scores must not exceed, within CPU seconds (None: not limited)."""

    name: Literal["floor", "goal", "stretch"]
    scores: Mapping[str, float]
    cpu_s: float | None = None


@dataclass(frozen=True)
class Published:
    """Figures of others for the same row, and where they stand."""

    name: str
    scores: Scores
    source: str


def _flat(parts: Mapping[str, Scores]) -> Scores:
    """One task's scores as they are; of several, each under its task's name."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    return {f"{name} {score}": value for name, scores in parts.items() for score, value in scores.items()}


def _none(folder: Path) -> tuple[Published, ...]:
    return ()


@dataclass(frozen=True)
class Row:
    """A row of the table: one task or several, what is aimed at, what others reached.

    columns: the scores the table shows. gather: scores by task → scores of the row. published: folder → figures.
    references: folder → point forecasts (W, S, horizon) that were published, to be tested against. peers: names in
    `peers.PEERS`. definition: what each score is, in words.
    """

    name: str
    title: str
    tasks: tuple[Task, ...]
    columns: tuple[str, ...]
    definition: str
    aims: tuple[Aim, ...] = ()
    gather: Callable[[Mapping[str, Scores]], Scores] = _flat
    published: Callable[[Path], tuple[Published, ...]] = _none
    references: Callable[[Path], Mapping[str, Floats]] | None = None
    peers: tuple[str, ...] = field(default=())


def origins(panel: Panel, task: Task) -> Integers:
    """Steps of history at each origin, int64 (W, S), ascending. Raises ValueError where a series is too short."""
    back = task.horizon + np.arange(task.test_windows - 1, -1, -1) * task.stride
    found = panel.lengths[None, :] - back[:, None]
    if found.min() < 1:
        shortest = int(panel.lengths.min())
        raise ValueError(f"{task.name}: a series has {shortest} steps, its windows need {int(back.max()) + 1}")
    return np.asarray(found, np.int64)


def truth(panel: Panel, task: Task) -> Floats:
    """What happened over the horizon of every window, (W, S, horizon)."""
    first = panel.offsets[:-1][None, :] + origins(panel, task)
    return np.asarray(panel.y[first[:, :, None] + np.arange(task.horizon)], np.float64)


def check(panel: Panel, task: Task, forecasts: Forecasts) -> None:
    """Refuse forecasts of another shape, absent values and crossing quantiles: a score would hide them."""
    shape = (task.test_windows, len(panel.unique_id), task.horizon)
    if forecasts.median.shape != shape:
        raise ValueError(f"{task.name}: the forecast has shape {forecasts.median.shape}, it must be {shape}")
    if not np.isfinite(forecasts.median).all():
        raise ValueError(f"{task.name}: {int((~np.isfinite(forecasts.median)).sum())} forecast values are not finite")
    if forecasts.quantiles is None:
        return
    if forecasts.quantiles.shape != (*shape, len(forecasts.levels)):
        raise ValueError(
            f"{task.name}: quantiles of shape {forecasts.quantiles.shape} for {len(forecasts.levels)} levels"
        )
    # NaN compares false, so an absent quantile is refused here too.
    if not bool(np.all(np.diff(forecasts.quantiles, axis=-1) >= 0)) or not np.isfinite(forecasts.quantiles).all():
        raise ValueError(f"{task.name}: quantiles cross or are absent")
