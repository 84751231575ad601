"""Rows of many windows and steps for boosted trees, and the boosting itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.features import inputs_at
from mcp_forecast_engine.models.group_shapes import group_shapes, shape_tables
from mcp_forecast_engine.models.profile_weights import first_step, stride_for
from mcp_forecast_engine.models.tabular_rows import TabularRows
from mcp_forecast_engine.models.tree_ensemble import TreeEnsemble, ensemble_of

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]

MOST_ROWS = 80_000
MOST_TREES = 200
# Many origins with some of their steps teach more than few origins with all of them: every date is then seen from
# several distances. On made daily sales, 30,000 rows of four times the origins are worth 100,000 rows of all steps.
_SPREAD = 4
_FEWEST_ORIGINS, _MOST_ORIGINS = 8, 400
_PATIENCE = 20
_QUIET = 0.2
# Chosen on made daily sales with promotions. Leaving columns out at random (feature_fraction) costs a tenth there:
# few columns matter, and each tree needs them.
_BOOSTING: dict[str, Any] = {
    "objective": "regression_l1",
    "learning_rate": 0.1,
    "num_leaves": 63,
    "max_depth": 12,
    "min_data_in_leaf": 40,
    "lambda_l2": 1.0,
    "max_bin": 127,
    "use_missing": False,
    "seed": 20_121_102,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


@dataclass(frozen=True)
class TreeRows:
    """rows: float32 (N, F). target: (N), what the trees should add to the own shape, in the windows' units.

    weight: (N), one over how much the window moves from step to step, so that errors count as they are scored.
    """

    rows: Singles
    target: Floats
    weight: Floats


def backs_between(panel: Panel, season_length: int, horizon: int, until: int) -> list[int]:
    """Distances from the end at which windows are learned from, evenly, all phases of the season among them."""
    lengths = np.sort(panel.lengths)
    far = int(lengths[len(lengths) // 2]) - season_length
    near = until + max(horizon // 8, 1)
    count = min(max(_SPREAD * MOST_ROWS // max(len(lengths) * horizon, 1), _FEWEST_ORIGINS), _MOST_ORIGINS)
    stride = max(-(-(far - near + 1) // count), 1)
    while gcd(stride, season_length) > 1:
        stride += 1
    return list(range(near, far + 1, stride))


def tree_rows(panel: Panel, design: TabularRows, backs: Sequence[int], until: int) -> TreeRows:
    """Rows of all series at each distance; only steps that end `until` before the end of their series have a target.

    Series in the order of their names, and whole steps left out where there are too many rows: the order in which
    series come decides nothing.
    """
    order = np.argsort(np.array(panel.unique_id), kind="stable")
    ahead = [min(back - until, design.layout.horizon) for back in backs]
    stride = stride_for(len(order) * sum(ahead), MOST_ROWS, design.layout.horizon)
    parts = [
        _rows_at(panel, design, back, order, np.arange(first_step(i, stride), count, stride), count)
        for i, (back, count) in enumerate(zip(backs, ahead, strict=True))
    ]
    if not parts:
        return TreeRows(np.zeros((0, 0), np.float32), np.zeros(0), np.zeros(0))
    return TreeRows(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.weight for part in parts]),
    )


def _rows_at(panel: Panel, design: TabularRows, back: int, order: Integers, step: Integers, horizon: int) -> TreeRows:
    part = replace(design, layout=replace(design.layout, horizon=horizon))
    m = part.layout.season_length
    origin = panel.lengths - back
    series = order[origin[order] >= m]
    inputs = inputs_at(panel, part.layout, series, origin[series])
    measured = part.measured(inputs)
    shapes = group_shapes(inputs, part.groupings, shape_tables(measured.own, inputs, part.groupings), m)
    at = (panel.offsets[series + 1] - back)[:, None] + np.arange(horizon)
    seen = panel.observed[at][:, step] & ~measured.scale.flat[:, None]
    target = measured.scale.forward(panel.y[at]) - measured.own[:, np.arange(horizon) % m]
    moves = np.maximum(np.abs(np.diff(measured.z, axis=1)).mean(axis=1), _QUIET)
    weight = np.broadcast_to(1.0 / moves[:, None], seen.shape)
    return TreeRows(part.rows(inputs, measured, shapes)[:, step][seen], target[:, step][seen], weight[seen])


def boost(learned: TreeRows, trees: int) -> TreeEnsemble:
    """So many boosted trees."""
    import lightgbm

    return ensemble_of(lightgbm.train(_BOOSTING, _table(learned), trees).dump_model())


def best_number(learned: TreeRows, judged: TreeRows) -> int:
    """How many trees err least on `judged`."""
    import lightgbm

    data = _table(learned)
    against = lightgbm.Dataset(judged.rows, judged.target, weight=judged.weight, reference=data, params=_BOOSTING)
    stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
    booster = lightgbm.train(_BOOSTING, data, MOST_TREES, valid_sets=[against], callbacks=[stop])
    return max(int(booster.best_iteration), 1)


def _table(learned: TreeRows) -> Any:
    import lightgbm

    return lightgbm.Dataset(learned.rows, learned.target, weight=learned.weight, params=_BOOSTING)
