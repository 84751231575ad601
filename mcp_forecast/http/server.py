"""The HTTP door: streamable HTTP and SSE on this machine's own address, behind the bearer tokens of the home."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.settings import AuthSettings
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl
from starlette.applications import Starlette

from mcp_forecast.calls.caller import Caller
from mcp_forecast.http.callers import Callers
from mcp_forecast.http.flood import FloodGuard, Pace
from mcp_forecast.http.header_blanks import HeaderBlanks
from mcp_forecast.http.health import HEALTHZ
from mcp_forecast.http.sse import DOOR, sse_routes
from mcp_forecast.http.token import TokenUnsafe, token_of
from mcp_forecast.mcp.opening import Opening, open_home
from mcp_forecast.mcp.server import build_server
from mcp_forecast.settings import Settings

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
# A page in a browser must not reach a server on its own machine: only these names are answered.
SECURITY: Final = TransportSecuritySettings(
    enable_dns_rebinding_protection=True,
    allowed_hosts=["127.0.0.1:*", "localhost:*", "[::1]:*"],
    allowed_origins=["http://127.0.0.1:*", "http://localhost:*", "http://[::1]:*"],
)
_AHEAD: Final = 16_384  # bytes a connection may hold unread
_LAST_ANSWERS_S: Final = 1
_IDLE_S: Final = 75  # longer than clients keep a connection, so that no call meets one that is being closed


def build_http(opening: Opening, settings: Settings, token: str) -> Starlette:
    """The HTTP application: /mcp and /sse behind the token, /healthz open. Closes the desk when it shuts down.

    Raises TokenUnsafe when the named tokens of the home cannot be trusted.
    """
    server = build_server(opening, _caller)
    callers = Callers(settings.home, token, settings.scopes)
    url = AnyHttpUrl(f"http://{_in_url(settings.http_host)}:{settings.http_port or 80}")
    app = server.streamable_http_app(
        transport_security=SECURITY,
        # No authorization server stands behind a home: nothing is announced that a client would try to log in to.
        auth=AuthSettings(issuer_url=url, resource_server_url=None),
        token_verifier=callers,
    )
    app.router.routes.extend([HEALTHZ, *sse_routes(server, SECURITY)])
    pace = Pace(rate_per_s=settings.rate_per_s, burst=settings.rate_burst)
    app.add_middleware(FloodGuard, callers=callers, pace=pace)
    app.add_middleware(HeaderBlanks)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        opening.begin()
        try:
            async with server.session_manager.run():
                yield
        finally:
            opening.close()

    app.router.lifespan_context = lifespan
    return app


def serve_http(settings: Settings) -> int:
    """Serve HTTP until a signal ends it; 0, or 2 when it cannot start. The token is shown once, when it is made."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    if settings.http_host not in LOOPBACK:
        return _refuse(f"MCP_FORECAST_HTTP_HOST is {settings.http_host!r}; allowed: {', '.join(LOOPBACK)}. "
                       "To serve other machines, put a TLS proxy in front of a loopback address.")  # fmt: skip
    try:
        token, made = token_of(settings.home)
        app = build_http(open_home(settings), settings, token)
        listener = listen(settings.http_host, settings.http_port)
    except (TokenUnsafe, OSError) as error:
        return _refuse(str(error))
    if made:
        _say(f"token (shown once, kept in {settings.home / 'token'}): {token}")
    _say(f"serving http://{_in_url(settings.http_host)}:{listener.getsockname()[1]}/mcp")
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_keep_alive=_IDLE_S, timeout_graceful_shutdown=_LAST_ANSWERS_S
    )
    with suppress(KeyboardInterrupt):  # uvicorn has shut down by then and raises the signal again
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, because asyncio turns Nagle's algorithm off only then; with it an answer takes 40 ms longer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. What a client sends ahead waits with the client: one read never brings hundreds of
        # requests, which would be parsed in one go while other callers wait.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _AHEAD)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _caller() -> Caller:
    token = get_access_token()
    if token is None or token.subject is None:  # /mcp cannot be reached without one; if it ever can, nothing is allowed
        return Caller(id="nobody", scopes=frozenset(), door="http")
    return Caller(id=token.subject, scopes=frozenset(token.scopes), door=DOOR.get())


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _refuse(reason: str) -> int:
    _say(f"cannot serve: {reason}")
    return 2


def _say(text: str) -> None:
    print(f"mcp-forecast: {text}", file=sys.stderr, flush=True)
