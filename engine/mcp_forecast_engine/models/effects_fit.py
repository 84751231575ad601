"""What a season, covariates and a trend add to each series: learned for all, for groups, then for each series alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.basis import Basis
from mcp_forecast_engine.models.features import Layout, phase_of
from mcp_forecast_engine.models.regression import factor_of
from mcp_forecast_engine.models.scaling import LOG_UNIT

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# A departure is held back by this much of a standardised column beside the pooled moments, as the ridge's own weights.
_OWN_RIDGE = 0.1
# What holds back a group's departure, in parts of the usual series: groups are of several, and differ if they do.
_KIN = 0.3
MOST_HARMONICS = 12


@dataclass(frozen=True)
class Moments:
    """Products of one series' columns with each other and with its target, both about their means, per series.

    gram: (S, P, P). cross: (S, P). count: (S), rows.
    """

    gram: Floats
    cross: Floats
    count: Floats


def season_basis(season: int, harmonics: int) -> Floats:
    """Sines and cosines of a season by its places, (m, J); harmonics: how many pairs, fewer in a short season."""
    place = 2 * np.pi * np.arange(season) / season
    waves = [np.cos(k * place) for k in range(1, min(harmonics, season // 2) + 1)]
    waves += [np.sin(k * place) for k in range(1, min(harmonics, (season - 1) // 2) + 1)]
    return np.array(waves, np.float64).reshape(-1, season).T


def bent(y: Floats, unit: Floats | float, log: bool) -> Floats:
    """Values in units of their series, as logarithms of one and ten times that where asked."""
    return np.asarray(np.log1p(np.maximum(y, 0.0) / (LOG_UNIT * unit)) if log else y / unit, np.float64)


def moments_of(panel: Panel, layout: Layout, drivers: Basis, waves: Floats, *, log: bool, likeness: float) -> Moments:
    """Read a panel once: season, covariates and time against the target, in units of each series' last steps.

    likeness: the part of a step's error that the next one is taken to repeat; it is taken off rows first (Cochrane and
    Orcutt 1949), so that a level that wanders is not read as an effect. A series of no rows has no moments.
    """
    p, count = waves.shape[1] + drivers.size + 1, len(panel.unique_id)
    phase = phase_of(panel.ds, panel.axis, layout.season_length)
    values = np.stack([panel.covariates[name] for name in drivers.columns], axis=1) if drivers.columns else None
    gram, cross, rows = np.zeros((count, p, p)), np.zeros((count, p)), np.zeros(count)
    for place, (start, end) in enumerate(zip(panel.offsets[:-1], panel.offsets[1:], strict=True)):
        y = panel.y[start:end]
        unit = float(np.abs(y[-layout.lookback :]).mean()) if len(y) else 0.0
        if unit <= 0.0 or len(y) < 3:
            continue
        table = np.empty((len(y), p + 1))
        table[:, : waves.shape[1]] = waves[phase[start:end]]
        if values is not None:
            table[:, waves.shape[1] : -2] = drivers.expand(values[start:end])
        table[:, -2], table[:, -1] = np.arange(len(y)), bent(y, unit, log)
        table = table[1:] - likeness * table[:-1]
        table -= table.mean(axis=0)
        whole = table.T @ table
        gram[place], cross[place], rows[place] = whole[:-1, :-1], whole[:-1, -1], len(table)
    return Moments(gram, cross, rows)


@dataclass(frozen=True)
class Held:
    """How strongly effects are held back. ridge: of those that all share, in parts of a standardised column; own: of a
    series' departure, and of a group's where that is less, in parts of the usual series. trend: whether there is one.
    """

    ridge: float
    own: float
    trend: bool


def effects_of(found: Moments, labels: Sequence[Integers], held: Held) -> tuple[Floats, list[Floats], Floats]:
    """Effects that all series share (P), what each label adds, a table (values, P) per labelling, and each series' own
    departure (S, P).

    labels: int64 (S) each, the group of every series under one static column. Each departure is what is left by those
    before it, B_u = (G_u + l (G + 0.1 I))^-1 (C_u - G_u B): one with few rows keeps what is shared by itself.
    """
    total = max(float(found.count.sum()), 1.0)
    gram, cross = found.gram.sum(axis=0) / total, found.cross.sum(axis=0) / total
    factor = factor_of(np.sqrt(np.maximum(np.diag(gram), 0.0)), np.zeros(len(gram)))
    factor = factor * (np.arange(len(factor)) < len(factor) - 1 + held.trend)
    scale = factor[:, None] * factor
    gram, every = gram * scale, found.gram * scale
    shared = np.linalg.solve(gram + held.ridge * np.eye(len(gram)), cross * factor)
    left = found.cross * factor - every @ shared
    usual = float(np.median(found.count[found.count > 0])) if found.count.any() else 1.0
    hold = (gram + _OWN_RIDGE * np.eye(len(gram))) * usual
    tables = []
    for label in labels:
        groups = int(label.max()) + 1
        own_gram, own_left = np.zeros((groups, *gram.shape)), np.zeros((groups, len(gram)))
        np.add.at(own_gram, label, every)
        np.add.at(own_left, label, left)
        step = np.linalg.solve(own_gram + min(held.own, _KIN) * hold, own_left[:, :, None])[:, :, 0]
        left = left - (every @ step[label][:, :, None])[:, :, 0]
        tables.append(step * factor)
    own = np.zeros_like(left)
    if len(found.count) > 1:
        own = np.linalg.solve(every + held.own * hold, left[:, :, None])[:, :, 0]
    return shared * factor, tables, own * factor
