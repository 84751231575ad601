"""Blanks around a header's value are no part of it (RFC 9110, section 5.5); httptools leaves the trailing ones."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

_BLANKS = b" \t"


class HeaderBlanks:
    """Stands before the application and takes them off."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        headers = scope.get("headers", ())
        if any(value[-1:] in (b" ", b"\t") for _, value in headers):
            scope = {**scope, "headers": [(name, value.strip(_BLANKS)) for name, value in headers]}
        await self._app(scope, receive, send)
