"""Whether the HTTP door is open: for load balancers and people, without a token, and without a secret."""

from __future__ import annotations

from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def _healthz(_: Request) -> JSONResponse:
    return JSONResponse({"ok": True, "version": version("mcp-forecast")})


HEALTHZ = Route("/healthz", _healthz, methods=["GET"])
