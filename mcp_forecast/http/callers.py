"""Who calls over HTTP: the home's own token, and the named ones, read again whenever their file changes."""

from __future__ import annotations

import hmac
import logging
from pathlib import Path

from mcp.server.auth.provider import AccessToken

from mcp_forecast.http.token import TokenUnsafe
from mcp_forecast.http.tokens import FILE, digest_of, read_tokens

LOCAL = "token:local"
log = logging.getLogger(__name__)
Stamp = tuple[int, int, int, int]


class Callers:
    """Knows every token by its digest, and who calls with it."""

    def __init__(self, home: Path, token: str, scopes: tuple[str, ...]) -> None:
        """token, scopes: the home's own. Raises TokenUnsafe when the file of named tokens cannot be trusted."""
        self._home = home
        self._own = [(digest_of(token), _access(LOCAL, scopes))]
        self._stamp = self._now()
        self._known = self._own + self._named()

    async def verify_token(self, token: str) -> AccessToken | None:
        """The caller, or None for any other token."""
        return self.caller_of(token)

    def caller_of(self, token: str) -> AccessToken | None:
        """The caller with this token; every digest is compared in constant time, whichever fits."""
        self._refresh()
        digest, found = digest_of(token), None
        for known, access in self._known:
            if hmac.compare_digest(digest, known):
                found = access
        return found

    def _refresh(self) -> None:
        stamp = self._now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._known = self._own + self._named()
        except TokenUnsafe as error:
            log.error("no named token is accepted: %s", error)
            self._known = self._own

    def _named(self) -> list[tuple[str, AccessToken]]:
        return [(one.digest, _access(f"token:{one.name}", one.scopes)) for one in read_tokens(self._home)]

    def _now(self) -> Stamp | None:
        try:
            found = (self._home / FILE).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode


def _access(caller: str, scopes: tuple[str, ...]) -> AccessToken:
    # The SDK keeps this beside each request; the token itself need not be there.
    return AccessToken(token=caller, client_id=caller, subject=caller, scopes=list(scopes))
