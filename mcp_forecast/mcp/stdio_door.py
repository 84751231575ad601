"""The stdio door: one client, one process, which ends at once when the client goes.

This module imports next to nothing: stdin and stdout are claimed first, so that no import can print on the wire.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from mcp_forecast.calls.caller import Caller
from mcp_forecast.mcp.wire import claimed_stdio
from mcp_forecast.settings import Settings

if TYPE_CHECKING:
    import anyio
    from mcp.server.lowlevel import Server

    from mcp_forecast.mcp.opening import Opening

_OPEN_AFTER_S: Final = 1.0


def serve_stdio(settings: Settings) -> NoReturn:
    """Serve the client on stdin and stdout until it goes; then flush and end, whatever still works.

    The home is opened after the first tools/list, or after a second, or at the first call. Logs go to stderr.
    """

    def build() -> tuple[Server[Any], Opening]:
        from mcp_forecast.mcp.opening import open_home
        from mcp_forecast.mcp.server import build_server

        caller = Caller(id=settings.caller, scopes=frozenset(settings.scopes), door="stdio")
        opening = open_home(settings)
        return build_server(opening, lambda: caller), opening

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    serve_client(build)


def serve_client(build: Callable[[], tuple[Server[Any], Opening]]) -> NoReturn:
    """Claim the wire, build the server, serve one client, close the desk and end the process."""
    status = 1
    with claimed_stdio() as wire:
        try:
            import anyio

            server, opening = build()
            try:
                anyio.run(_serve, server, opening, wire)
                status = 0
            finally:
                opening.close()
        except BaseException:
            logging.getLogger(__name__).exception("the server ended")
        finally:
            sys.stderr.flush()
            # A worker thread may be deep in a computation: nothing waits for it. A commit is whole or was never made.
            os._exit(status)


async def _serve(server: Server[Any], opening: Opening, wire: tuple[int, int]) -> None:
    import anyio

    from mcp_forecast.mcp.stdio import stdio_streams

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_end_on_signal, tasks.cancel_scope)
        tasks.start_soon(_open_later, opening)
        async with stdio_streams(*wire) as (messages, writer):
            await server.run(messages, writer, server.create_initialization_options())
        tasks.cancel_scope.cancel()


async def _open_later(opening: Opening) -> None:
    import anyio

    await anyio.sleep(_OPEN_AFTER_S)
    opening.begin()


async def _end_on_signal(scope: anyio.CancelScope) -> None:
    import anyio

    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
