"""The usual server: a tool of the SDK's `MCPServer` that returns the bytes of ECHO_RESULT, stdio or `http PORT`."""

from __future__ import annotations

import json
import os
import sys

from mcp.server.mcpserver import MCPServer
from mcp.types import CallToolResult, TextContent

RESULT = json.loads(os.environ.get("ECHO_RESULT", '{"ok": true}'))
TEXT = json.dumps(RESULT, separators=(",", ":"), ensure_ascii=False)
server = MCPServer("echo")


@server.tool()
def echo(run_id: str = "") -> CallToolResult:
    """Returns the same."""
    return CallToolResult(content=[TextContent(type="text", text=TEXT)], structured_content=RESULT)


if __name__ == "__main__":
    if sys.argv[1:2] == ["http"]:
        import uvicorn

        uvicorn.run(server.streamable_http_app(), port=int(sys.argv[2]), log_level="error", timeout_keep_alive=75)
    else:
        server.run()
