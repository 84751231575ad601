"""A graph on its way into MIL, Core ML's intermediate language: what is translated so far, and what a node reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import helper

from mcp_forecast_engine.errors import ModelUntranslatable

Write = Callable[["Translation", Any], Any]  # translation, ONNX node -> its output in MIL, or a tuple of its outputs
# Core ML has neither doubles nor 64-bit integers.
_NARROW: Mapping[type, type] = {np.float64: np.float32, np.int64: np.int32}


@dataclass(frozen=True)
class Translation:
    """Nodes are translated one after the other.

    builder: `coremltools.converters.mil.Builder`, inside a program. found: by name, MIL variables, and constants as
    arrays; grows. operations: how each is written.
    """

    builder: Any
    operations: Mapping[str, Write]
    found: dict[str, Any]

    def node(self, node: Any) -> None:
        """Translate one node. Raises ModelUntranslatable where the table lacks its operation."""
        if node.op_type not in self.operations:
            raise ModelUntranslatable(
                f"the model uses {node.op_type}, which is not translated to Core ML",
                allowed=sorted(self.operations),
                next_step="serve this model as ONNX, or author one of another family",
            )
        made = self.operations[node.op_type](self, node)
        self.found.update(zip(node.output, made if isinstance(made, tuple) else (made,), strict=False))

    def inside(self, found: Mapping[str, Any]) -> Translation:
        """A translation of the body of a node, which sees what is outside."""
        return replace(self, found={**self.found, **found})

    def values(self, node: Any) -> list[Any]:
        """What the node reads."""
        return [self.found[name] for name in node.input if name]

    def whole(self, node: Any, place: int) -> list[int]:
        """A constant input as a list of integers."""
        return [int(np.clip(v, -(2**31), 2**31 - 1)) for v in np.atleast_1d(self.found[node.input[place]])]


def narrowed(array: Any) -> Any:
    """An array in the precision that Core ML has; integers beyond it become the nearest there is."""
    found = np.asarray(array)
    if found.dtype == np.int64:
        found = np.clip(found, -(2**31), 2**31 - 1)
    return found.astype(_NARROW.get(found.dtype.type, found.dtype.type))


def attributes(node: Any) -> dict[str, Any]:
    """The attributes of a node as plain values."""
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
