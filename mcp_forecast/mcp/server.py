"""The MCP door: tools as the contracts list them, resources, prompts; calls into the one path, both protocol eras.

The SDK's low-level `Server` validates and coerces nothing of ours; what reaches the pipeline is what was sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Final, TypeVar

import mcp_types as T
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from mcp_forecast.calls.caller import Caller
from mcp_forecast.mcp.completion import Completion
from mcp_forecast.mcp.context import Context, compact
from mcp_forecast.mcp.instructions import INSTRUCTIONS
from mcp_forecast.mcp.opening import Envelope, Opening
from mcp_forecast.mcp.prompts import get_prompt, list_prompts
from mcp_forecast.mcp.resources import Resources
from mcp_forecast_contracts import catalogue

log = logging.getLogger(__name__)
R = TypeVar("R")
PAGE: Final = 50
_PUBLIC: Final = CacheHint(ttl_ms=300_000, scope="public")
_PRIVATE: Final = CacheHint(ttl_ms=0, scope="private")
_CACHED: Final[dict[CacheableMethod, CacheHint]] = {
    "server/discover": _PUBLIC,
    "tools/list": _PUBLIC,
    "prompts/list": _PUBLIC,
    "resources/templates/list": _PUBLIC,
    "resources/list": _PRIVATE,
    "resources/read": _PRIVATE,  # contracts say otherwise themselves
}


class RawCall(dict[str, Any]):
    """Params that pass the SDK's own checks, with what the client really sent as tool and arguments beside them."""

    def __init__(self, params: Any) -> None:
        sent = params if isinstance(params, dict) else {}
        super().__init__({**sent, "name": str(sent.get("name", "")), "arguments": {}})
        self.tool, self.arguments = sent.get("name"), sent.get("arguments")


def build_server(opening: Opening, caller_of: Callable[[], Caller]) -> Server[Any]:
    """The server of one process. caller_of: who makes the call in hand, from the door, never from the payload."""

    async def list_tools(_: Context, params: T.PaginatedRequestParams | None) -> Any:
        opening.begin_soon()
        return tools_page(None if params is None else params.cursor)

    async def shaped(ctx: Context, tool: Any, arguments: Any, shape: Callable[[Envelope], R]) -> R:
        """One call for the caller in hand, in the shape of its method, whatever happens."""
        try:
            desk = await opening.desk()
            return shape(await desk.call(tool, arguments, caller_of(), ctx.session.report_progress))
        except MCPError:
            raise
        except Exception as error:
            return shape(_unopened(opening, error))

    async def call_tool(ctx: Context, params: T.CallToolRequestParams) -> Any:
        sent = ctx.params if isinstance(ctx.params, RawCall) else None
        tool: Any = params.name if sent is None else sent.tool
        return await shaped(ctx, tool, params.arguments if sent is None else sent.arguments, result_of)

    async def ask(ctx: Context, tool: str, arguments: dict[str, Any]) -> Envelope:
        return await shaped(ctx, tool, arguments, lambda envelope: envelope)

    resources = Resources(ask)
    schemas = {tool["name"]: tool["inputSchema"] for tool in catalogue.tools()}
    server: Server[Any] = Server(
        "mcp-forecast",
        version=version("mcp-forecast"),
        title="Forecasting desk",
        description="Trains, checks and serves forecasts through one governed set of tools.",
        instructions=INSTRUCTIONS,
        cache_hints=_CACHED,
        get_tool_input_schema=schemas.get,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=resources.listed,
        on_list_resource_templates=resources.templates,
        on_read_resource=resources.read,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=Completion(ask),
    )
    server.middleware.append(admit_malformed_calls)
    return server


def tools_page(cursor: str | None) -> dict[str, Any]:
    """One page of the tools as committed. Raises MCPError -32602 for a cursor that tools/list did not give."""
    tools = catalogue.tools()
    start = _start_of(cursor, len(tools))
    page: dict[str, Any] = {"resultType": "complete", "tools": tools[start : start + PAGE]}
    return page if start + PAGE >= len(tools) else {**page, "nextCursor": str(start + PAGE)}


def result_of(envelope: Envelope) -> dict[str, Any]:
    """The envelope as a tool's result: one value as text and as structure. Raises ValueError for what is no JSON."""
    return {
        "resultType": "complete",
        "content": [{"type": "text", "text": compact(envelope)}],
        "structuredContent": envelope,
        "isError": not envelope["ok"],
    }


async def admit_malformed_calls(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Let a tools/call without a name, or with arguments that are no object, reach the one path and its errors."""
    if ctx.method != "tools/call" or ctx.request_id is None:
        return await call_next(ctx)
    params = ctx.params
    if isinstance(params, dict) and isinstance(params.get("name"), str) and _is_object(params.get("arguments")):
        return await call_next(ctx)
    return await call_next(replace(ctx, params=RawCall(params)))


def _is_object(arguments: object) -> bool:
    return arguments is None or isinstance(arguments, dict)


def _start_of(cursor: str | None, count: int) -> int:
    if cursor is None:
        return 0
    if cursor in {str(start) for start in range(PAGE, count, PAGE)}:
        return int(cursor)
    raise MCPError(code=T.INVALID_PARAMS, message="Invalid cursor")


def _unopened(opening: Opening, error: Exception) -> Envelope:
    try:
        return opening.unopened(error)
    except ImportError:  # a broken installation has no pipeline to say so
        log.exception("the server cannot answer calls")
        raise MCPError(code=T.INTERNAL_ERROR, message="Internal server error") from None
