"""One caller's flood does not take the server's time from others: messages are spaced, refusals are cheap.

A caller's messages on /mcp begin at most five times as fast as its bucket refills, after a few at once; what is sent
faster waits in its own connections. A tool call of a caller without a token in its bucket is answered here, before the
protocol's machinery works for it: the rule is the bucket that the path of every call asks first, and the answer is the
path's own, typed and entered into the log. Only the way there is shorter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from mcp.server.auth.provider import AccessToken
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic_core import from_json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_forecast.caller import Caller
from mcp_forecast.http.callers import Callers
from mcp_forecast.mcp.context import compact
from mcp_forecast.mcp.opening import Opening
from mcp_forecast.mcp.server import result_of

AT_ONCE: Final = 10  # messages that begin without being spaced
LONGEST_S: Final = 1.0  # that a message waits for its turn
_FASTER: Final = 5.0  # than the bucket refills
_REFUSALS_FASTER: Final = 25.0
_MOST_BODY: Final = 256 * 1024  # longer ones go the usual way
_VERSION: Final = "io.modelcontextprotocol/protocolVersion"


class Pace:
    """When a caller's next message may begin (the leaky bucket as a meter, ITU-T I.371: one time for each caller)."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._next: dict[str, float] = {}

    def wait_s(self, caller: str, *, spacing_s: float) -> float:
        """Seconds until this message's turn, which is then taken; 0 for the first few at once."""
        now = self._monotonic()
        turn = max(self._next.get(caller, 0.0), now)
        wait = turn - now - AT_ONCE * spacing_s
        if wait <= LONGEST_S:
            self._next[caller] = turn + spacing_s
        return min(max(wait, 0.0), LONGEST_S)


class FloodGuard:
    """Stands before the application; rate_per_s: the refill of a caller's bucket."""

    def __init__(self, app: ASGIApp, opening: Opening, callers: Callers, rate_per_s: float) -> None:
        self._app, self._opening, self._callers, self._rate = app, opening, callers, rate_per_s
        self._pace = Pace()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on when its turn has come, or answer it."""
        access = self._known(scope)
        if access is None:
            await self._app(scope, receive, send)
            return
        wait_s = self._pace.wait_s(access.client_id, spacing_s=1 / self._rate / self._faster(access))
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        if not self._limited(access):
            await self._app(scope, receive, send)
            return
        read = await _read(receive)
        answer = self._answer(read, Caller(access.client_id, frozenset(access.scopes), "http"))
        if answer is None:
            await self._app(scope, _replay(read, receive), send)
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _known(self, scope: Scope) -> AccessToken | None:
        if scope["type"] != "http" or scope["path"] != "/mcp" or scope["method"] != "POST":
            return None
        token = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return self._callers.caller_of(token[7:].decode("latin-1")) if token[:7].lower() == b"bearer " else None

    def _faster(self, access: AccessToken) -> float:
        return _REFUSALS_FASTER if self._limited(access) else _FASTER

    def _limited(self, access: AccessToken) -> bool:
        desk = self._opening.opened()
        return desk is not None and desk.limited(access.client_id)

    def _answer(self, read: list[Message], caller: Caller) -> bytes | None:
        """The refusal on the wire; None for what is no tool call, or may be made after all."""
        whole = not read[-1].get("more_body", False)
        request = _tool_call(b"".join(message.get("body", b"") for message in read)) if whole else None
        desk = self._opening.opened()
        if request is None or desk is None:
            return None
        request_id, params = request
        envelope = desk.refuse(params.get("name"), params.get("arguments"), caller)
        if envelope is None:
            return None
        result = result_of(envelope)
        meta = params.get("_meta")
        if not isinstance(meta, dict) or meta.get(_VERSION) not in MODERN_PROTOCOL_VERSIONS:
            del result["resultType"]  # the older era does not know it
        return compact({"jsonrpc": "2.0", "id": request_id, "result": result}).encode()


def _tool_call(body: bytes) -> tuple[str | int, dict[str, Any]] | None:
    """Id and params of a tool call; None for every other body."""
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0" or value.get("method") != "tools/call":
        return None
    request_id, params = value.get("id"), value.get("params")
    if not isinstance(request_id, str | int) or isinstance(request_id, bool) or not isinstance(params, dict):
        return None
    return request_id, params


async def _read(receive: Receive) -> list[Message]:
    """The messages of the body, to its end or to the bound."""
    messages: list[Message] = []
    size, more = 0, True
    while more and size <= _MOST_BODY:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        more = bool(message.get("more_body", False))
    return messages


def _replay(read: list[Message], receive: Receive) -> Receive:
    """What was read, then what comes."""
    waiting = iter(read)

    async def again() -> Message:
        return next(waiting, None) or await receive()

    return again
