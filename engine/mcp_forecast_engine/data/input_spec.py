"""What a model is handed, tensor by tensor: names, order of columns, shapes, dtype; the same trained and served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from mcp_forecast_engine.errors import CovariatesMismatch
from mcp_forecast_engine.store.identity import digest

INPUT_SPEC_RECIPE: Final = "input_spec.v2"
BATCH: Final = "batch"


class Reads(Protocol):
    """What a model's layout says about its columns."""

    @property
    def horizon(self) -> int:
        """Steps ahead."""
        ...

    @property
    def lookback(self) -> int:
        """Steps of the target."""
        ...

    @property
    def past(self) -> int:
        """Steps of each covariate before the origin."""
        ...

    @property
    def cov_hist(self) -> tuple[str, ...]:
        """Columns read before the origin."""
        ...

    @property
    def known_future(self) -> tuple[str, ...]:
        """Columns read over the horizon."""
        ...

    @property
    def static(self) -> tuple[str, ...]:
        """Columns with one value per series."""
        ...


@dataclass(frozen=True)
class TensorSpec:
    """One input: its axes in order ("batch" is open, the others are fixed) and the columns of its last axis.

    target has no column axis of its own: its one column is the target. dtype is what the exported model takes.
    """

    name: str
    shape: tuple[str | int, ...]
    columns: tuple[str, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class InputSpec:
    """The inputs that carry data: target (batch, lookback), cov_hist (batch, past, H), cov_future (batch, horizon, F),
    static (batch, G). What the time stamps alone say (calendar, phase) is derived on both sides and is not in it.
    """

    target: TensorSpec
    cov_hist: TensorSpec
    cov_future: TensorSpec
    static: TensorSpec

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """All inputs in their order."""
        return (self.target, self.cov_hist, self.cov_future, self.static)

    def to_dict(self) -> dict[str, Any]:
        """JSON values: an object per tensor, in order."""
        plain = [asdict(tensor) for tensor in self.tensors]
        return {"tensors": [{**one, "shape": list(one["shape"]), "columns": list(one["columns"])} for one in plain]}

    def digest(self) -> str:
        """The name of this specification; another order of columns is another one."""
        return digest(INPUT_SPEC_RECIPE, self.to_dict())


def input_spec(layout: Reads, *, target: str = "y") -> InputSpec:
    """The specification of what a layout reads. target: the column's name, for people."""
    return InputSpec(
        target=TensorSpec("target", (BATCH, layout.lookback), (target,)),
        cov_hist=TensorSpec("cov_hist", (BATCH, layout.past, len(layout.cov_hist)), tuple(layout.cov_hist)),
        cov_future=TensorSpec(
            "cov_future", (BATCH, layout.horizon, len(layout.known_future)), tuple(layout.known_future)
        ),
        static=TensorSpec("static", (BATCH, len(layout.static)), tuple(layout.static)),
    )


def read_input_spec(plain: Mapping[str, Any]) -> InputSpec:
    """The specification that `to_dict` wrote."""
    parts = {
        one["name"]: TensorSpec(one["name"], tuple(one["shape"]), tuple(one["columns"]), one["dtype"])
        for one in plain["tensors"]
    }
    return InputSpec(**parts)


def require_same_inputs(trained: InputSpec, served: InputSpec) -> None:
    """Refuse inputs that differ from those of training; raises CovariatesMismatch naming the first difference."""
    for wanted, found in zip(trained.tensors, served.tensors, strict=True):
        if wanted != found:
            raise CovariatesMismatch(
                f"input {wanted.name!r}: {_difference(wanted, found)}",
                field="covariates",
                allowed=list(wanted.columns),
                next_step="forecast with the model and the columns of one training run, or train again",
            )


def _difference(wanted: TensorSpec, found: TensorSpec) -> str:
    """The first thing that is not the same, in words."""
    missing = [name for name in wanted.columns if name not in found.columns]
    extra = [name for name in found.columns if name not in wanted.columns]
    if missing:
        return f"{missing[0]!r} is missing"
    if extra:
        return f"{extra[0]!r} was not there in training"
    for place, (name, other) in enumerate(zip(wanted.columns, found.columns, strict=True)):
        if name != other:
            return f"column {place} is {other!r}, in training it was {name!r}"
    if wanted.shape != found.shape:
        return f"its shape is {found.shape}, in training it was {wanted.shape}"
    return f"it is of type {found.dtype}, in training of {wanted.dtype}"
