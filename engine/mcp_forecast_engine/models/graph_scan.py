"""Tensors that are places in a graph: every operation is written down as an ONNX node, a walk as one `Scan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mcp_forecast_engine.models.graph import Graph
from mcp_forecast_engine.models.tensor import Carried, Numbers, Ring, Scanned, Step, Tensor

_DOUBLE = TensorProto.DOUBLE


@dataclass
class Sheet:
    """Where nodes are written: the graph itself (depth 0), or the body of a walk inside it.

    Constants always belong to the graph, whose names the bodies see.
    """

    graph: Graph
    constants: dict[tuple[str, tuple[int, ...], bytes], str]
    depth: int = 0
    prefix: str = ""
    nodes: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, graph: Graph) -> Sheet:
        """The graph itself."""
        return cls(graph=graph, constants={})

    def body(self, name: str) -> Sheet:
        """A fresh body; its names start with one that nothing else in the graph has."""
        return Sheet(self.graph, self.constants, self.depth + 1, f"{name}_")

    def constant(self, value: Any, dtype: type) -> str:
        """Store an array once."""
        found: NDArray[Any] = np.asarray(value, dtype)
        key = (found.dtype.str, found.shape, found.tobytes())
        if key not in self.constants:
            self.constants[key] = self.graph.constant(found, dtype)
        return self.constants[key]

    def node(self, op: str, *sources: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Write a node; returns the names of its outputs."""
        if self.depth == 0:
            stem = self.graph.node(op, *sources, outputs=outputs, **attributes).rsplit("_", 1)[0]
            return [f"{stem}_{i}" for i in range(outputs)]
        names = [f"{self.prefix}n{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(sources), names, **attributes))
        return names


@dataclass(frozen=True)
class GraphTensor(Tensor):
    """A name on a sheet."""

    sheet: Sheet
    name: str

    def apply(self, op: str, *others: Tensor | Numbers) -> Tensor:
        """Write the node on the innermost sheet of its operands."""
        parts = [_placed(other, self.sheet) for other in others]
        sheet = max((self.sheet, *(part.sheet for part in parts)), key=lambda s: s.depth)
        return GraphTensor(sheet, sheet.node(op, self.name, *(part.name for part in parts))[0])

    def constant(self, value: Numbers) -> Tensor:
        """Store it."""
        return GraphTensor(self.sheet, self.sheet.constant(value, np.float64))

    def reduce(self, op: str, axis: int) -> Tensor:
        """A reduction that keeps its axis."""
        return self._node(op, self._whole([axis]), keepdims=1)

    def running_sum(self, axis: int) -> Tensor:
        """CumSum."""
        return self._node("CumSum", self._whole(axis))

    def part(self, axis: int, start: int, stop: int) -> Tensor:
        """Slice."""
        return self._node("Slice", self._whole([start]), self._whole([stop]), self._whole([axis]))

    def take(self, places: Sequence[int], axis: int) -> Tensor:
        """Gather."""
        return self._node("Gather", self._whole(list(places)), axis=axis)

    def join(self, *others: Tensor, axis: int) -> Tensor:
        """Concat."""
        return self._node("Concat", *[_placed(other, self.sheet).name for other in others], axis=axis)

    def reshaped(self, shape: tuple[int, ...]) -> Tensor:
        """Reshape."""
        return self._node("Reshape", self._whole(list(shape)))

    def transposed(self, order: tuple[int, ...]) -> Tensor:
        """Transpose."""
        return self._node("Transpose", perm=list(order))

    def ring(self) -> Ring:
        """The places of the first axis."""
        return GraphRing(self)

    def scan(self, step: Step, start: Carried, rows: Sequence[Tensor], *, backwards: bool = False) -> Scanned:
        """One Scan node, whose body is what `step` writes on a sheet of its own."""
        walked = [self.sheet.node("Identity", _placed(row, self.sheet).name)[0] for row in rows]
        body = self.sheet.body(walked[0])
        carried = [*start.values, *(ring.stacked() for ring in start.rings)]
        ranks = [2] * len(start.values) + [3] * len(start.rings)
        taken = [GraphTensor(body, f"{body.prefix}carried{i}") for i in range(len(carried))]
        row = [GraphTensor(body, f"{body.prefix}row{i}") for i in range(len(rows))]
        values, rings = taken[: len(start.values)], taken[len(start.values) :]
        end, kept = step(Carried(tuple(values), tuple(GraphRing(ring) for ring in rings)), row)
        given = [_named(body, t) for t in (*end.values, *(ring.stacked() for ring in end.rings), *kept)]
        described = helper.make_graph(
            body.nodes,
            f"{body.prefix}body",
            [_value(t.name, rank) for t, rank in zip([*taken, *row], ranks + [2] * len(row), strict=True)],
            [_value(name, rank) for name, rank in zip(given, ranks + [2] * len(kept), strict=True)],
        )
        names = self.sheet.node(
            "Scan",
            *[_placed(t, self.sheet).name for t in carried],
            *walked,
            outputs=len(given),
            body=described,
            num_scan_inputs=len(rows),
            scan_input_directions=[int(backwards)] * len(rows),
        )
        out = [GraphTensor(self.sheet, name) for name in names]
        n = len(start.values)
        rings_out = tuple(GraphRing(t) for t in out[n : len(carried)])
        return Scanned(Carried(tuple(out[:n]), rings_out), tuple(out[len(carried) :]))

    def _node(self, op: str, *others: str, **attributes: Any) -> Tensor:
        return GraphTensor(self.sheet, self.sheet.node(op, self.name, *others, **attributes)[0])

    def _whole(self, value: int | list[int]) -> str:
        return self.sheet.constant(value, np.int64)


@dataclass(frozen=True)
class GraphRing(Ring):
    """A tensor (m, B, G) whose first place is the head."""

    places: Tensor

    def head(self) -> Tensor:
        """The first place, (B, G)."""
        assert isinstance(self.places, GraphTensor)
        sheet = self.places.sheet
        return GraphTensor(sheet, sheet.node("Gather", self.places.name, sheet.constant(0, np.int64), axis=0)[0])

    def turned(self, value: Tensor) -> Ring:
        """Drop the head, append the value."""
        assert isinstance(value, GraphTensor)
        row = GraphTensor(
            value.sheet, value.sheet.node("Unsqueeze", value.name, value.sheet.constant([0], np.int64))[0]
        )
        return GraphRing(self.places.part(0, 1, _ALL).join(row, axis=0))

    def reversed(self) -> Ring:
        """Slice with a step of minus one."""
        assert isinstance(self.places, GraphTensor)
        sheet = self.places.sheet
        start, stop, axis, step = ([-1], [-_ALL], [0], [-1])
        bounds = [sheet.constant(value, np.int64) for value in (start, stop, axis, step)]
        return GraphRing(GraphTensor(sheet, sheet.node("Slice", self.places.name, *bounds)[0]))

    def stacked(self) -> Tensor:
        """The tensor itself."""
        return self.places


_ALL = 2**31 - 1


def graph_tensor(graph: Graph, name: str) -> GraphTensor:
    """A double of the graph as a tensor to compute with."""
    return GraphTensor(Sheet.of(graph), name)


def written(tensor: Tensor) -> str:
    """The name of a tensor in its graph."""
    assert isinstance(tensor, GraphTensor)
    return tensor.name


def _placed(value: Tensor | Numbers, sheet: Sheet) -> GraphTensor:
    if isinstance(value, GraphTensor):
        return value
    return GraphTensor(sheet, sheet.constant(value, np.float64))


def _named(body: Sheet, tensor: Tensor) -> str:
    """A name of the body's own: what is handed back may be an input, or come from outside."""
    assert isinstance(tensor, GraphTensor)
    return body.node("Identity", tensor.name)[0]


def _value(name: str, rank: int) -> Any:
    return helper.make_tensor_value_info(name, _DOUBLE, [f"{name}_{i}" for i in range(rank)])
