"""The ONNX operations that our graphs use, as operations of Core ML's intermediate language (MIL): one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from onnx import TensorProto

from mcp_forecast_engine.models.coreml_layers import write_lstm, write_scan, write_trees
from mcp_forecast_engine.models.coreml_translation import Translation, Write, attributes

_MIL_NAMES: Mapping[int, str] = {
    TensorProto.FLOAT: "fp32", TensorProto.DOUBLE: "fp32", TensorProto.INT64: "int32", TensorProto.INT32: "int32",
    TensorProto.BOOL: "bool",
}  # fmt: skip


def _plain(name: str, *names: str) -> Write:
    """An operation whose inputs go by these names and that takes nothing else."""

    def write(t: Translation, node: Any) -> Any:
        return getattr(t.builder, name)(**dict(zip(names, t.values(node), strict=True)))

    return write


def _chained(name: str) -> Write:
    """An operation of two inputs for any number of them."""

    def write(t: Translation, node: Any) -> Any:
        first, *others = t.values(node)
        together = getattr(t.builder, name)
        return reduce(lambda x, y: together(x=x, y=y), others, first if others else t.builder.identity(x=first))

    return write


def _reduced(name: str) -> Write:
    """A reduction over axes that are a constant second input."""

    def write(t: Translation, node: Any) -> Any:
        keep = bool(attributes(node).get("keepdims", 1))
        return getattr(t.builder, name)(x=t.values(node)[0], axes=t.whole(node, 1), keep_dims=keep)

    return write


def _negative(t: Translation, node: Any) -> Any:
    (x,) = t.values(node)
    return t.builder.mul(x=x, y=np.float32(-1.0))


def _logarithm(t: Translation, node: Any) -> Any:
    # Its own default adds 1e-45, which is nothing; said because a larger one would move small values.
    return t.builder.log(x=t.values(node)[0], epsilon=np.float32(1e-45))


def _chosen(t: Translation, node: Any) -> Any:
    """Where, of floats: `select` takes its shape from both choices alone, so one of them is given the condition's."""
    cond, yes, no = t.values(node)
    wide = t.builder.mul(x=t.builder.cast(x=cond, dtype="fp32"), y=np.float32(0.0))
    return t.builder.select(cond=cond, a=t.builder.add(x=wide, y=yes), b=no)


def _cast(t: Translation, node: Any) -> Any:
    return t.builder.cast(x=t.values(node)[0], dtype=_MIL_NAMES[attributes(node)["to"]])


def _gather(t: Translation, node: Any) -> Any:
    (x, indices), axis = t.values(node), attributes(node).get("axis", 0)
    if isinstance(indices, np.ndarray):  # -1 is the last place to ONNX, and out of bounds here
        indices = np.where(indices < 0, indices + x.shape[axis], indices).astype(np.int32)
    # Checked indices would cost a branch; ours are constants, phases and places of a maximum.
    return t.builder.gather(x=x, indices=indices, axis=axis, validate_indices=False)


def _concat(t: Translation, node: Any) -> Any:
    return t.builder.concat(values=t.values(node), axis=attributes(node)["axis"])


def _slice(t: Translation, node: Any) -> Any:
    """Slice with constant bounds; a bound beyond the axis means its end."""
    x, rank = t.values(node)[0], len(t.values(node)[0].shape)
    starts, ends, axes = (t.whole(node, place) for place in (1, 2, 3))
    steps = t.whole(node, 4) if len(node.input) > 4 else [1] * len(axes)
    begin, end, stride = [0] * rank, [0] * rank, [1] * rank
    from_start, to_end = [True] * rank, [True] * rank
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis % rank
        begin[place], end[place], stride[place] = start, stop, step
        far = 2**30
        from_start[place] = start == 0 and step > 0
        to_end[place] = stop > far if step > 0 else stop < -far
    return t.builder.slice_by_index(
        x=x, begin=begin, end=end, stride=stride, begin_mask=from_start, end_mask=to_end,
    )  # fmt: skip


