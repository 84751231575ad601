"""The SSE door: GET /sse and POST /messages/, the transport that MCP gave up and some clients still ask for.

Both eras are negotiated on it. A client that goes away ends its calls; how many may stay is bounded.
"""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from typing import Any, Final

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.middleware.bearer_auth import RequireAuthMiddleware
from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

MOST: Final = 64  # streams at the same time
MOST_PER_CALLER: Final = 16
MESSAGES: Final = "/messages/"
DOOR: Final[ContextVar[str]] = ContextVar("door", default="http")  # which door the request in hand came through


def sse_routes(server: Server[Any], security: TransportSecuritySettings) -> list[BaseRoute]:
    """The two routes, behind the same token as /mcp. What the server keeps lives outside of its streams."""
    transport = SseServerTransport(MESSAGES, security_settings=security)

    async def post(scope: Scope, receive: Receive, send: Send) -> None:
        DOOR.set("sse")
        await transport.handle_post_message(scope, receive, send)

    streams = SseStreams(server, transport, TransportSecurityMiddleware(security))
    return [
        Route("/sse", endpoint=RequireAuthMiddleware(streams, [])),
        Mount(MESSAGES, app=RequireAuthMiddleware(post, [])),
    ]


class SseStreams:
    """Opens a stream for a client and serves it until it goes."""

    def __init__(
        self, server: Server[Any], transport: SseServerTransport, security: TransportSecurityMiddleware
    ) -> None:
        self._server, self._transport, self._security = server, transport, security
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One stream, from its request to its end."""
        token = get_access_token()
        caller = "" if token is None else token.client_id
        refused = await self._refused(Request(scope, receive), caller)
        if refused is not None:
            await refused(scope, receive, send)
            return
        self._open[caller] += 1
        try:
            async with self._transport.connect_sse(scope, receive, send) as (messages, answers):
                await self._server.run(messages, answers, self._server.create_initialization_options())
        finally:
            self._open[caller] -= 1
            self._open += Counter()  # forgets callers without a stream

    async def _refused(self, request: Request, caller: str) -> Response | None:
        if request.method != "GET":
            return Response(status_code=405, headers={"allow": "GET"})
        if self._open[caller] >= MOST_PER_CALLER or self._open.total() >= MOST:
            text = f"{MOST_PER_CALLER} streams a caller and {MOST} in all may be open; close one first"
            return PlainTextResponse(text, status_code=429, headers={"retry-after": "5"})
        return await self._security.validate_request(request, is_post=False)
