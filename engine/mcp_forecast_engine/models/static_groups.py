"""Series that share static values: groups by one column or by a pair, looked up from the values themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.graph import Graph
from mcp_forecast_engine.models.levels import half_gap

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_F32 = np.float32

# A column with more values than this names series rather than kinds of series; a lookup compares with every one.
MOST_LEVELS = 1_000
# Below this many series in a group on average, a group says little that a series does not say itself.
FEWEST_MEMBERS = 3.0


@dataclass(frozen=True)
class Grouping:
    """A partition of series by the values of some static columns; none of them: every series is of one group.

    columns: places in the layout's static columns. levels: per column, its values in training, ascending.
    table: int64 (n1 + 1, n2 + 1, ...), flat: the group of each combination of places among the levels (the last place:
    a value never seen); `size` where the combination was never seen. size: groups.
    """

    columns: tuple[int, ...]
    levels: tuple[Floats, ...]
    table: Integers
    size: int

    def of(self, static: Floats) -> Integers:
        """The group of each window, int64 (B), 0 .. size - 1, or `size` where it is unknown; static: (B, G)."""
        place = np.zeros(len(static), np.int64)
        for column, levels in zip(self.columns, self.levels, strict=True):
            near = np.abs(static[:, column, None] - levels) < half_gap(levels)
            place = place * (len(levels) + 1) + np.where(near.any(axis=1), near.argmax(axis=1), len(levels))
        return np.asarray(self.table[place], np.int64)

    def write(self, g: Graph, static: str) -> str:
        """The nodes of `of`: int64 (batch), or "" where all windows are of one group."""
        place = ""
        for column, levels in zip(self.columns, self.levels, strict=True):
            value = g.node("Gather", static, g.constant([column], np.int64), axis=1)
            gap = g.node("Abs", g.node("Sub", value, g.constant(levels, _F32)))
            # Twice a match beats the one of the last place, which is taken where nothing matches.
            near = g.cast(g.node("Less", gap, g.constant(half_gap(levels), _F32)), TensorProto.FLOAT)
            none = g.node("Add", g.node("Mul", value, g.constant(0.0, _F32)), g.constant(0.5, _F32))
            own = g.node("ArgMax", g.node("Concat", near, none, axis=1), axis=1, keepdims=0)
            if place:
                own = g.node("Add", g.node("Mul", place, g.constant(len(levels) + 1, np.int64)), own)
            place = own
        return g.node("Gather", g.constant(self.table, np.int64), place, axis=0) if place else ""


def static_values(panel: Panel, names: Sequence[str]) -> Floats:
    """What the named static covariates are for every series, (S, G): as at its first step."""
    first = panel.offsets[:-1]
    return np.array([panel.covariates[name][first] for name in names], np.float64).reshape(-1, len(first)).T


def grouping_by(columns: Sequence[int], static: Floats) -> Grouping:
    """Group series by some of their static columns; static: (S, G)."""
    levels = tuple(np.unique(static[:, column]) for column in columns)
    shape = tuple(len(found) + 1 for found in levels)
    place = np.zeros(len(static), np.int64)
    for column, found in zip(columns, levels, strict=True):
        place = place * (len(found) + 1) + np.searchsorted(found, static[:, column])
    seen = np.unique(place)
    table = np.full(int(np.prod(shape, dtype=np.int64)), len(seen), np.int64)
    table[seen] = np.arange(len(seen))
    return Grouping(tuple(columns), levels, table, len(seen))


def useful(columns: Sequence[int], static: Floats) -> bool:
    """Whether groups by these columns differ from no groups, from single series, and can be looked up."""
    counts = [len(np.unique(static[:, column])) for column in columns]
    if not counts or max(counts) > MOST_LEVELS or min(counts) < 2:
        return False
    groups = len(np.unique(static[:, list(columns)], axis=0))
    return groups > max(counts) * (len(counts) > 1) and len(static) >= FEWEST_MEMBERS * groups
