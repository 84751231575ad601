"""One file per toolset: each turns a request into one engine call. TOOLS is every tool by name, in the listed order."""

from __future__ import annotations

from typing import Final

from mcp_forecast.calls.tool import Tool
from mcp_forecast.tools.artifacts import ARTIFACT_TOOLS
from mcp_forecast.tools.audit import AUDIT_TOOLS
from mcp_forecast.tools.comparison import COMPARISON_TOOLS
from mcp_forecast.tools.data import DATA_TOOLS
from mcp_forecast.tools.ops import OPS_TOOLS
from mcp_forecast.tools.preprocessing import PREPROCESSING_TOOLS
from mcp_forecast.tools.registry import REGISTRY_TOOLS
from mcp_forecast.tools.runs import RUN_TOOLS
from mcp_forecast_contracts.catalogue import ORDER

_ALL: Final = {
    tool.contract.name: tool
    for tool in (
        *DATA_TOOLS,
        *PREPROCESSING_TOOLS,
        *RUN_TOOLS,
        *ARTIFACT_TOOLS,
        *COMPARISON_TOOLS,
        *REGISTRY_TOOLS,
        *AUDIT_TOOLS,
        *OPS_TOOLS,
    )
}
TOOLS: Final[dict[str, Tool]] = {name: _ALL[name] for name in ORDER}
