"""What the engine needs from outside; `mcp_forecast/app.py` fills it in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol


class Clock(Protocol):
    """Seconds since 1970-01-01 UTC; for leases and records, never for meaning."""

    def __call__(self) -> float: ...


class Milestone(Protocol):
    """Told the name of each point a run or a command has passed; tests use it to end the process exactly there."""

    def __call__(self, name: str) -> None: ...


@dataclass(frozen=True)
class Signing:
    """Who signs what is published, and by whom a bundle has to be signed to become ACTIVE.

    key: file of the private key; None: nothing is signed. required: file of a public key; None: none is needed.
    """

    key: Path | None = None
    required: Path | None = None


UNSIGNED: Final = Signing()
