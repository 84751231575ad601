"""The one shape of every answer: `{ok, result | error, request_id, replayed, warnings}`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mcp_forecast_contracts.errors import Category, Code, Disposition


class ErrorBody(BaseModel):
    """Why a call was refused and what to do next."""

    model_config = ConfigDict(extra="forbid")
    code: Code
    category: Category
    disposition: Annotated[Disposition, Field(description="outcome_unknown: retry only with the same key")]
    retry_after_s: Annotated[float | None, Field(description="before a retry")] = None
    message: Annotated[str, Field(description="what was found, what is allowed")]
    field: Annotated[str | None, Field(description="the argument at fault")] = None
    allowed: Annotated[list[str] | None, Field(description="what is accepted")] = None
    next_step: Annotated[str, Field(description="the call or edit that helps")]
    details: Annotated[dict[str, Any] | None, Field(description="finer reason, correlation id")] = None


def error_schema() -> dict[str, Any]:
    """JSON Schema of the error body, flat, absent instead of null."""
    from mcp_forecast_contracts.schema import flat_schema

    return flat_schema(ErrorBody)


def envelope_schema(result: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of an answer whose `result` has this schema."""
    return {
        "type": "object",
        "properties": {
            "ok": {"type": "boolean"},
            "result": result,
            "error": error_schema(),
            "request_id": {"type": "string", "description": "new on every call"},
            "replayed": {"type": "boolean", "description": "true: the stored answer of an earlier call"},
            "replay_of": {"type": "string", "description": "request_id of that call"},
            "warnings": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["ok", "request_id", "replayed", "warnings"],
        "additionalProperties": False,
    }
