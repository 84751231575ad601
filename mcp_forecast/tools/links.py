"""How answers name things: resources by URI, moments by ISO 8601."""

from __future__ import annotations

from datetime import UTC, datetime

from mcp_forecast.calls.caller import Caller


def artifact_uri(digest: str) -> str:
    """The resource that an artifact is read as, on every door."""
    return f"forecast://artifacts/{digest}"


def is_here(caller: Caller) -> bool:
    """Whether the caller is on this machine, so that a path means something to it, and tells it nothing new."""
    return caller.door in ("stdio", "cli", "test")


def time_text(at: float) -> str:
    """A moment in seconds since 1970, UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
