"""The larger ONNX operations in MIL: a walk as a loop, an LSTM, and trees as steps from node to node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcp_forecast_engine.models.coreml_translation import Translation, attributes


def write_scan(t: Translation, node: Any) -> tuple[Any, ...]:
    """A walk along the first axis, of a known length, as a loop that keeps its rows in a buffer."""
    given, b = attributes(node), t.builder
    body, count = given["body"], given["num_scan_inputs"]
    backwards = any(given.get("scan_input_directions", []))
    values = [value if hasattr(value, "op") else b.const(val=value) for value in t.values(node)]
    states, rows = values[:-count], values[-count:]
    steps = int(rows[0].shape[0])

    def step(at: Any, carried: Sequence[Any]) -> list[Any]:
        taken = [b.squeeze(x=b.gather(x=row, indices=at, axis=0, validate_indices=False), axes=[0]) for row in rows]
        inner = t.inside(dict(zip([port.name for port in body.input], [*carried, *taken], strict=True)))
        for inside in body.node:
            inner.node(inside)
        return [inner.found[port.name] for port in body.output]

    def onward(at: Any, *carried: Any) -> tuple[Any, ...]:
        place = b.expand_dims(x=at, axes=[0])
        read = b.sub(x=np.array([steps - 1], np.int32), y=place) if backwards else place
        made = step(read, carried[: len(states)])
        kept = [
            b.scatter(data=buffer, indices=place, updates=b.expand_dims(x=row, axes=[0]), axis=0, mode="update")
            for buffer, row in zip(carried[len(states) :], made[len(states) :], strict=True)
        ]
        return (b.add(x=at, y=np.int32(1)), *made[: len(states)], *kept)

    # What is kept has the shape of a first row: nothing of that step is used but its shape.
    first = step(np.array([0], np.int32), states)[len(states) :]
    empty = [b.tile(x=b.mul(x=b.expand_dims(x=row, axes=[0]), y=np.float32(0)), reps=[steps, 1, 1]) for row in first]
    ended = b.while_loop(
        _cond=lambda at, *_: b.less(x=at, y=np.int32(steps)),
        _body=onward,
        loop_vars=(b.const(val=np.int32(0)), *states, *empty),
    )
    return tuple(ended[1:])


def write_lstm(t: Translation, node: Any) -> Any:
    """A forward LSTM that starts at zero: its states, (T, 1, B, H). Gates are i, o, f, c in ONNX, i, f, o, c in MIL."""
    (x, inward, onward, *bias), b = t.values(node), t.builder
    size = int(attributes(node)["hidden_size"])

    def ordered(gates: Any) -> Any:
        parts = np.split(np.asarray(gates)[0][: 4 * size], 4)
        return np.concatenate([parts[place] for place in (0, 2, 1, 3)])

    both = ordered(bias[0]) + ordered(np.asarray(bias[0])[:, 4 * size :]) if bias else np.zeros(4 * size, np.float32)
    first = b.squeeze(x=b.gather(x=x, indices=np.array([0], np.int32), axis=0, validate_indices=False), axes=[0])
    start = b.add(x=_nothing(b, first), y=np.zeros((1, size), np.float32))
    states = b.lstm(
        x=x, initial_h=start, initial_c=start, weight_ih=ordered(inward), weight_hh=ordered(onward), bias=both,
        output_sequence=True,
    )  # fmt: skip
    return b.expand_dims(x=states[0], axes=[1])


def write_trees(t: Translation, node: Any) -> Any:
    """The sum of all trees, (B, 1): every row goes down all of them at once, as many steps as the deepest has."""
    (rows,), b, given = t.values(node), t.builder, attributes(node)
    tree = np.array(given["nodes_treeids"])
    root = np.flatnonzero(np.diff(tree, prepend=-1))
    inner = np.array([mode == b"BRANCH_LEQ" for mode in given["nodes_modes"]])
    own = np.arange(len(tree))
    low, high = (
        np.where(inner, root[tree] + np.array(given[f"nodes_{side}nodeids"]), own).astype(np.int32)
        for side in ("true", "false")
    )
    value = np.zeros(len(tree), np.float32)
    value[root[np.array(given["target_treeids"])] + np.array(given["target_nodeids"])] = given["target_weights"]
    column = np.array(given["nodes_featureids"], np.int32)
    limit = np.array(given["nodes_values"], np.float32)
    at = b.add(x=b.cast(x=_nothing(b, rows), dtype="int32"), y=root[None].astype(np.int32))
    for _ in range(_depth(root, low, high)):
        read = b.gather_along_axis(x=rows, indices=_taken(b, column, at), axis=1, validate_indices=False)
        below = b.less_equal(x=read, y=_taken(b, limit, at))
        at = b.select(cond=below, a=_taken(b, low, at), b=_taken(b, high, at))
    return b.reduce_sum(x=_taken(b, value, at), axes=[1], keep_dims=True)


def _taken(b: Any, table: Any, places: Any) -> Any:
    return b.gather(x=table, indices=places, axis=0, validate_indices=False)


def _nothing(b: Any, rows: Any) -> Any:
    """Zeros (B, 1) for rows (B, F): the way to know how many there are."""
    return b.mul(x=b.reduce_sum(x=b.sub(x=rows, y=rows), axes=[1], keep_dims=True), y=np.float32(0.0))


def _depth(root: Any, low: Any, high: Any) -> int:
    """Steps until every way down has ended: leaves lead to themselves."""
    at, steps = np.unique(root), 0
    while True:
        after = np.unique(np.concatenate([low[at], high[at]]))
        if np.array_equal(after, at):
            return steps
        at, steps = after, steps + 1
