"""The lines that connect an MCP client to this home, over stdio, HTTP or SSE."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from mcp_forecast.settings import PREFIX, Settings
from mcp_forecast_engine.store.address import masked

_TEXT = """\
Claude Code, over stdio (each chat starts its own server on this home):
  claude mcp add forecast{environment} -- {command} serve

Claude Code, over HTTP (start the server first: {command} http):
  claude mcp add --transport http forecast {url} --header "Authorization: Bearer $(cat {token})"

Clients that only know SSE (the same server; MCP has given this transport up):
  claude mcp add --transport sse forecast {sse} --header "Authorization: Bearer $(cat {token})"

Other MCP clients, over stdio:
  {json}

Other callers over HTTP get tokens of their own: {command} token add NAME

Files are read below: {roots}
(over stdio: the folder the client starts the server in; MCP_FORECAST_ROOTS names others)"""


def connect_lines(settings: Settings, *, executable: Path) -> str:
    """What to paste. executable: the installed `mcp-forecast`.

    The token is read by the line itself when it is run, and never printed.
    """
    usual = settings.home == Settings.home.expanduser().resolve()
    environment = {} if usual else {f"{PREFIX}HOME": str(settings.home)}
    if settings.database:  # a password belongs into PGPASSFILE, not into a client's configuration
        environment[f"{PREFIX}DATABASE"] = masked(settings.database).replace(":***@", "@")
    entry = {"command": str(executable), "args": ["serve"], **({"env": environment} if environment else {})}
    host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
    return _TEXT.format(
        command=shlex.quote(str(executable)),
        environment="".join(f" --env {shlex.quote(f'{name}={value}')}" for name, value in environment.items()),
        url=f"http://{host}:{settings.http_port}/mcp",
        sse=f"http://{host}:{settings.http_port}/sse",
        token=shlex.quote(str(settings.home / "token")),
        json=json.dumps({"mcpServers": {"forecast": entry}}),
        roots=", ".join(map(str, settings.roots)),
    )
