"""Shapes of the season that groups of series share: measured by phase, looked up for windows, written as nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.features import Inputs
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.static_groups import Grouping

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def shape_tables(own: Floats, inputs: Inputs, groupings: Sequence[Grouping]) -> tuple[Floats, ...]:
    """Per grouping the mean shape of each of its groups by phase, (size + 1, m), from windows of one distance.

    own: (B, m), the shape of each window, from its first forecast step on, in units of the window. The last row of a
    table, and phases at which a group has no window, take the mean of all windows; phases without any are 1.
    """
    place = places(inputs.phase, own.shape[1])
    pooled = _mean(own, place, np.zeros(len(own), np.int64), 1, fallback=np.ones((1, own.shape[1])))
    return tuple(_table(own, place, grouping.of(inputs.static), grouping.size, pooled) for grouping in groupings)


def group_shapes(inputs: Inputs, groupings: Sequence[Grouping], tables: Sequence[Floats], m: int) -> list[Floats]:
    """Per grouping the shape of each window's group over the next m steps, (B, m), in the unit of the tables."""
    place = places(inputs.phase, m)
    pairs = zip(groupings, tables, strict=True)
    return [table[grouping.of(inputs.static)[:, None], place] for grouping, table in pairs]


def write_group_shapes(
    g: Graph, ports: Ports, groupings: Sequence[Grouping], tables: Sequence[Floats], m: int
) -> list[str]:
    """The nodes of `group_shapes`: per grouping doubles (batch, m)."""
    last = g.constant([1], np.int64)
    place = g.node("Add", g.node("Unsqueeze", ports.phase, last), g.constant(np.arange(m), np.int64))
    place = g.node("Mod", place, g.constant(m, np.int64))
    found = []
    for grouping, table in zip(groupings, tables, strict=True):
        at, group = place, grouping.write(g, ports.static)
        if group:
            start = g.node("Mul", g.node("Unsqueeze", group, last), g.constant(m, np.int64))
            at = g.node("Add", place, start)
        found.append(g.node("Gather", g.constant(table.reshape(-1), np.float64), at, axis=0))
    return found


def places(phase: Integers, season_length: int) -> Integers:
    """The phases of the season that the next m steps fall on, int64 (B, m)."""
    return np.asarray((phase[:, None] + np.arange(season_length)) % season_length, np.int64)


def _table(own: Floats, place: Integers, group: Integers, size: int, pooled: Floats) -> Floats:
    known = group < size
    return np.concatenate([_mean(own[known], place[known], group[known], size, fallback=pooled), pooled])


def _mean(own: Floats, place: Integers, group: Integers, size: int, fallback: Floats) -> Floats:
    m = own.shape[1]
    cell = (group[:, None] * m + place).reshape(-1)
    count = np.bincount(cell, minlength=size * m).reshape(size, m)
    total = np.bincount(cell, weights=own.reshape(-1), minlength=size * m).reshape(size, m)
    return np.where(count > 0, total / np.maximum(count, 1), fallback)
