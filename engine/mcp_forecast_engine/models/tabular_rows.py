"""The regressors of one window and step, for trees: seasonal lags, shapes, recent means, covariates, calendar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.calendar import YEAR_DAYS
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.frequency import DAY, parse_frequency
from mcp_forecast_engine.models.features import Inputs, Layout
from mcp_forecast_engine.models.levels import half_gap
from mcp_forecast_engine.models.scaling import MEASURED, LocalScale, Transform, Yardstick, local_scale
from mcp_forecast_engine.models.season_view import genuine_weights, spans_of
from mcp_forecast_engine.models.static_groups import Grouping

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]

# Numbers in the window's units are multiples of this, so that the last bit of a sum never moves a row to another leaf.
GRID = 2.0**-14
LARGEST = 200.0
SEASONAL_LAGS = 3
# A level of a factor counts as if seen this often with no effect.
UNSEEN = 2.0
_MOST_LEVELS = 8
_MOST_FACTORS = 6


@dataclass(frozen=True)
class Factor:
    """A known-future covariate with few levels. place: its column there. levels: its values in training, ascending."""

    place: int
    levels: Floats

    def match(self, values: Floats) -> Floats:
        """(B, n) values to (B, n, levels), one where they are equal."""
        return (np.abs(values[:, :, None] - self.levels) < half_gap(self.levels)).astype(np.float64)


@dataclass(frozen=True)
class Measured:
    """Windows in their own units. z: (B, lookback). own: (B, m), shape of the season: weighted mean of its seasons."""

    scale: LocalScale
    z: Floats
    own: Floats


@dataclass(frozen=True)
class TabularRows:
    """What a row holds, in order.

    At the step: lags of its place in the season (newest season first), own shape, shape of each grouping, effect of
    each factor's level within the lookback, time of the year, known-future covariates. The same at every step: means of
    the target over the last step, the spans and the season, growth over each span, last value and mean of historical
    covariates, static ones, hour and weekday of the first step. Last the step itself and its place in the season.
    """

    layout: Layout
    transform: Transform
    groupings: tuple[Grouping, ...]
    factors: tuple[Factor, ...]
    yard: Yardstick = MEASURED

    def measured(self, inputs: Inputs) -> Measured:
        """The windows in their own units, from what a served model is given: float32."""
        m = self.layout.season_length
        target = inputs.target.astype(np.float32).astype(np.float64)
        scale = local_scale(target, self.transform, self.yard)
        z = on_grid(scale.forward(target))
        count = z.shape[1] // m
        seasons = z.reshape(len(z), count, m)
        weight = genuine_weights(inputs.known, m, count)
        return Measured(scale, z, on_grid((seasons * weight[:, :, None]).sum(axis=1)))

    def rows(self, inputs: Inputs, measured: Measured, shapes: list[Floats]) -> Singles:
        """(B, horizon, F); shapes: per grouping (B, m), the shape of each window's group."""
        size, m, h = len(inputs), self.layout.season_length, self.layout.horizon
        step = np.arange(h)
        seasons = measured.z.reshape(size, measured.z.shape[1] // m, m)
        lags = [seasons[:, -k] for k in range(1, min(SEASONAL_LAGS, seasons.shape[1]) + 1)]
        by_place = [part[:, step % m] for part in (*lags, measured.own, *(on_grid(shape) for shape in shapes))]
        past = inputs.cov_hist.astype(np.float32).astype(np.float64)
        own, values = np.split(past, [len(self.layout.historical)], axis=2)
        by_step = [*by_place, *self._effects(inputs, measured, values), *self._time_of_year(inputs)]
        plain = inputs.calendar[:, plain_calendar(self.layout)]
        fixed = [*self._recent(measured.z), *own[:, -1].T, *own.mean(axis=1).T, *inputs.static.T, *plain.T]
        place = (inputs.phase[:, None] + step) % m
        parts = [
            np.stack(by_step, axis=2),
            inputs.cov_future,
            np.broadcast_to(np.stack(fixed, axis=1)[:, None], (size, h, len(fixed))),
            np.broadcast_to((step + 1.0)[None, :, None], (size, h, 1)),
            place[:, :, None],
        ]
        return np.concatenate([part.astype(np.float32) for part in parts], axis=2)

    def _effects(self, inputs: Inputs, measured: Measured, values: Floats) -> list[Floats]:
        """Per factor (B, horizon): how far the target lay from its shape where the factor had the step's level."""
        if not self.factors:
            return []
        seasons = measured.z.shape[1] // measured.own.shape[1]
        apart = measured.z - np.tile(measured.own, (1, seasons))
        found = []
        for factor in self.factors:
            past = factor.match(values[:, :, factor.place])
            effect = (apart[:, :, None] * past).sum(axis=1) / (past.sum(axis=1) + UNSEEN)
            ahead = factor.match(inputs.cov_future[:, :, factor.place])
            found.append(on_grid((ahead * effect[:, None]).sum(axis=2)))
        return found

    def _time_of_year(self, inputs: Inputs) -> list[Floats]:
        """Sine and cosine of the time of the year at every step, (B, horizon) each, turned on from the first step's."""
        places_ = year_columns(self.layout)
        if not places_:
            return []
        sine, cosine = inputs.calendar[:, places_].astype(np.float32).astype(np.float64).T[:, :, None]
        turn = turns(self.layout)
        return [
            on_grid(sine * np.cos(turn) + cosine * np.sin(turn)),
            on_grid(cosine * np.cos(turn) - sine * np.sin(turn)),
        ]

    def _recent(self, z: Floats) -> list[Floats]:
        m = self.layout.season_length
        means = [on_grid(z[:, -k:].mean(axis=1)) for k in recent_spans(m)]
        growth = [
            on_grid(z[:, -k:].mean(axis=1) - z[:, -k - m : -m].mean(axis=1)) for k in spans_of(m) if z.shape[1] >= k + m
        ]
        return [*means, *growth]


def year_columns(layout: Layout) -> list[int]:
    """Places of the first pair of the year among the calendar columns; none where a step has no time of the year."""
    wanted = ("year_sin1", "year_cos1")
    return [layout.calendar.index(name) for name in wanted] if wanted[0] in layout.calendar else []


def plain_calendar(layout: Layout) -> list[int]:
    """Places of the calendar columns that say nothing of the year: hours and weekdays of the first step."""
    return [place for place, name in enumerate(layout.calendar) if not name.startswith("year_")]


def turns(layout: Layout) -> Floats:
    """The angle of the year between the first step and every step, (horizon)."""
    step = parse_frequency(layout.axis.freq)
    days = 1.4 if step.unit == "business" else step.count / DAY  # five business days are a week
    return np.asarray(2 * np.pi * days / YEAR_DAYS * np.arange(layout.horizon), np.float64)


def recent_spans(season_length: int) -> tuple[int, ...]:
    """Over how many last steps the target is averaged: one, the spans of a season, all of it."""
    return tuple(sorted({1, *spans_of(season_length), season_length}))


def on_grid(values: Floats) -> Floats:
    """Rounded to multiples of GRID within plus and minus LARGEST."""
    return np.asarray(np.round(np.clip(values, -LARGEST, LARGEST) / GRID) * GRID, np.float64)


def factors_of(panel: Panel, known_future: tuple[str, ...]) -> tuple[Factor, ...]:
    """The known-future covariates that have few levels, up to six."""
    found = []
    for place, name in enumerate(known_future):
        levels = np.unique(panel.covariates[name].astype(np.float32)).astype(np.float64)
        if 2 <= len(levels) <= _MOST_LEVELS:
            found.append(Factor(place, levels))
    return tuple(found[:_MOST_FACTORS])
