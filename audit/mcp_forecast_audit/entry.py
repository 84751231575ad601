"""One entry of the log: who called what, with which arguments by digest, decided how, with which outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import rfc8785


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is remembered of a call, or of what no call did: then there are no contract, arguments or decision, and
    `tool` is "server", or "run" where a worker ended one.

    at: seconds since 1970, UTC. code: "OK" or the error code. arguments: {digest, size}, never the bytes. refs: ids and
    digests that the call made or touched. decision: the policy stamp and verdict.
    """

    request_id: str
    at: float
    caller: str
    door: str
    tool: str
    code: str
    contract: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    decision: Mapping[str, str] = field(default_factory=dict)
    replay_of: str | None = None
    refs: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """The canonical bytes (RFC 8785) that are stored and hashed."""
        content = {key: value for key, value in vars(self).items() if value is not None}
        return rfc8785.dumps({**content, "at": round(self.at, 6), "v": 1})
