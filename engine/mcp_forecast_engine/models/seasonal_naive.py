"""Seasonal naive: the same step of the last season again; the rule that every model has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.design import design_for
from mcp_forecast_engine.models.features import layout_for
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.linear_path import LinearPath
from mcp_forecast_engine.models.spec import BASELINE_FAMILY, ForecastSpec

Integers = NDArray[np.int64]


class SeasonalNaive:
    """y[t + h] = y[t + h - k m], k the smallest that lies in the past: the plain rule, with nothing tuned or corrected.

    Settings: period, steps: the declared season, m, unless a candidate asks for another.
    """

    family: ClassVar[str] = BASELINE_FAMILY

    @classmethod
    def tune(cls, panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], asked: Settings) -> Settings:
        """The declared season unless `asked` names a period (1: the last value); there is nothing to choose."""
        return {"period": spec.season_length, **asked}

    @classmethod
    def fit(cls, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None = None) -> LinearPath:
        """Nothing is learned: the weights are ones where the last period is read."""
        plain = _plain(spec)
        layout = layout_for(plain, panel.axis)
        weights = np.zeros((1, spec.lookback + len(layout.calendar), spec.horizon))
        weights[0, repeated_lags(spec, settings["period"]), np.arange(spec.horizon)] = 1.0
        return LinearPath(
            family=cls.family,
            layout=layout,
            design=design_for(panel, layout),
            transform="identity",
            weights=weights,
            bias=np.zeros((1, spec.horizon)),
            slot=np.zeros(spec.season, np.int64),
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
