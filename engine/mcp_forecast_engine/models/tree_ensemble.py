"""Boosted trees as arrays: read from a trained booster, answered with numpy, written as one ONNX node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.graph import ML_DOMAIN, Graph

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class TreeEnsemble:
    """The sum of T trees over rows of F float32 columns: left where column <= threshold.

    root: int64 (T), the node of each tree's root among all N. column: int64 (N), -1 in a leaf. threshold: float32 (N).
    left, right: int64 (N), nodes. value: float32 (N), of leaves.
    """

    root: Integers
    column: Integers
    threshold: Singles
    left: Integers
    right: Integers
    value: Singles

    def sum(self, rows: Singles) -> Floats:
        """(B) for rows (B, F)."""
        columns = np.ascontiguousarray(rows.T)
        found = np.zeros(len(rows))
        for root in self.root.tolist():
            self._add(root, np.arange(len(rows)), columns, found)
        return found

    def _add(self, node: int, rows: Integers, columns: Singles, found: Floats) -> None:
        """Hand the rows of a node to its children; every row is in one leaf of each tree."""
        if not len(rows):
            return
        if self.column[node] < 0:
            found[rows] += np.float64(self.value[node])
            return
        below = columns[self.column[node]][rows] <= self.threshold[node]
        self._add(int(self.left[node]), rows[below], columns, found)
        self._add(int(self.right[node]), rows[~below], columns, found)

    def write(self, g: Graph, rows: str) -> str:
        """The node of `sum`: floats (batch, 1) of floats (batch, F)."""
        tree = np.searchsorted(self.root, np.arange(len(self.column)), side="right") - 1
        place = np.arange(len(self.column)) - self.root[tree]
        inner = self.column >= 0
        leaves = np.flatnonzero(~inner)
        return g.node(
            "TreeEnsembleRegressor",
            rows,
            domain=ML_DOMAIN,
            n_targets=1,
            aggregate_function="SUM",
            post_transform="NONE",
            nodes_treeids=tree.tolist(),
            nodes_nodeids=place.tolist(),
            nodes_modes=["BRANCH_LEQ" if branch else "LEAF" for branch in inner.tolist()],
            nodes_featureids=np.where(inner, self.column, 0).tolist(),
            nodes_values=np.where(inner, self.threshold, 0).astype(float).tolist(),
            nodes_truenodeids=np.where(inner, self.left - self.root[tree], 0).tolist(),
            nodes_falsenodeids=np.where(inner, self.right - self.root[tree], 0).tolist(),
            nodes_missing_value_tracks_true=[0] * len(tree),
            target_treeids=tree[leaves].tolist(),
            target_nodeids=place[leaves].tolist(),
            target_ids=[0] * len(leaves),
            target_weights=self.value[leaves].astype(float).tolist(),
        )


def ensemble_of(dump: Mapping[str, Any]) -> TreeEnsemble:
    """Read `Booster.dump_model()` of a model trained on float32 columns without missing values or categories.

    A threshold becomes the largest float32 that is not above it: for float32 columns the same branch, exactly.
    """
    root: list[int] = []
    nodes: list[list[float]] = []
    for tree in dump["tree_info"]:
        root.append(len(nodes))
        _flatten(tree["tree_structure"], nodes)
    table = np.array(nodes, np.float64).reshape(-1, 5)
    column = table[:, 0].astype(np.int64)
    near = table[:, 1].astype(np.float32)
    below = np.where(near.astype(np.float64) > table[:, 1], np.nextafter(near, np.float32(-np.inf)), near)
    return TreeEnsemble(
        root=np.array(root, np.int64),
        column=column,
        threshold=below.astype(np.float32),
        left=table[:, 2].astype(np.int64),
        right=table[:, 3].astype(np.int64),
        value=table[:, 4].astype(np.float32),
    )


def _flatten(node: Mapping[str, Any], nodes: list[list[float]]) -> int:
    place = len(nodes)
    if "leaf_value" in node:
        nodes.append([-1, 0.0, 0, 0, node["leaf_value"]])
        return place
    nodes.append([node["split_feature"], node["threshold"], 0, 0, 0.0])
    nodes[place][2] = _flatten(node["left_child"], nodes)
    nodes[place][3] = _flatten(node["right_child"], nodes)
    return place
