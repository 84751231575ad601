"""Seasonal profiles: many related series with few seasons, whose shapes are pooled over static groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.models.features import Layout, layout_for, tail_inputs
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.group_shapes import shape_tables
from mcp_forecast_engine.models.profile_path import ProfilePath
from mcp_forecast_engine.models.profile_tuning import choose_groups
from mcp_forecast_engine.models.profile_weights import backs_for, grouped, learn, seen_at
from mcp_forecast_engine.models.regression import one_thread
from mcp_forecast_engine.models.season_view import season_view, seasons_read
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.static_groups import grouping_by

Integers = NDArray[np.int64]


class SeasonalProfiles:
    """Level times a shape of the season that is part own, part that of the groups, moved by damped recent growth.

    Settings: seasons, how many a window holds; groups, lists of static columns whose values together form groups.
    Needs no name of a series: its own shape is read from the window, its groups from its static values.
    """

    family: ClassVar[str] = "seasonal_profiles"

    @classmethod
    def tune(cls, panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], asked: Settings) -> Settings:
        """Choose the groups by the validation windows, or by a last stretch of the history where there are none."""
        seasons = asked.get("seasons", seasons_read(spec.season, int(np.median(panel.lengths))))
        if "groups" in asked:
            return {"seasons": seasons, "groups": asked["groups"]}
        with one_thread():
            groups = choose_groups(panel, profile_layout(panel, spec, seasons, spec.static), spec.horizon, origins)
        return {"seasons": seasons, "groups": [list(names) for names in groups]}

    @classmethod
    def fit(
        cls, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None = None
    ) -> ProfilePath:
        """Measure the groups at the end of the panel, learn the weights inside it; raises HistoryTooShort."""
        m, length = spec.season, int(np.median(panel.lengths)) if len(panel.lengths) else 0
        if length < m:
            raise HistoryTooShort(
                f"{length} rows in a typical series; a seasonal profile needs a whole season of {m}",
                field="season_length",
                allowed={"rows": m},
                next_step=f"send {m} rows per series, or name a shorter season",
            )
        names = tuple(sorted({name for group in settings["groups"] for name in group}))
        layout = profile_layout(panel, spec, settings["seasons"], names)
        tail = tail_inputs(panel, layout)
        groupings = tuple(
            grouping_by([names.index(name) for name in sorted(group)], tail.static) for group in settings["groups"]
        )
        with one_thread():
            seen = [grouped(seen_at(panel, layout, b), groupings) for b in backs_for(layout, length, spec.horizon)]
            weights = learn(panel, seen, spec.horizon, groupings=len(groupings))
            whole = tail.take(tail.known >= m)
            tables = shape_tables(season_view(whole, m).own, whole, groupings)
        return ProfilePath(
            family=cls.family,
            layout=layout,
            groupings=groupings,
            tables=tables,
            weights=weights,
            low=0.0 if spec.nonnegative else -np.inf,
        )


def profile_layout(panel: Panel, spec: ForecastSpec, seasons: int, static: Sequence[str]) -> Layout:
    """Whole seasons of the target and the static columns of the groups; no other column is read."""
    plain = replace(spec, known_future=(), historical=(), static=tuple(static), lookback=seasons * spec.season)
    return replace(layout_for(plain, panel.axis), season_length=spec.season)
