"""Several fitted models answer as one: a weighted mean, or a median, of their paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.features import Inputs, Layout, widest
from mcp_forecast_engine.models.forecaster import FittedModel, phases_of
from mcp_forecast_engine.models.graph import Graph, Ports

Floats = NDArray[np.float64]
Rule = Literal["mean", "median"]


@dataclass(frozen=True)
class Combination:
    """Members and how their paths become one. weights: (K), adding up to 1; the median does not read them.

    A member that learned some phases of the season only is left out at the others, where the rest share its weight; a
    member of weight 0 answers there if nobody else does.
    """

    family: ClassVar[str] = "combination"
    members: tuple[FittedModel, ...]
    weights: tuple[float, ...]
    rule: Rule

    @property
    def layout(self) -> Layout:
        """What the members read together."""
        return widest([member.layout for member in self.members])

    @property
    def phases(self) -> tuple[int, ...]:
        """The phases at which every member answers, () for all: at others fewer do."""
        known = [set(phases_of(member)) for member in self.members if phases_of(member)]
        return tuple(sorted(set.intersection(*known))) if known else ()

    def point(self, inputs: Inputs) -> Floats:
        """The combined path in the series' units, (B, horizon)."""
        whole = self.layout
        paths = [member.point(inputs.narrow(whole, member.layout)) for member in self.members]
        if not self.phases:
            return combined(paths, self.weights, self.rule)
        weights = self._by_phase()[inputs.phase]
        return np.asarray(np.einsum("bk,kbh->bh", weights, np.stack(paths)), np.float64)

    def write(self, graph: Graph, ports: Ports) -> str:
        """The nodes of `point`."""
        whole = self.layout
        paths = [member.write(graph, narrowed(graph, ports, whole, member.layout)) for member in self.members]
        if len(paths) == 1:
            return paths[0]
        if self.phases:
            return self._write_by_phase(graph, paths, ports.phase)
        if self.rule == "mean":
            parts = [
                graph.node("Mul", p, graph.constant(w, np.float64)) for p, w in zip(paths, self.weights, strict=True)
            ]
            return graph.node("Sum", *parts)
        return _median(graph, paths)

    def _by_phase(self) -> Floats:
        """Weights at every phase, (m, K)."""
        count = max(self.layout.season_length, 1)
        known = [phases_of(member) or range(count) for member in self.members]
        answers = np.array([[phase in phases for phases in known] for phase in range(count)], np.float64)
        weights = answers * np.array(self.weights)
        lonely = weights.sum(axis=1) <= 0
        weights[lonely] = answers[lonely]
        return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)

    def _write_by_phase(self, g: Graph, paths: list[str], phase: str) -> str:
        weights = g.node("Gather", g.constant(self._by_phase(), np.float64), phase, axis=0)
        last = g.constant([2], np.int64)
        stacked = g.node("Concat", *(g.node("Unsqueeze", path, last) for path in paths), axis=2)
        row = g.node("Unsqueeze", weights, g.constant([1], np.int64))
        return g.node("ReduceSum", g.node("Mul", stacked, row), last, keepdims=0)


def combined(paths: Sequence[Floats], weights: Sequence[float], rule: Rule) -> Floats:
    """Several paths of one shape as one."""
    if rule == "median":
        return np.asarray(np.median(np.stack(paths), axis=0), np.float64)
    total = weights[0] * paths[0]
    for weight, path in zip(weights[1:], paths[1:], strict=True):
        total = total + weight * path
    return np.asarray(total, np.float64)


def narrowed(g: Graph, ports: Ports, whole: Layout, own: Layout) -> Ports:
    """`Inputs.narrow` in the graph."""
    if whole == own:
        return ports
    target, known = ports.target, ports.known
    if own.lookback < whole.lookback:
        target = last_steps(g, target, whole.lookback, own.lookback)
        if known:
            known = g.node("Min", known, g.constant(own.lookback, np.int64))
    hist = _columns(g, ports.cov_hist, [whole.cov_hist.index(n) for n in own.cov_hist], len(whole.cov_hist), axis=2)
    if hist and own.past < whole.past:
        hist = last_steps(g, hist, whole.past, own.past)
    ahead = [whole.known_future.index(name) for name in own.known_future]
    fixed = [whole.static.index(name) for name in own.static]
    return Ports(
        target=target,
        known=known,
        cov_hist=hist,
        cov_future=_columns(g, ports.cov_future, ahead, len(whole.known_future), axis=2),
        calendar=ports.calendar,
        static=_columns(g, ports.static, fixed, len(whole.static), axis=1),
        series=ports.series if own.series else "",
        phase=ports.phase,
    )


def last_steps(g: Graph, source: str, size: int, kept: int) -> str:
    """The last steps, `kept` of `size`, of (batch, size[, columns])."""
    if kept == size:
        return source
    return g.part(source, size - kept, size)


def _columns(g: Graph, source: str, places: list[int], size: int, *, axis: int) -> str:
    if not places or places == list(range(size)):
        return source if places else ""
    return g.node("Gather", source, g.constant(places, np.int64), axis=axis)


def _median(g: Graph, paths: list[str]) -> str:
    """Half of the two middle ones, which for an odd number are the same."""
    last = g.constant([2], np.int64)
    stacked = g.node("Concat", *(g.node("Unsqueeze", path, last) for path in paths), axis=2)
    count = len(paths)
    ordered = g.node("TopK", stacked, g.constant([count], np.int64), outputs=2, axis=2, largest=0, sorted=1)
    middle = g.node("Gather", ordered, g.constant([(count - 1) // 2, count // 2], np.int64), axis=2)
    return g.mean(middle, 2, keep=False)
