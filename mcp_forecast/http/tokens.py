"""Named tokens of a home: who else may call over HTTP, with which scopes; the file keeps digests, never a token."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from mcp_forecast.http.token import BYTES, TokenUnsafe
from mcp_forecast_engine.store.durable import OWN, replace_file
from mcp_forecast_engine.store.folder_lock import folder_lock

FILE: Final = "tokens.json"
MOST: Final = 1000
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
TAKEN: Final = "local"  # the home's own token calls as token:local
LOCK_WAIT_S: Final = 10.0
_MOST_BYTES: Final = 1_000_000


@dataclass(frozen=True)
class NamedToken:
    """One further caller. digest: SHA-256 of the token, in hexadecimal digits."""

    name: str
    scopes: tuple[str, ...]
    digest: str


class TokenRefused(ValueError):
    """A named token cannot be made or removed: says what was found and what is allowed."""


def digest_of(token: str) -> str:
    """What is stored of a token. Plain SHA-256: a token has 256 random bits, so there is nothing to guess."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def add_token(home: Path, name: str, scopes: Sequence[str]) -> str:
    """Make a token for this name and return it; it cannot be shown again.

    Raises TokenRefused, TokenUnsafe, StoreUnavailable, OSError.
    """
    if NAME.fullmatch(name) is None or name == TAKEN:
        raise TokenRefused(f"{name!r} is no name for a token; allowed: {NAME.pattern}, but not {TAKEN!r}")
    token = secrets.token_urlsafe(BYTES)
    with _alone(home):
        known = read_tokens(home)
        if any(one.name == name for one in known):
            raise TokenRefused(f"a token named {name!r} exists; remove it first, or use another name")
        if len(known) >= MOST:
            raise TokenRefused(f"{MOST} tokens exist, which is the most; remove some first")
        _write(home, (*known, NamedToken(name, tuple(scopes), digest_of(token))))
    return token


def remove_token(home: Path, name: str) -> None:
    """Take a token away; a running server refuses its next call.

    Raises TokenRefused when there is none, TokenUnsafe, StoreUnavailable, OSError.
    """
    with _alone(home):
        known = read_tokens(home)
        left = tuple(one for one in known if one.name != name)
        if len(left) == len(known):
            raise TokenRefused(f"no token is named {name!r}; there are: {', '.join(t.name for t in known) or 'none'}")
        _write(home, left)


def read_tokens(home: Path) -> tuple[NamedToken, ...]:
    """The named tokens of a home, none without the file. Raises TokenUnsafe for a file that cannot be trusted."""
    path = home / FILE
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            text = file.read(_MOST_BYTES)
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenUnsafe(f"{path} cannot be read: {error}") from error
    if mode & 0o077:
        raise TokenUnsafe(f"{path} has mode {mode:04o}, which lets others in; chmod 600 it")
    try:
        return tuple(_token(row) for row in json.loads(text)["tokens"])
    except (ValueError, TypeError, KeyError) as error:
        raise TokenUnsafe(f"{path} is no list of tokens; delete it and add the tokens again") from error


def _token(row: Any) -> NamedToken:
    made = NamedToken(name=row["name"], scopes=tuple(row["scopes"]), digest=row["digest"])
    if NAME.fullmatch(made.name) is None or made.name == TAKEN or re.fullmatch("[0-9a-f]{64}", made.digest) is None:
        raise ValueError(made.name)
    if not all(isinstance(scope, str) for scope in made.scopes):
        raise ValueError(made.scopes)
    return made


def _alone(home: Path) -> AbstractContextManager[None]:
    """Two commands at once: one waits for the other, so that none of their changes is lost."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder_lock(
        home / "tokens.lock", alone=True, within_s=LOCK_WAIT_S, busy="another command is changing the tokens"
    )


def _write(home: Path, tokens: Sequence[NamedToken]) -> None:
    text = json.dumps({"version": 1, "tokens": [asdict(token) for token in tokens]}, indent=1)
    replace_file(home / FILE, text.encode(), mode=OWN)
