"""Weights of a seasonal profile, learned from origins inside the history: least absolute errors, held to a prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.features import Inputs, Layout, inputs_at
from mcp_forecast_engine.models.group_shapes import group_shapes, shape_tables
from mcp_forecast_engine.models.profile_path import Weights
from mcp_forecast_engine.models.scaling import TINY
from mcp_forecast_engine.models.season_view import SeasonView, season_view, spans_of
from mcp_forecast_engine.models.static_groups import Grouping

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Without a history that tells otherwise: half of a series' own shape, half of its groups', half of its growth goes on.
OWN_SHARE = 0.5
OWN_SHARE_UNGROUPED = 0.8
GROWTH_SHARE = 0.5
ORIGINS = 12
MOST_ROWS = 150_000
_ROUNDS = 8
# Residuals below this part of the level count as squares: keeps reweighting finite.
_SMALL = 0.02
# Steps of the calendar share their shocks, however many series there are: what counts as evidence is steps.
_PENALTY = 0.003
_QUIET = 0.05


@dataclass(frozen=True)
class Seen:
    """The windows of all series at one distance from their ends: what they read, and each grouping's shapes for them.

    series: int64 (B). shapes: per grouping (B, m). weight: (B), one over how much the series moves from step to step.
    """

    back: int
    series: Integers
    inputs: Inputs
    view: SeasonView
    shapes: tuple[Floats, ...]
    weight: Floats


def seen_at(panel: Panel, layout: Layout, back: int) -> Seen:
    """The windows `back` steps before the end of every series that has a season of history there, not yet grouped.

    Series that were zero for all of it are left out: they have no shape.
    """
    m = layout.season_length
    origin = panel.lengths - back
    series = np.flatnonzero(origin >= m).astype(np.int64)
    inputs = inputs_at(panel, replace(layout, horizon=1), series, origin[series])
    sold = np.abs(inputs.target[:, -m:]).max(axis=1) > TINY
    series, inputs = series[sold], inputs.take(sold)
    view = season_view(inputs, m)
    moves = np.abs(np.diff(inputs.target[:, -max(m, 2) :], axis=1)).mean(axis=1) / view.level[:, 0]
    least = float(np.quantile(moves, _QUIET)) if len(moves) else 1.0
    weight = 1.0 / np.maximum(moves, least if least > 0 else 1.0)
    return Seen(back, series, inputs, view, (), weight)


def grouped(seen: Seen, groupings: Sequence[Grouping]) -> Seen:
    """The same windows with the shapes of their groups, measured at the same time."""
    own = seen.view.own
    tables = shape_tables(own, seen.inputs, groupings)
    return replace(seen, shapes=tuple(group_shapes(seen.inputs, groupings, tables, own.shape[1])))


def backs_for(layout: Layout, length: int, horizon: int) -> tuple[int, ...]:
    """Distances from the end at which windows are learned from; none where less than a quarter of a season is left.

    Below that no growth has been measured and one or two shocks would pass for a rule.
    """
    m = layout.season_length
    far = min(length - m - 1, horizon + max(m, 12))
    near = max(horizon // 8, 1)
    if far < max(m // 4, near):
        return ()
    return tuple(int(back) for back in np.unique(np.linspace(near, far, ORIGINS).round()))


def learn(panel: Panel, seen: Sequence[Seen], horizon: int, *, groupings: int, until: int = 0) -> Weights:
    """Weights that make the absolute errors of all windows least, in units of how much each series moves.

    Iteratively reweighted ridge around the prior: penalty 0.003 (m / steps)^3, so that a full season of targets is
    nearly free and a third of one is held. What no window shows (a growth not yet measurable) keeps its prior.
    until: nothing is learned from the last `until` steps of any series.
    """
    m = max(panel.season_length, 1)
    facts = len(spans_of(m)) + 2
    found = _prior(groupings, facts)
    ahead = [min(one.back - until, horizon) for one in seen]
    reach = max(ahead, default=horizon)
    rows = sum(len(one.series) * count for one, count in zip(seen, ahead, strict=True))
    stride = stride_for(rows, MOST_ROWS, reach)
    parts = [
        _rows(panel, one, np.arange(first_step(i, stride), count, stride), reach)
        for i, (one, count) in enumerate(zip(seen, ahead, strict=True))
    ]
    if parts:
        steps = len({one.back - step for one, count in zip(seen, ahead, strict=True) for step in range(count)})
        x, z, weight = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        found = _least_absolute(x, z, weight, found, _PENALTY * (m / steps) ** 3)
    shape, now, later = np.split(found, [2 + groupings, 2 + groupings + facts])
    return Weights(shape, now, later, reach)


def stride_for(rows: int, most: int, horizon: int) -> int:
    """Every how many steps ahead a row is taken, so that about `most` rows are left and every series has some."""
    return max(min(-(-rows // most), horizon), 1)


def first_step(origin: int, stride: int) -> int:
    """Where the stride begins at an origin: by the golden ratio, a rhythm that no season shares."""
    return int(origin * 0.6180339887498949 % 1.0 * stride)


def _prior(groupings: int, facts: int) -> Floats:
    own = OWN_SHARE if groupings else OWN_SHARE_UNGROUPED
    group = [(1.0 - own) / max(groupings, 1)] * groupings
    now = np.zeros(facts)
    now[-3] = GROWTH_SHARE
    if not groupings:
        now[-1] = 1.0 - own
    return np.concatenate([[own, 0.0, *group], now, np.zeros(facts)])


def _rows(panel: Panel, seen: Seen, step: Integers, reach: int) -> tuple[Floats, Floats, Floats]:
    """Regressors (N, F), targets and weights (N) of the observed ones among some steps ahead."""
    at = (panel.offsets[seen.series + 1] - seen.back)[:, None] + step
    view, ramp = seen.view, np.minimum(step + 1, reach) / reach
    shapes = np.stack([view.own, view.smooth, *seen.shapes], axis=2)[:, step % view.own.shape[1]]
    facts = np.broadcast_to(view.facts[:, None], (len(at), len(step), view.facts.shape[1]))
    x = np.concatenate([shapes, facts, facts * ramp[:, None]], axis=2)
    keep = panel.observed[at]
    weight = np.broadcast_to(seen.weight[:, None], at.shape)
    return x[keep], (panel.y[at] / view.level)[keep], weight[keep]


def _least_absolute(x: Floats, z: Floats, weight: Floats, prior: Floats, penalty: float) -> Floats:
    found: Floats = prior
    for _ in range(_ROUNDS):
        q = weight / np.maximum(np.abs(z - x @ found), _SMALL)
        moments = x.T @ (x * q[:, None])
        size = moments.diagonal()
        held = penalty * size + 1e-9 * max(float(size.max(initial=0.0)), 1e-12)
        found = np.asarray(np.linalg.solve(moments + np.diag(held), x.T @ (q * z) + held * prior), np.float64)
    return found
