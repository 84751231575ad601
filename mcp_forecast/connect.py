"""The lines that connect an MCP client to this home, over stdio or HTTP."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from mcp_forecast.settings import PREFIX, Settings

_TEXT = """\
Claude Code, over stdio (each chat starts its own server on this home):
  claude mcp add forecast{environment} -- {command} serve

Claude Code, over HTTP (start the server first: {command} http):
  claude mcp add --transport http forecast {url} --header "Authorization: Bearer $(cat {token})"

Other MCP clients, over stdio:
  {json}

Files are read below: {roots}
(over stdio: the folder the client starts the server in; MCP_FORECAST_ROOTS names others)"""


def connect_lines(settings: Settings, *, executable: Path) -> str:
    """What to paste. executable: the installed `mcp-forecast`.

    The token is read by the line itself when it is run, and never printed.
    """
    usual = settings.home == Settings.home.expanduser().resolve()
    environment = {} if usual else {f"{PREFIX}HOME": str(settings.home)}
    entry = {"command": str(executable), "args": ["serve"], **({"env": environment} if environment else {})}
    return _TEXT.format(
        command=shlex.quote(str(executable)),
        environment="".join(f" --env {shlex.quote(f'{name}={value}')}" for name, value in environment.items()),
        url=f"http://{settings.http_host}:{settings.http_port}/mcp",
        token=shlex.quote(str(settings.home / "token")),
        json=json.dumps({"mcpServers": {"forecast": entry}}),
        roots=", ".join(map(str, settings.roots)),
    )