def _reshape(t: Translation, node: Any) -> Any:
    """Reshape; 0 keeps an axis, which for the batch is written as -1 where no other axis needs it."""
    x, wanted = t.values(node)[0], t.whole(node, 1)
    known = [x.shape[i] if size == 0 else size for i, size in enumerate(wanted)]
    shape = [-1 if isinstance(size, int | np.integer) is False else int(size) for size in known]
    if shape.count(-1) > 1:  # the batch is unknown: the other axis has to be counted
        rest = [int(size) for size in x.shape if isinstance(size, int | np.integer)]
        shape[wanted.index(-1)] = int(np.prod(rest)) // int(np.prod([size for size in shape if size > 0], initial=1))
    return t.builder.reshape(x=x, shape=shape)


def _unsqueeze(t: Translation, node: Any) -> Any:
    return t.builder.expand_dims(x=t.values(node)[0], axes=t.whole(node, 1))


def _squeeze(t: Translation, node: Any) -> Any:
    return t.builder.squeeze(x=t.values(node)[0], axes=t.whole(node, 1))


def _transpose(t: Translation, node: Any) -> Any:
    return t.builder.transpose(x=t.values(node)[0], perm=list(attributes(node)["perm"]))


def _top(t: Translation, node: Any) -> Any:
    """TopK with a constant count: the values; places are not used by our graphs."""
    given = attributes(node)
    (count,) = t.whole(node, 1)
    ascending = not given.get("largest", 1)
    return t.builder.topk(x=t.values(node)[0], k=count, axis=given.get("axis", -1), ascending=ascending)[0]


def _largest(t: Translation, node: Any) -> Any:
    given = attributes(node)
    keep = bool(given.get("keepdims", 1))
    return t.builder.reduce_argmax(x=t.values(node)[0], axis=given.get("axis", 0), keep_dims=keep)


def _tile(t: Translation, node: Any) -> Any:
    return t.builder.tile(x=t.values(node)[0], reps=t.whole(node, 1))


def _running(t: Translation, node: Any) -> Any:
    return t.builder.cumsum(x=t.values(node)[0], axis=t.whole(node, 1)[0])


OPERATIONS: Mapping[str, Write] = {
    **{op: _plain(name, "x", "y") for op, name in {
        "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "real_div", "Mod": "mod", "MatMul": "matmul",
        "Equal": "equal", "Greater": "greater", "GreaterOrEqual": "greater_equal", "Less": "less",
        "LessOrEqual": "less_equal",
    }.items()},
    **{op: _plain(name, "x") for op, name in {
        "Abs": "abs", "Sqrt": "sqrt", "Exp": "exp", "Sign": "sign", "Relu": "relu", "Sigmoid": "sigmoid",
        "Tanh": "tanh", "Round": "round", "Identity": "identity",
    }.items()},
    **{op: _chained(name) for op, name in {"Sum": "add", "Max": "maximum", "Min": "minimum"}.items()},
    **{op: _reduced(name) for op, name in {
        "ReduceMean": "reduce_mean", "ReduceSum": "reduce_sum", "ReduceMax": "reduce_max", "ReduceMin": "reduce_min",
    }.items()},
    "Where": _chosen, "Neg": _negative, "Log": _logarithm, "Cast": _cast, "Gather": _gather, "Concat": _concat,
    "Slice": _slice,
    "Reshape": _reshape, "Unsqueeze": _unsqueeze, "Squeeze": _squeeze, "Transpose": _transpose, "TopK": _top,
    "ArgMax": _largest, "CumSum": _running, "Tile": _tile,
    "Scan": write_scan, "LSTM": write_lstm, "TreeEnsembleRegressor": write_trees,
}  # fmt: skip


def operations_of(nodes: Sequence[Any]) -> dict[str, int]:
    """How often each ONNX operation occurs, by name."""
    names = sorted({node.op_type for node in nodes})
    return {name: sum(node.op_type == name for node in nodes) for name in names}
