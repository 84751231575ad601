"""`mcp-forecast token`: who else may call this home over HTTP, each with a token, a name in the log and scopes."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from mcp_forecast.commands.refused import refused
from mcp_forecast.settings import process_settings
from mcp_forecast_engine.errors import EngineError

_DEFAULT: Final = "forecast:read,forecast:write,registry:read,registry:write"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `token add | list | remove` to the command line."""
    text = "give other callers tokens of their own for the HTTP door"
    actions = commands.add_parser("token", help=text, description=text).add_subparsers(metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a token and show it once")
    add.add_argument("name", metavar="NAME", help="the caller is token:NAME in the log")
    add.add_argument("--scopes", default=_DEFAULT, metavar="A,B", help=f"what it may do; default {_DEFAULT}")
    add.set_defaults(command=_add)
    actions.add_parser("list", help="names and scopes; tokens are not kept").set_defaults(command=_list)
    remove = actions.add_parser("remove", help="take a token away; a running server refuses its next call")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(command=_remove)


def _add(asked: argparse.Namespace) -> int:
    from mcp_forecast.http.tokens import add_token

    scopes = tuple(scope for part in asked.scopes.split(",") if (scope := part.strip()))
    strange = sorted(set(scopes) - _known_scopes())
    if strange or not scopes:
        found = ", ".join(strange) or "none"
        return refused(f"scopes: found {found}; allowed: {', '.join(sorted(_known_scopes()))}")
    try:
        token = add_token(process_settings().home, asked.name, scopes)
    except (EngineError, ValueError, OSError) as error:
        return refused(error)
    print(f"token of token:{asked.name}, shown once:", file=sys.stderr)
    print(token)
    return 0


def _list(asked: argparse.Namespace) -> int:
    from mcp_forecast.http.tokens import read_tokens

    try:
        for token in read_tokens(process_settings().home):
            print(f"token:{token.name}  {','.join(token.scopes)}")
    except (EngineError, ValueError, OSError) as error:
        return refused(error)
    return 0


def _remove(asked: argparse.Namespace) -> int:
    from mcp_forecast.http.tokens import remove_token

    try:
        remove_token(process_settings().home, asked.name)
    except (EngineError, ValueError, OSError) as error:
        return refused(error)
    print(f"removed token:{asked.name}")
    return 0


def _known_scopes() -> set[str]:
    from mcp_forecast_contracts.catalogue import documents

    return {document["scope"] for document in documents().values()}
