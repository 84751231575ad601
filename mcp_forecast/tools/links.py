"""How answers name things: resources by URI, moments by ISO 8601."""

from __future__ import annotations

from datetime import UTC, datetime


def artifact_uri(digest: str) -> str:
    """The resource that an artifact is read as, on every door."""
    return f"forecast://artifacts/{digest}"


def time_text(at: float) -> str:
    """A moment in seconds since 1970, UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
