"""Seasonal naive: the same step of the last season again; the rule that every model has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.design import design_for
from mcp_forecast_engine.models.features import inputs_at, layout_for
from mcp_forecast_engine.models.forecaster import FittedPath, Settings
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.windows import seasonal_change

Integers = NDArray[np.int64]


class SeasonalNaive:
    """y[t + h] = y[t + h - period]; the period is a season or, where it is better on validation, seven seasons.

    Settings: period, steps. The longer one is the week of hourly data: no baseline is made weak on purpose.
    """

    family: ClassVar[str] = "seasonal_naive"

    @classmethod
    def tune(cls, panel: Panel, spec: ForecastSpec, origins: Sequence[Integers]) -> Settings:
        """Take the period with the smaller scaled absolute error on the validation windows."""
        m, periods = spec.season_length, naive_periods(spec)
        if len(periods) == 1 or not origins:
            return {"period": m}
        table = np.stack(origins)
        window, series = np.nonzero(table >= 0)
        layout = layout_for(_plain(spec), panel.axis)
        origin = table[window, series]
        inputs = inputs_at(panel, layout, series, origin)
        place = (panel.offsets[series] + origin)[:, None] + np.arange(spec.horizon)
        change = np.nan_to_num(seasonal_change(panel, m, panel.lengths), nan=1.0)[series][:, None]
        weight = panel.observed[place] / np.where(change > 0, change, 1.0)

        def loss(period: int) -> float:
            path = inputs.target[:, repeated_lags(spec, period)]
            return float((np.abs(path - panel.y[place]) * weight).sum())

        return {"period": min(periods, key=loss)}

    @classmethod
    def fit(cls, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None = None) -> FittedPath:
        """Nothing is learned: the weights are ones where the last period is read."""
        plain = _plain(spec)
        layout = layout_for(plain, panel.axis)
        weights = np.zeros((1, spec.lookback + len(layout.calendar), spec.horizon))
        weights[0, repeated_lags(spec, settings["period"]), np.arange(spec.horizon)] = 1.0
        return FittedPath(
            family=cls.family,
            spec=plain,
            settings=settings,
            layout=layout,
            design=design_for(panel, layout),
            transform="identity",
            weights=weights,
            bias=np.zeros((1, spec.horizon)),
            slot=np.zeros(max(spec.season_length, 1), np.int64),
            low=np.full(spec.horizon, -np.inf),
            high=np.full(spec.horizon, np.inf),
        )


def naive_periods(spec: ForecastSpec) -> tuple[int, ...]:
    """The season, and seven of them (a week of hours or of quarter hours) where the lookback holds them."""
    m = spec.season_length
    return (m, 7 * m) if m >= 24 and 7 * m <= spec.lookback else (m,)


def _plain(spec: ForecastSpec) -> ForecastSpec:
    return ForecastSpec(
        horizon=spec.horizon,
        season_length=spec.season_length,
        lookback=spec.lookback,
        nonnegative=spec.nonnegative,
    )


def repeated_lags(spec: ForecastSpec, period: int) -> Integers:
    """Which lag each horizon step repeats, int64 (horizon); a lookback shorter than the period is repeated whole."""
    period = min(period, spec.lookback)
    return np.asarray(spec.lookback - period + np.arange(spec.horizon) % period, np.int64)
