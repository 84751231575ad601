"""The stdio door: one client, one process, which ends at once when the client goes."""

from __future__ import annotations

import logging
import os
import signal
import sys
from functools import partial
from typing import Any, Final, NoReturn

import anyio
from mcp.server.lowlevel import Server

from mcp_forecast.caller import Caller
from mcp_forecast.mcp.opening import Opening, open_home
from mcp_forecast.mcp.server import build_server
from mcp_forecast.mcp.stdio import claimed_stdio, stdio_streams
from mcp_forecast.settings import Settings

_OPEN_AFTER_S: Final = 1.0


def serve_stdio(settings: Settings) -> NoReturn:
    """Serve the client on stdin and stdout until it goes; then flush and end, whatever still works.

    The home is opened after the first tools/list, or after a second, or at the first call. Logs go to stderr.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    caller = Caller(id=settings.caller, scopes=frozenset(settings.scopes), door="stdio")
    opening = open_home(settings)
    serve_client(build_server(opening, lambda: caller), opening)


def serve_client(server: Server[Any], opening: Opening) -> NoReturn:
    """Serve one client with this server, close the desk and end the process."""
    status = 1
    try:
        anyio.run(_serve, server, opening)
        status = 0
    finally:
        opening.close()
        sys.stderr.flush()
        # A worker thread may be deep in a computation: nothing waits for it. A commit is whole or was never made.
        os._exit(status)


async def _serve(server: Server[Any], opening: Opening) -> None:
    with claimed_stdio() as (wire_in, wire_out):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(_end_on_signal, tasks.cancel_scope))
            tasks.start_soon(_open_later, opening)
            async with stdio_streams(wire_in, wire_out) as (messages, writer):
                await server.run(messages, writer, server.create_initialization_options())
            tasks.cancel_scope.cancel()


async def _open_later(opening: Opening) -> None:
    await anyio.sleep(_OPEN_AFTER_S)
    opening.begin()


async def _end_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
