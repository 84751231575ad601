"""How fast a caller may call: a token bucket per caller, in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mcp_forecast.errors import Refusal


class Limits:
    """Token buckets: `burst` calls at once, refilled by `rate_per_s`."""

    def __init__(self, *, rate_per_s: float, burst: float, monotonic: Callable[[], float]) -> None:
        self.rate_per_s, self.burst, self._monotonic = rate_per_s, burst, monotonic
        self._buckets: dict[str, tuple[float, float]] = {}  # caller → tokens left, at that time
        self._lock = threading.Lock()

    def take(self, caller: str) -> None:
        """Use one token of this caller. Raises Refusal RATE_LIMITED with the seconds until the next one."""
        with self._lock:
            now = self._monotonic()
            tokens, at = self._buckets.get(caller, (self.burst, now))
            tokens = min(self.burst, tokens + (now - at) * self.rate_per_s)
            enough = tokens >= 1
            self._buckets[caller] = (tokens - 1 if enough else tokens, now)
        if not enough:
            raise Refusal(
                "RATE_LIMITED",
                f"more than {self.burst:g} calls at once or {self.rate_per_s:g} a second",
                retry_after_s=round((1 - tokens) / self.rate_per_s, 3),
            )
