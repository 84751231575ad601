"""No caller takes the server's time from others: what one sends far faster than its limit waits for its turn.

A message on /mcp or /messages/ begins when it comes, as long as its caller stays within a burst and a pace well above
the refill of its bucket: calls within the limit wait for nothing but a small gap between those that come together, in
which the calls of others find room. What comes faster is spaced in the order in which it came and waits in its own
connections; when more waits than 10 s of it, the rest is turned away with status 429. Nothing else is decided here:
token, host, session, limit and log are the business of the usual path, and so is every refusal that a caller reads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_forecast.http.callers import Callers
from mcp_forecast.http.sse import MESSAGES

LONGEST_S: Final = 10.0  # that a message waits for its turn; clients give up after 30 and more
GAP_S: Final = 0.0025  # between two messages of one caller, twice what a call takes: the calls of others fit in between
LEAST_PER_S, LEAST_AT_ONCE = 100.0, 100.0  # a session opens with messages that are no calls, however low the limit is
_FASTER: Final = 5.0  # than the bucket refills: room for messages that are no calls


class Pace:
    """When a caller's next message may begin (the leaky bucket as a meter, ITU-T I.371: one time for each caller)."""

    def __init__(self, *, rate_per_s: float, burst: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """rate_per_s, burst: of the caller's bucket (calls/limits.py), which is always the tighter one."""
        self._spacing_s = 1 / max(_FASTER * rate_per_s, LEAST_PER_S)
        self._ahead_s = (max(burst, LEAST_AT_ONCE) - 1) * self._spacing_s
        self._gap_s = min(GAP_S, self._spacing_s)
        self._monotonic = monotonic
        self._next: dict[str, tuple[float, float]] = {}  # caller → the meter, and the earliest beginning

    def wait_s(self, caller: str) -> float:
        """Seconds until this message's turn; the turn is taken, unless it is more than LONGEST_S away."""
        now = self._monotonic()
        meter, earliest = self._next.get(caller, (now, now))
        meter = max(meter, now)
        begins = max(now, earliest, meter - self._ahead_s)
        if begins - now <= LONGEST_S:
            self._next[caller] = meter + self._spacing_s, begins + self._gap_s
        return begins - now


class FloodGuard:
    """Stands before the application and lets the messages of one caller begin at its pace."""

    def __init__(self, app: ASGIApp, callers: Callers, pace: Pace) -> None:
        self._app, self._callers, self._pace = app, callers, pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on when its turn has come, or turn it away when that is too far."""
        caller = self._caller(scope)
        wait_s = 0.0 if caller is None else self._pace.wait_s(caller)
        if wait_s > LONGEST_S:
            text = f"messages for more than {LONGEST_S:g} s wait for their turn; send fewer at once"
            refused = PlainTextResponse(text, status_code=429, headers={"retry-after": f"{LONGEST_S:g}"})
            await refused(scope, receive, send)
            return
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> str | None:
        """Who sends this message; None for what is no message, or comes without a token and is refused soon."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        if scope["path"] != "/mcp" and not scope["path"].startswith(MESSAGES):
            return None
        token = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        access = self._callers.caller_of(token[7:].decode("latin-1")) if token[:7].lower() == b"bearer " else None
        return None if access is None else access.client_id
