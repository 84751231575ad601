"""Effects: a short history as level, trend, season and covariates, each series' own effects drawn towards its kin's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.basis import basis_for
from mcp_forecast_engine.models.effects_fit import MOST_HARMONICS, Held, Moments, effects_of, moments_of, season_basis
from mcp_forecast_engine.models.effects_path import EffectsPath
from mcp_forecast_engine.models.features import Layout, layout_for
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.regression import one_thread
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.static_groups import Grouping, grouping_by, static_values, useful
from mcp_forecast_engine.models.validation import ValidationWindows, validation_windows
from mcp_forecast_engine.models.windows import before, no_window

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Steps that a level is measured on at least, where the history has them; two seasons are better than one.
_LEVEL_STEPS = 60
# How much of one step's weight the step before has in the level, and how like two errors in a row are then.
_LEVELS = ((1.0, 0.0), (0.9, 0.5), (0.6, 0.9))
_HARMONICS = (0, 2, MOST_HARMONICS)
_RIDGES = (0.001, 0.03)
_OWN = (0.03, 0.3, 3.0, 30.0)
# Series and windows that are enough to choose settings by.
_SOME_SERIES, _SOME_WINDOWS = 200, 1_500
_MOST_COMBINATIONS = 50_000


@dataclass(frozen=True)
class _Kin:
    """Static columns that group series, by place among `names`: together, and one by one, int64 (S) each."""

    names: tuple[str, ...]
    together: Grouping
    labels: tuple[Integers, ...]


class Effects:
    """A regression on season, known-future covariates and time, fitted to each series and drawn towards its groups.

    Dynamic harmonic regression (Hyndman and Athanasopoulos 2021, section 10.5) in closed form, its level that of the
    window. Settings: log, whether effects multiply; harmonics; trend; memory of the level, likeness of errors in a row;
    ridge on what is shared, own on departures. Scale-equivariant; a shift changes only the unit that effects are in.
    """

    family: ClassVar[str] = "effects"

    @classmethod
    def tune(cls, panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], asked: Settings) -> Settings:
        """Shape first, then the level's memory, then how strongly effects are held back, each by the windows' error."""
        settings: dict[str, Any] = {
            "log": False, "harmonics": 2, "trend": True, "memory": 0.9, "likeness": 0.5, "ridge": 0.001, "own": 0.3,
            **asked,
        }  # fmt: skip
        if not origins:
            return settings
        trial, windows = _trial(panel, spec, origins)
        known = before(trial, windows.until)
        with one_thread():
            for options in _stages(spec, len(panel.unique_id)):
                tries = [{**settings, **option, **asked} for option in options]
                losses = [windows.loss(cls.fit(known, spec, one)) for one in tries]
                settings = tries[int(np.argmin(losses))]
        return settings

    @classmethod
    def fit(
        cls, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None = None
    ) -> EffectsPath:
        """Fit the settings on the whole panel; raises HistoryTooShort where no series has three rows."""
        kin = _kin(panel, spec.static)
        layout = _layout(panel, spec, kin.names)
        drivers = basis_for(panel, layout.known_future)
        waves = season_basis(spec.season, int(settings["harmonics"]))
        with one_thread():
            found = moments_of(panel, layout, drivers, waves, log=settings["log"], likeness=settings["likeness"])
            if not found.count.any() and not np.any(panel.lengths >= 3):
                raise no_window(spec, panel.lengths)
            table = _table(found, kin, Held(settings["ridge"], settings["own"], bool(settings["trend"])))
        return EffectsPath(
            layout=layout,
            drivers=drivers,
            waves=waves,
            table=table,
            grouping=kin.together,
            memory=settings["memory"],
            log=settings["log"],
            nonnegative=spec.nonnegative,
        )

    @classmethod
    def recalibrate(
        cls, panel: Panel, spec: ForecastSpec, settings: Settings, origins: Sequence[Integers]
    ) -> Iterator[EffectsPath]:
        """One fit per window, from what lies before it."""
        for origin in origins:
            yield cls.fit(before(panel, np.maximum(origin, 0)), spec, settings)


def _stages(spec: ForecastSpec, series: int) -> list[list[Mapping[str, Any]]]:
    waves = _HARMONICS if spec.season > 1 else (0,)
    logs = (False, True) if spec.nonnegative else (False,)
    held = [{"own": own} for own in _OWN] if series > 1 else [{"ridge": ridge} for ridge in _RIDGES]
    return [
        [{"log": log, "harmonics": count, "trend": trend} for log, count, trend in product(logs, waves, (False, True))],
        [{"memory": memory, "likeness": likeness} for memory, likeness in _LEVELS],
        [dict(option) for option in held],
    ]


def _layout(panel: Panel, spec: ForecastSpec, static: tuple[str, ...]) -> Layout:
    """Whole seasons of the target, and the known-future covariates beside every step of them."""
    m, longest = spec.season, int(panel.lengths.max(initial=1))
    steps = max(min(max(2 * m, _LEVEL_STEPS), longest), 1)
    lookback = -(-steps // m) * m
    own = replace(spec, lookback=lookback, historical=(), static=static)
    named = panel.unique_id if len(panel.unique_id) > 1 else ()
    return replace(layout_for(own, panel.axis), past=lookback, series=named)


def _kin(panel: Panel, names: Sequence[str]) -> _Kin:
    """The static columns that say something of several series at once."""
    static = static_values(panel, names)
    kept: list[int] = []
    combinations = 1
    for column in range(len(names)):
        levels = len(np.unique(static[:, column])) + 1
        if useful([column], static) and combinations * levels <= _MOST_COMBINATIONS:
            kept.append(column)
            combinations *= levels
    static = static[:, kept]
    labels = tuple(np.unique(static[:, place], return_inverse=True)[1].astype(np.int64) for place in range(len(kept)))
    return _Kin(tuple(names[column] for column in kept), grouping_by(range(len(kept)), static), labels)


def _table(found: Moments, kin: _Kin, held: Held) -> Floats:
    """Effects of every series, of a stranger in each group, and of any other, (S + groups + 1, P)."""
    shared, added, own = effects_of(found, kin.labels, held)
    of_kin = np.tile(shared, (len(own), 1))
    for label, table in zip(kin.labels, added, strict=True):
        of_kin += table[label]
    strangers = np.tile(shared, (kin.together.size + 1, 1))
    if kin.labels:
        strangers[kin.together.of(_levels(kin))] = of_kin
    return np.concatenate([of_kin + own if len(own) > 1 else np.zeros((0, len(shared))), strangers])


def _levels(kin: _Kin) -> Floats:
    """The static values of every series again, (S, G)."""
    pairs = zip(kin.together.levels, kin.labels, strict=True)
    return np.stack([levels[label] for levels, label in pairs], axis=1)


def _trial(panel: Panel, spec: ForecastSpec, origins: Sequence[Integers]) -> tuple[Panel, ValidationWindows]:
    """Some of the series and windows, evenly."""
    step = -(-len(panel.unique_id) // _SOME_SERIES)
    if step > 1:
        kept = np.zeros(len(panel.unique_id), bool)
        kept[::step] = True
        panel, origins = _of_series(panel, kept), [origin[kept] for origin in origins]
    return panel, validation_windows(panel, spec, origins, most=_SOME_WINDOWS)


def _of_series(panel: Panel, kept: NDArray[np.bool_]) -> Panel:
    rows = np.repeat(kept, panel.lengths)
    return replace(
        panel,
        unique_id=tuple(name for name, keep in zip(panel.unique_id, kept, strict=True) if keep),
        offsets=np.concatenate([[0], np.cumsum(panel.lengths[kept])]).astype(np.int64),
        ds=panel.ds[rows],
        y=panel.y[rows],
        observed=panel.observed[rows],
        covariates={name: values[rows] for name, values in panel.covariates.items()},
    )
