"""Writes ONNX nodes by name, one after the other; knows nothing of forecasting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 10
# Tree ensembles are operators of their own domain.
ML_DOMAIN, ML_OPSET = "ai.onnx.ml", 3


@dataclass(frozen=True)
class Ports:
    """The names of a model's inputs in the graph, float32 and batch first; empty where it reads none.

    target (batch, lookback), known int64 (batch): how many of the last steps of target are genuine, cov_hist
    (batch, past, H), cov_future (batch, horizon, F), calendar (batch, C), static (batch, G), phase int64 (batch),
    series int64 (batch): place among the layout's series, -1 for another one.
    """

    target: str
    known: str = ""
    cov_hist: str = ""
    cov_future: str = ""
    calendar: str = ""
    static: str = ""
    phase: str = ""
    series: str = ""


class Graph:
    """Collects nodes and constants; names count up, so that the same calls give the same bytes."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, shape: tuple[str | int, ...], dtype: int = TensorProto.FLOAT) -> str:
        """Declare an input."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def output(self, name: str, source: str, shape: tuple[str | int, ...]) -> None:
        """Declare a float32 output that repeats `source`."""
        self._nodes.append(helper.make_node("Identity", [source], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def constant(self, value: Any, dtype: type) -> str:
        """Store an array."""
        name = f"c{len(self._constants)}"
        array: NDArray[Any] = np.ascontiguousarray(np.asarray(value, dtype=dtype))
        self._constants.append(numpy_helper.from_array(array.reshape(np.shape(value)), name))
        return name

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node and return the name of its first output."""
        names = [f"n{len(self._nodes)}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0]

    def mean(self, source: str, axis: int, *, keep: bool) -> str:
        """Average over an axis."""
        return self.node("ReduceMean", source, self.constant([axis], np.int64), keepdims=int(keep))

    def part(self, source: str, start: int, stop: int) -> str:
        """The numbers from `start` up to `stop` of the second axis, as a slice counts them."""
        return self.node("Slice", source, *(self.constant([value], np.int64) for value in (start, stop, 1)))

    def last(self, source: str, count: int) -> str:
        """The last numbers of the second axis."""
        return self.part(source, -count, np.iinfo(np.int64).max)

    def asinh(self, source: str) -> str:
        """Inverse hyperbolic sine of doubles: sign(x) log(|x| + sqrt(x² + 1)).

        The runtime's own Asinh knows floats alone, and this form loses nothing where x is negative.
        """
        size, one = self.node("Abs", source), self.constant(1.0, np.float64)
        root = self.node("Sqrt", self.node("Add", self.node("Mul", source, source), one))
        return self.node("Mul", self.node("Sign", source), self.node("Log", self.node("Add", size, root)))

    def sinh(self, source: str) -> str:
        """Hyperbolic sine of doubles, (exp(x) - exp(-x)) / 2: the runtime's own knows floats alone."""
        both = self.node("Sub", self.node("Exp", source), self.node("Exp", self.node("Neg", source)))
        return self.node("Mul", both, self.constant(0.5, np.float64))

    def cast(self, source: str, to: int) -> str:
        """Change the element type."""
        return self.node("Cast", source, to=to)

    def model(self, name: str, metadata: dict[str, str]) -> bytes:
        """The finished model as bytes: no date, no path; inputs that no node reads are left out."""
        read = {source for node in self._nodes for source in node.input}
        inputs = [declared for declared in self._inputs if declared.name in read]
        graph = helper.make_graph(self._nodes, name, inputs, self._outputs, self._constants)
        opset = [helper.make_opsetid("", OPSET)]
        if any(node.domain == ML_DOMAIN for node in self._nodes):
            opset.append(helper.make_opsetid(ML_DOMAIN, ML_OPSET))
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="mcp-forecast")
        for key in sorted(metadata):
            entry = model.metadata_props.add()
            entry.key, entry.value = key, metadata[key]
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))
