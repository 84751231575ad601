"""Tabular: boosted trees over seasonal lags, group shapes, promotions and static facts, one model for all steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.models.features import Layout, layout_for, tail_inputs
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.group_shapes import shape_tables
from mcp_forecast_engine.models.profile_tuning import choose_groups, usable_backs
from mcp_forecast_engine.models.regression import one_thread
from mcp_forecast_engine.models.scaling import Stillness, Yardstick
from mcp_forecast_engine.models.season_view import seasons_read
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.static_groups import grouping_by, static_values
from mcp_forecast_engine.models.tabular_path import TabularPath
from mcp_forecast_engine.models.tabular_rows import TabularRows, factors_of
from mcp_forecast_engine.models.tabular_training import (
    backs_between,
    best_number,
    boost,
    tree_rows,
)
from mcp_forecast_engine.models.windows import earlier_targets

Integers = NDArray[np.int64]

_DEFAULT_TREES = 100


class Tabular:
    """Gradient boosting (LightGBM, the extra `boost`) of absolute errors in each window's units, around its own shape.

    Settings: seasons, how many a window holds; groups, lists of static columns whose shapes are pooled; transform;
    trees, how many. Needs no name of a series. Training reads lightgbm, answering and exporting do not.
    """

    family: ClassVar[str] = "tabular"

    @classmethod
    def tune(cls, panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], asked: Settings) -> Settings:
        """Choose groups and the number of trees by the validation windows, or by a last stretch of the history."""
        history = int(np.median(panel.lengths))
        seasons = asked.get("seasons", seasons_read(spec.season, history))
        layout = tabular_layout(panel, spec, seasons)
        with one_thread():
            groups = asked.get("groups", choose_groups(panel, layout, spec.horizon, origins))
        found: dict[str, Any] = {"seasons": seasons, "groups": [list(names) for names in groups]}
        found |= {"transform": asked.get("transform", "identity"), "trees": asked.get("trees", _DEFAULT_TREES)}
        windows = usable_backs(panel, layout, spec.horizon, origins)
        best = _best_number(panel, spec, found, windows) if windows and "trees" not in asked else None
        return found if best is None else {**found, "trees": best}

    @classmethod
    def fit(
        cls, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None = None
    ) -> TabularPath:
        """Boost on the whole panel; raises HistoryTooShort where no series has more than a season."""
        design = _design(panel, spec, settings, panel.lengths)
        backs = backs_between(panel, spec.season, spec.horizon, until=0)
        learned = tree_rows(panel, design, backs, until=0)
        if not len(learned.target):
            raise _too_short(panel, spec)
        trees = boost(learned, settings["trees"])
        tail = tail_inputs(panel, replace(design.layout, known_future=(), historical=(), past=1))
        whole = tail.take(tail.known >= spec.season)
        tables = shape_tables(design.measured(whole).own, whole, design.groupings)
        return TabularPath(cls.family, design, tables, trees)


def tabular_layout(panel: Panel, spec: ForecastSpec, seasons: int) -> Layout:
    """Whole seasons of the target and of every covariate, columns by name."""
    whole = seasons * spec.season
    by_name = replace(
        spec,
        lookback=whole,
        known_future=tuple(sorted(spec.known_future)),
        historical=tuple(sorted(spec.historical)),
        static=tuple(sorted(spec.static)),
    )
    return replace(layout_for(by_name, panel.axis), season_length=spec.season, past=whole)


def _design(panel: Panel, spec: ForecastSpec, settings: Settings, until: Integers) -> TabularRows:
    layout = tabular_layout(panel, spec, settings["seasons"])
    static = static_values(panel, layout.static)
    groups = [sorted(layout.static.index(name) for name in group) for group in settings["groups"]]
    groupings = tuple(grouping_by(group, static) for group in groups)
    yard = Yardstick(stillness=Stillness.of(earlier_targets(panel, layout.lookback, until), settings["transform"]))
    return TabularRows(layout, settings["transform"], groupings, factors_of(panel, layout.known_future), yard)


def _best_number(panel: Panel, spec: ForecastSpec, settings: Settings, windows: Sequence[int]) -> int | None:
    """How many trees err least on the validation windows, learned from what ends before the first of them."""
    until = max(windows)
    design = _design(panel, spec, settings, panel.lengths - until)
    learned = tree_rows(panel, design, backs_between(panel, spec.season, spec.horizon, until), until)
    judged = tree_rows(panel, design, windows, until=0)
    return best_number(learned, judged) if len(learned.target) and len(judged.target) else None


def _too_short(panel: Panel, spec: ForecastSpec) -> HistoryTooShort:
    return HistoryTooShort(
        f"the longest series has {int(panel.lengths.max(initial=0))} rows; trees need more than a season of "
        f"{spec.season} before the first step they learn from",
        field="season_length",
        allowed={"rows": spec.season + 1 + max(spec.horizon // 8, 1)},
        next_step="send more rows per series, or name a shorter season",
    )
