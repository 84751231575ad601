"""The stdio wire: lines in, lines out, nothing else on it.

Why not the SDK's own `stdio_server`: it decodes with `errors="replace"` (bad UTF-8 becomes U+FFFD before anybody can
refuse it), reads lines of any length, and does its input and output in the thread pool that blocked tools exhaust.
This one waits for the descriptors on the event loop: no thread, a third less time for a call. POSIX only.
"""

from __future__ import annotations

import os
import select
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
import anyio.lowlevel
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from mcp_forecast.mcp.wire_guard import MAX_LINE, Refused, read_line, refuse_long

_CHUNK: Final = 65536
_HELD: Final = 1024 * 1024  # bytes kept for a client that does not read, before senders wait
_LAST_WORDS_S: Final = 0.2


@asynccontextmanager
async def stdio_streams(
    wire_in: int, wire_out: int
) -> AsyncIterator[tuple[MemoryObjectReceiveStream[SessionMessage], LineWriter]]:
    """The SDK's two streams over these descriptors; the read side ends with the input. Answers not yet taken by the
    client get a last 0.2 s."""
    inlet, messages = anyio.create_memory_object_stream[SessionMessage](16)
    writer = LineWriter(wire_out)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_read, wire_in, inlet, writer)
        tasks.start_soon(writer.drain)
        try:
            yield messages, writer
        finally:
            tasks.cancel_scope.cancel()
            writer.finish(timeout_s=_LAST_WORDS_S)


class LineSplitter:
    """Cuts a byte stream into lines; a line longer than the limit is dropped but for its head."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._held = bytearray()
        self._dropping = False

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, bool]]:
        """Lines completed by this chunk, without their end, and whether each one is only a head."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            yield self._take(chunk[start:end])
            start = end + 1
        self._hold(chunk[start:])

    def rest(self) -> Iterator[tuple[bytes, bool]]:
        """What the input ended with, when it did not end with a newline."""
        if self._held:
            yield self._take(b"")

    def _take(self, end: bytes) -> tuple[bytes, bool]:
        self._hold(end)
        line, cut = bytes(self._held), self._dropping
        self._held.clear()
        self._dropping = False
        return line, cut

    def _hold(self, part: bytes) -> None:
        if self._dropping:
            return
        self._held += part
        if len(self._held) > self._limit:
            del self._held[_CHUNK:]
            self._dropping = True


class LineWriter:
    """Sends messages, a line each, whole and in order, whoever is cancelled meanwhile."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._held = bytearray()
        self._more = anyio.Event()
        self._less = anyio.Event()
        self._broken = False

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message; waits when a client leaves too much unread. Raises BrokenResourceError when it is gone."""
        line = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        self._held += line
        if len(self._held) == len(line):
            self._write_ready(timeout_ms=0)
        if self._held:
            self._more.set()
        while len(self._held) > _HELD and not self._broken:
            await self._less.wait()
        if self._broken:
            raise anyio.BrokenResourceError

    async def drain(self) -> None:
        """Write what is held whenever the client takes more; runs beside the senders until it is cancelled."""
        while not self._broken:
            await self._more.wait()
            self._more = anyio.Event()
            while self._held and not self._broken:
                await anyio.wait_writable(self._fd)
                self._write_ready(timeout_ms=0)
                self._less.set()
                self._less = anyio.Event()

    def finish(self, *, timeout_s: float) -> None:
        """Write what is held, as far as the client takes it without a pause of this long."""
        self._write_ready(timeout_ms=int(timeout_s * 1000))

    def _write_ready(self, *, timeout_ms: int) -> None:
        # At most PIPE_BUF bytes never block after poll said "writable"; so the descriptor itself may stay blocking.
        try:
            while self._held and self._poll.poll(timeout_ms):
                written = os.write(self._fd, self._held[: select.PIPE_BUF])
                del self._held[:written]
        except OSError:
            self._broken = True
            self._held.clear()

    async def aclose(self) -> None:
        """Nothing to close: the descriptor belongs to the process."""

    async def __aenter__(self) -> LineWriter:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


async def _read(fd: int, inlet: MemoryObjectSendStream[SessionMessage], writer: LineWriter) -> None:
    lines = LineSplitter()
    async with inlet:
        while chunk := await _next_chunk(fd):
            for line, cut in lines.feed(chunk):
                await _deliver(line, cut, inlet, writer)
        for line, cut in lines.rest():
            await _deliver(line, cut, inlet, writer)


async def _next_chunk(fd: int) -> bytes:
    try:
        await anyio.wait_readable(fd)
    except PermissionError:  # a file or the null device: cannot be waited for, and never makes one wait
        await anyio.lowlevel.checkpoint()
    try:
        return os.read(fd, _CHUNK)
    except OSError:  # the other side is gone for good, e.g. a closed terminal: the same as its end
        return b""


async def _deliver(line: bytes, cut: bool, inlet: MemoryObjectSendStream[SessionMessage], writer: LineWriter) -> None:
    item = refuse_long(line) if cut else read_line(line)
    if item is None:
        return
    try:
        if isinstance(item, Refused):
            await writer.send(SessionMessage(item.reply()))
        else:
            await inlet.send(SessionMessage(item))
    except anyio.BrokenResourceError:  # nobody reads any more; the end of input follows
        return
