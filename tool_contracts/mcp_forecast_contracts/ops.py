"""Contracts of the operations tools."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from mcp_forecast_contracts.contract import Contract
from mcp_forecast_contracts.schema import Answer, Arguments


class GetServiceStatusArguments(Arguments):
    """Nothing to say."""


class ServiceStatusAnswer(Answer):
    """How the service is: versions, store, queue, limits, what this caller may do."""

    version: str
    caller: str
    scopes: list[str]
    home: str
    roots: Annotated[list[str], Field(description="folders that files may be read from")]
    store: Annotated[dict[str, Any], Field(description="database kind, version, schema revision, guard")]
    runs: Annotated[dict[str, int], Field(description="runs by state")]
    limits: Annotated[dict[str, Any], Field(description="rate, burst, workers, lease, wall limit")]
    policy: Annotated[dict[str, str], Field(description="policy id, revision, digest")]
    audit: Annotated[dict[str, Any], Field(description="entries, those sealed, whether sealing works, its checkpoint")]


GET_SERVICE_STATUS: Final = Contract(
    name="get_service_status",
    version="0.2.0",
    title="Service status",
    description="How the service is: version, store, runs by state, limits, allowed folders and what you may do.",
    arguments=GetServiceStatusArguments,
    result=ServiceStatusAnswer,
    effect="read",
    errors=(),
    examples=({},),
)
