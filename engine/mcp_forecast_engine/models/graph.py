"""Writes ONNX nodes by name, one after the other; knows nothing of forecasting."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 10


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
        """Add a node and return the name of its last output."""
        names = [f"n{len(self._nodes)}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0]

    def mean(self, source: str, axis: int, *, keep: bool) -> str:
        """Average over an axis."""
        return self.node("ReduceMean", source, self.constant([axis], np.int64), keepdims=int(keep))

    def cast(self, source: str, to: int) -> str:
        """Change the element type."""
        return self.node("Cast", source, to=to)

    def model(self, name: str, metadata: dict[str, str]) -> bytes:
        """The finished model as bytes: no date, no path, nothing of this machine."""
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._constants)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="mcp-forecast")
        for key in sorted(metadata):
            entry = model.metadata_props.add()
            entry.key, entry.value = key, metadata[key]
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))
