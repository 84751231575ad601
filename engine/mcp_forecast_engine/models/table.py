"""The model families by name."""

from __future__ import annotations

from mcp_forecast_engine.models.direct_ridge import DirectRidge
from mcp_forecast_engine.models.forecaster import Forecaster
from mcp_forecast_engine.models.seasonal_naive import SeasonalNaive

MODELS: dict[str, type[Forecaster]] = {"seasonal_naive": SeasonalNaive, "direct_ridge": DirectRidge}
