"""One computation, two readings: arithmetic that runs on numpy arrays at once or is written down as ONNX nodes.

A local model is a function of a `Tensor`. Given arrays it computes; given places in a graph it writes the same steps.
So what is served cannot drift from what was measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.number[Any]] | float


class Tensor(ABC):
    """Doubles (or truth values) of some shape; every operation follows numpy's broadcasting, which is ONNX's too."""

    __array_ufunc__ = None  # A numpy array on the left leaves the operation to us.

    @abstractmethod
    def apply(self, op: str, *others: Tensor | Numbers) -> Tensor:
        """An elementwise ONNX operation by its name, with this as the first operand."""

    @abstractmethod
    def constant(self, value: Numbers) -> Tensor:
        """An array that belongs to the same reading."""

    @abstractmethod
    def reduce(self, op: str, axis: int) -> Tensor:
        """ReduceSum, ReduceMin or ReduceMax along an axis, which stays with length one."""

    @abstractmethod
    def running_sum(self, axis: int) -> Tensor:
        """Sums from the start up to each place."""

    @abstractmethod
    def part(self, axis: int, start: int, stop: int) -> Tensor:
        """Places start..stop of an axis."""

    @abstractmethod
    def take(self, places: Sequence[int], axis: int) -> Tensor:
        """Places of an axis, in the order given, also more than once."""

    @abstractmethod
    def join(self, *others: Tensor, axis: int) -> Tensor:
        """This and others one after the other along an axis."""

    @abstractmethod
    def reshaped(self, shape: tuple[int, ...]) -> Tensor:
        """The same values in another shape; -1 for the batch."""

    @abstractmethod
    def transposed(self, order: tuple[int, ...]) -> Tensor:
        """Axes in another order."""

    @abstractmethod
    def ring(self) -> Ring:
        """A ring of the places along the first axis."""

    @abstractmethod
    def scan(self, step: Step, start: Carried, rows: Sequence[Tensor], *, backwards: bool = False) -> Scanned:
        """Walk along the first axis of `rows` (T, B, k), carrying values from step to step.

        `step` is given what is carried and one row of each, (B, k), and hands back what is carried on, of the same
        shapes, and what is kept of this step. Backwards: the last row first.
        """

    def sum(self, axis: int) -> Tensor:
        """The sum along an axis, which stays with length one."""
        return self.reduce("ReduceSum", axis)

    def exp(self) -> Tensor:
        """e to the power of each value."""
        return self.apply("Exp")

    def log(self) -> Tensor:
        """The natural logarithm."""
        return self.apply("Log")

    def abs(self) -> Tensor:
        """Without the sign."""
        return self.apply("Abs")

    def at_least(self, low: Tensor | Numbers) -> Tensor:
        """The larger of both."""
        return self.apply("Max", low)

    def at_most(self, high: Tensor | Numbers) -> Tensor:
        """The smaller of both."""
        return self.apply("Min", high)

    def above(self, other: Tensor | Numbers) -> Tensor:
        """Truth values: larger than the other."""
        return self.apply("Greater", other)

    def choose(self, yes: Tensor | Numbers, no: Tensor | Numbers) -> Tensor:
        """For truth values: one where true, the other elsewhere."""
        return self.apply("Where", yes, no)

    def __add__(self, other: Tensor | Numbers) -> Tensor:
        return self.apply("Add", other)

    def __radd__(self, other: Numbers) -> Tensor:
        return self.apply("Add", other)

    def __sub__(self, other: Tensor | Numbers) -> Tensor:
        return self.apply("Sub", other)

    def __rsub__(self, other: Numbers) -> Tensor:
        return self.constant(other).apply("Sub", self)

    def __mul__(self, other: Tensor | Numbers) -> Tensor:
        return self.apply("Mul", other)

    def __rmul__(self, other: Numbers) -> Tensor:
        return self.apply("Mul", other)

    def __truediv__(self, other: Tensor | Numbers) -> Tensor:
        return self.apply("Div", other)

    def __rtruediv__(self, other: Numbers) -> Tensor:
        return self.constant(other).apply("Div", self)

    def __neg__(self) -> Tensor:
        return self.apply("Neg")


class Ring(ABC):
    """One value per place of a season, the one whose turn it is at the head."""

    @abstractmethod
    def head(self) -> Tensor:
        """The value whose turn it is."""

    @abstractmethod
    def turned(self, value: Tensor) -> Ring:
        """The ring one step on, with a new value for the place that was at the head. The old ring is spent."""

    @abstractmethod
    def reversed(self) -> Ring:
        """The ring for a walk the other way: the place turned last comes first."""

    @abstractmethod
    def stacked(self) -> Tensor:
        """All values, head first, along a new first axis."""


@dataclass(frozen=True)
class Carried:
    """What a walk carries: tensors and rings."""

    values: tuple[Tensor, ...]
    rings: tuple[Ring, ...] = ()


@dataclass(frozen=True)
class Scanned:
    """Where a walk ended, and what it kept of each step, (T, B, k) each."""

    end: Carried
    kept: tuple[Tensor, ...]


Step = Callable[[Carried, Sequence[Tensor]], tuple[Carried, tuple[Tensor, ...]]]


def likelihood_weights(loss: Tensor) -> Tensor:
    """How much each candidate counts: exp(-loss / 2) along axis 1, adding up to one.

    loss: (B, G), minus twice the log-likelihood and penalties: Akaike's weights (Burnham and Anderson
    2002). A likely neighbourhood on a grid is averaged instead of picking its best point.
    """
    odds = ((loss - loss.reduce("ReduceMin", 1)) * -0.5).exp()
    return odds / odds.sum(1)


def columns(tensor: Tensor) -> Tensor:
    """(B, T) as rows of a walk, (T, B, 1)."""
    return tensor.transposed((1, 0)).reshaped((0, -1, 1))


def gathered(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Several tensors one after the other."""
    first, *others = parts
    return first.join(*others, axis=axis) if others else first
