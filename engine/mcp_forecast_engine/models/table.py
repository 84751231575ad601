"""The model families by name."""

from __future__ import annotations

from mcp_forecast_engine.models.direct_ridge import DirectRidge
from mcp_forecast_engine.models.effects import Effects
from mcp_forecast_engine.models.forecaster import Family
from mcp_forecast_engine.models.local_model import Ces, Ets, Theta
from mcp_forecast_engine.models.mlp import Mlp
from mcp_forecast_engine.models.pretrained import Pretrained
from mcp_forecast_engine.models.seasonal_naive import SeasonalNaive
from mcp_forecast_engine.models.seasonal_profiles import SeasonalProfiles
from mcp_forecast_engine.models.segment_lstm import SegmentLstm
from mcp_forecast_engine.models.tabular import Tabular

MODELS: dict[str, type[Family]] = {
    "seasonal_naive": SeasonalNaive,
    "direct_ridge": DirectRidge,
    "theta": Theta,
    "ces": Ces,
    "ets": Ets,
    "effects": Effects,
    "pretrained": Pretrained,
    "seasonal_profiles": SeasonalProfiles,
    "tabular": Tabular,
    "mlp": Mlp,
    "segment_lstm": SegmentLstm,
}

# Families that may learn some phases of the season only: at others somebody else has to answer.
PHASED = frozenset({"mlp", "segment_lstm"})
