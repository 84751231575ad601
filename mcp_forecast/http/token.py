"""The bearer token of a home: made once, kept in a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from mcp_forecast.signing_key import keep_folder

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
        if _place(path, made):
            return made, True
    return _read(path), False


def _place(path: Path, token: str) -> bool:
    """Put the whole file there at once, unless another process was faster."""
    draft = path.with_name(f".token.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(token + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
        keep_folder(path.parent)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


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
