"""Every contract, by tool name, in the order tools are listed."""

from __future__ import annotations

from typing import Final

from mcp_forecast_contracts.artifacts import LIST_ARTIFACTS, READ_ARTIFACT
from mcp_forecast_contracts.audit import GET_AUDIT_TRAIL
from mcp_forecast_contracts.bundles import LIST_BUNDLES, PROMOTE_BUNDLE, PUBLISH_BUNDLE, ROLLBACK_BUNDLE
from mcp_forecast_contracts.catalogue import ORDER
from mcp_forecast_contracts.comparison import COMPARE_RUNS
from mcp_forecast_contracts.contract import Contract
from mcp_forecast_contracts.data import DESCRIBE_DATASET, REGISTER_DATASET
from mcp_forecast_contracts.inference import RUN_INFERENCE
from mcp_forecast_contracts.ops import GET_SERVICE_STATUS
from mcp_forecast_contracts.preprocessing import RUN_PREPROCESSING
from mcp_forecast_contracts.runs import CANCEL_RUN, GET_RUN_STATUS, LIST_RUNS
from mcp_forecast_contracts.training import RUN_TRAINING

_ALL = (
    REGISTER_DATASET,
    DESCRIBE_DATASET,
    RUN_PREPROCESSING,
    RUN_TRAINING,
    RUN_INFERENCE,
    GET_RUN_STATUS,
    CANCEL_RUN,
    LIST_RUNS,
    LIST_ARTIFACTS,
    READ_ARTIFACT,
    COMPARE_RUNS,
    PUBLISH_BUNDLE,
    LIST_BUNDLES,
    PROMOTE_BUNDLE,
    ROLLBACK_BUNDLE,
    GET_AUDIT_TRAIL,
    GET_SERVICE_STATUS,
)
CONTRACTS: Final[dict[str, Contract]] = {name: next(c for c in _ALL if c.name == name) for name in ORDER}
