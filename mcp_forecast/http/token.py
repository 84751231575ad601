"""The bearer token of a home: made once, kept in a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from mcp_forecast_engine.store.durable import OWN, place_file

BYTES: Final = 32
_SHORTEST: Final = 32  # characters; a token that somebody typed is no secret


class TokenUnsafe(ValueError):
    """The token file cannot be trusted: says which file, what was found and what helps."""


def token_of(home: Path) -> tuple[str, bool]:
    """The token of this home, and whether it was made just now. Raises TokenUnsafe for a file others can read."""
    path = home / "token"
    if not path.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = secrets.token_urlsafe(BYTES)
        if place_file(path, f"{made}\n".encode(), mode=OWN):
            return made, True
    return _read(path), False


def _read(path: Path) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        token = file.read(1024).strip()
    if mode & 0o077:
        raise TokenUnsafe(
            f"{path} has mode {mode:04o}, which others can read; chmod 600 it, or delete it for a new one"
        )
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise TokenUnsafe(f"{path} holds no token of {_SHORTEST} characters or more; delete it for a new one")
    return token
