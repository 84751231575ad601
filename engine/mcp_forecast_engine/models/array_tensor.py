"""Tensors that are numpy arrays: every operation happens at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcp_forecast_engine.models.tensor import Carried, Floats, Numbers, Ring, Scanned, Step, Tensor

_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Neg": np.negative, "Abs": np.abs,
    "Exp": np.exp, "Log": np.log, "Max": np.maximum, "Min": np.minimum, "Greater": np.greater, "Where": np.where,
}  # fmt: skip
_REDUCE: dict[str, Callable[..., Any]] = {"ReduceSum": np.sum, "ReduceMin": np.min, "ReduceMax": np.max}


class ArrayTensor(Tensor):
    """A numpy array."""

    __slots__ = ("value",)

    def __init__(self, value: Floats) -> None:
        self.value = value

    def apply(self, op: str, *others: Tensor | Numbers) -> Tensor:
        """Compute it."""
        return ArrayTensor(_ELEMENTWISE[op](self.value, *[_plain(other) for other in others]))

    def constant(self, value: Numbers) -> Tensor:
        """Wrap it."""
        return ArrayTensor(np.asarray(value, np.float64))

    def reduce(self, op: str, axis: int) -> Tensor:
        """Compute it."""
        return ArrayTensor(_REDUCE[op](self.value, axis=axis, keepdims=True))

    def running_sum(self, axis: int) -> Tensor:
        """Compute it."""
        return ArrayTensor(np.cumsum(self.value, axis=axis))

    def part(self, axis: int, start: int, stop: int) -> Tensor:
        """A view."""
        return ArrayTensor(self.value[(slice(None),) * axis + (slice(start, stop),)])

    def take(self, places: Sequence[int], axis: int) -> Tensor:
        """A copy of these places."""
        return ArrayTensor(np.take(self.value, np.asarray(places, np.int64), axis=axis))

    def join(self, *others: Tensor, axis: int) -> Tensor:
        """Concatenate."""
        return ArrayTensor(np.concatenate([self.value, *[_plain(other) for other in others]], axis=axis))

    def reshaped(self, shape: tuple[int, ...]) -> Tensor:
        """Reshape; 0 keeps the length of an axis, as in ONNX."""
        own = self.value.shape
        return ArrayTensor(self.value.reshape([own[i] if size == 0 else size for i, size in enumerate(shape)]))

    def transposed(self, order: tuple[int, ...]) -> Tensor:
        """A view."""
        return ArrayTensor(np.ascontiguousarray(self.value.transpose(order)))

    def ring(self) -> Ring:
        """The places of the first axis."""
        return ArrayRing([ArrayTensor(value) for value in self.value], 0)

    def scan(self, step: Step, start: Carried, rows: Sequence[Tensor], *, backwards: bool = False) -> Scanned:
        """Do the steps one after the other."""
        walked = [_plain(row) for row in rows]
        order = range(len(walked[0]))
        carried, kept = start, []
        for place in reversed(order) if backwards else order:
            carried, out = step(carried, [ArrayTensor(row[place]) for row in walked])
            kept.append(out)
        stacks = [np.stack([_plain(value) for value in values]) for values in zip(*kept, strict=True)]
        return Scanned(carried, tuple(ArrayTensor(stack) for stack in stacks))


@dataclass
class ArrayRing(Ring):
    """A list of arrays and where its head is: turning it copies nothing."""

    places: list[Tensor]
    first: int

    def head(self) -> Tensor:
        """The place at the head."""
        return self.places[self.first]

    def turned(self, value: Tensor) -> Ring:
        """Overwrites the head's place."""
        self.places[self.first] = value
        return ArrayRing(self.places, (self.first + 1) % len(self.places))

    def reversed(self) -> Ring:
        """A list of its own, the other way round."""
        return ArrayRing(self._ordered()[::-1], 0)

    def stacked(self) -> Tensor:
        """One array."""
        return ArrayTensor(np.stack([_plain(place) for place in self._ordered()]))

    def _ordered(self) -> list[Tensor]:
        return self.places[self.first :] + self.places[: self.first]


def array(tensor: Tensor) -> Floats:
    """The array behind a tensor."""
    return np.asarray(_plain(tensor), np.float64)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, ArrayTensor) else value
