"""The desk behind the door: opened beside the first answers, so that a client never waits for it to list the tools."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol

import anyio

from mcp_forecast.calls.caller import Caller
from mcp_forecast.settings import Settings

Envelope = dict[str, Any]
Report = Callable[[float, float | None, str], Awaitable[None]]
_RETRY_AFTER_S: Final = 1.0
_COLLECTIONS: Final = (700, 10, 100)  # the third is 10 as a rule; each such walk stops every call for 20 to 100 ms
_FLUSHED_S: Final = 0.02  # the first list is on the wire before the imports take the interpreter


class Answer(Protocol):
    """The one path of a call: anything in, an envelope out; raises nothing but cancellation."""

    def __call__(
        self, tool: str, arguments: object, caller: Caller, progress: Report | None = None
    ) -> Awaitable[Envelope]:
        """Answer one call."""
        ...


@dataclass(frozen=True)
class Desk:
    """An opened home. call: answers one call; close: flushes and stops what the home runs."""

    call: Answer
    close: Callable[[], None]


class Opening:
    """Opens the desk once, in a thread of its own; a failure is answered, and tried again on a call a second later."""

    def __init__(
        self,
        open_desk: Callable[[], Desk],
        unopened: Callable[[Exception], Envelope],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """open_desk: imports and opens, may block and raise. unopened: the envelope of a call that met this error."""
        self._open_desk, self.unopened, self._clock = open_desk, unopened, clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="opening")
        self._opened: Future[Desk] | None = None
        self._failed_at: float | None = None

    def begin(self) -> Future[Desk]:
        """Start to open, unless that is under way, done, or failed within the last second."""
        stale = self._failed_at is not None and self._clock() - self._failed_at >= _RETRY_AFTER_S
        if self._opened is None or stale:
            self._failed_at = None
            self._opened = self._thread.submit(self._open_desk)
            self._opened.add_done_callback(self._note_failure)
        return self._opened

    def begin_soon(self) -> None:
        """Start to open as soon as the answer in hand is on the wire."""
        asyncio.get_running_loop().call_later(_FLUSHED_S, self.begin)

    async def desk(self) -> Desk:
        """The desk, waiting for it if need be. Raises what opening raised."""
        opened = self.begin()
        if not opened.done():
            loop, ready = asyncio.get_running_loop(), anyio.Event()
            opened.add_done_callback(lambda _: loop.call_soon_threadsafe(ready.set))
            await ready.wait()
        return opened.result()

    def opened(self) -> Desk | None:
        """The desk if it is there already."""
        found = self._opened
        if found is None or not found.done() or found.cancelled() or found.exception() is not None:
            return None
        return found.result()

    def close(self) -> None:
        """Close the desk if there is one; an opening under way is left to itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        desk = self.opened()
        if desk is not None:
            desk.close()

    def _note_failure(self, opened: Future[Desk]) -> None:
        if not opened.cancelled() and opened.exception() is not None:
            self._failed_at = self._clock()


def open_home(settings: Settings) -> Opening:
    """The opening of the real home; imports the store and everything above it only when it begins."""

    def open_desk() -> Desk:
        from functools import partial

        from mcp_forecast.app import open_app
        from mcp_forecast.calls.pipeline import call

        app = open_app(settings)
        gc.freeze()  # modules live as long as the process; each walk through them stops every call for 0.1 s and more
        gc.set_threshold(*_COLLECTIONS)
        return Desk(call=partial(call, app), close=app.close)

    def unopened(error: Exception) -> Envelope:
        from mcp_forecast.calls import pipeline

        return pipeline.unopened(error)

    return Opening(open_desk, unopened)
