"""Who is asking: a name and scopes, from the launch configuration (stdio) or a bearer token (HTTP)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caller:
    """One caller. id: stable name, never taken from the payload; door: "stdio", "http", "sse", "cli" or "test"."""

    id: str
    scopes: frozenset[str]
    door: str
