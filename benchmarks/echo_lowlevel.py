"""The bare floor: the SDK's low-level server, one tool that returns the bytes of ECHO_RESULT, stdio or `http PORT`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import anyio
import mcp_types as T
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

RESULT = json.loads(os.environ.get("ECHO_RESULT", '{"ok": true}'))
TEXT = json.dumps(RESULT, separators=(",", ":"), ensure_ascii=False)
SCHEMA = {"type": "object", "properties": {"run_id": {"type": "string"}}}


async def list_tools(_: Any, __: Any) -> Any:
    return {"resultType": "complete", "ttlMs": 0, "cacheScope": "private",
            "tools": [{"name": "echo", "description": "returns the same", "inputSchema": SCHEMA}]}  # fmt: skip


async def call_tool(_: Any, __: T.CallToolRequestParams) -> Any:
    return {"resultType": "complete", "content": [{"type": "text", "text": TEXT}], "structuredContent": RESULT,
            "isError": False}  # fmt: skip


SERVER: Server[Any] = Server(
    "echo", version="1", get_tool_input_schema=lambda _: SCHEMA, on_list_tools=list_tools, on_call_tool=call_tool
)


async def serve() -> None:
    async with stdio_server() as (read, write):
        await SERVER.run(read, write, SERVER.create_initialization_options())


if __name__ == "__main__":
    if sys.argv[1:2] == ["http"]:
        import uvicorn

        uvicorn.run(SERVER.streamable_http_app(), port=int(sys.argv[2]), log_level="error", timeout_keep_alive=75)
    else:
        anyio.run(serve)
