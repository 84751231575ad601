"""The `mcp-forecast` command. Every branch imports what it needs, so that `serve` starts with next to nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import mcp_forecast
from mcp_forecast.settings import PREFIX, SettingInvalid, Settings, process_settings, shown_settings

if TYPE_CHECKING:
    import argparse

INTERRUPTED: Final = 130
# Modules of `commands` that add commands of their own with `add_parser(commands)`.
_GROUPS: Final = ("audit", "bundles", "coreml", "home", "migrate", "token", "worker")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 (a check failed), 2 (refused) or 130 (interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        # A client waits for this one; parsing would cost it some milliseconds more.
        return _serve() if arguments == ["serve"] else _parsed(arguments)
    except SettingInvalid as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; a training under way goes on, and the same command finds it again", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe left; what is still buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parsed(arguments: Sequence[str]) -> int:
    import argparse

    asked = _parser().parse_args(arguments, argparse.Namespace(typed=tuple(arguments)))
    command: Callable[[argparse.Namespace], int] = asked.command
    return command(asked)


def _parser() -> argparse.ArgumentParser:
    import argparse

    parser = argparse.ArgumentParser(
        prog="mcp-forecast",
        description="Train, check and serve time-series forecasts, for agents over MCP and for you.",
    )
    parser.add_argument("--version", action="version", version=f"mcp-forecast {mcp_forecast.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    _add_forecast(commands)
    for name, command, text in (
        ("serve", _serve, "serve one MCP client on stdin and stdout"),
        ("http", _http, "serve MCP over HTTP on this machine, behind a bearer token"),
        ("connect", _connect, "print the lines that connect Claude Code and other MCP clients"),
        ("settings", _settings, "print every setting, its value and what it is for"),
    ):
        commands.add_parser(name, help=text, description=text).set_defaults(command=command)
    for module in _GROUPS:
        import_module(f"mcp_forecast.commands.{module}").add_parser(commands)
    contracts = commands.add_parser("contracts", help="write the contract files of the tools from their models")
    contracts.add_argument("--check", action="store_true", help="write nothing; exit 1 if one is stale or unportable")
    contracts.set_defaults(command=_contracts)
    return parser


def _add_forecast(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = commands.add_parser(
        "forecast",
        help="from a CSV or Parquet file to a forecast you can judge",
        description="Find the columns, try models on past windows, say whether to trust the best, and forecast.",
        epilog="example: mcp-forecast forecast sales.csv --horizon 28 --covariates-known price,promo --plot sales.png",
    )
    made.add_argument("file", type=Path, metavar="FILE", help="CSV (.csv, .csv.gz) or Parquet")
    made.add_argument("--horizon", type=int, required=True, metavar="N", help="steps ahead, e.g. 24 for a day of hours")
    made.add_argument("--time", metavar="COLUMN", help="time column; found by itself if left out")
    made.add_argument("--target", metavar="COLUMN", help="column to forecast; found by itself if left out")
    made.add_argument("--series", type=_names, metavar="A,B", help="columns that tell series apart, e.g. store,product")
    made.add_argument("--wide", type=_names, metavar="A,B", help="wide table: several target columns, one series each")
    made.add_argument("--season-length", type=int, metavar="M", help="steps per season, e.g. 12 for months")
    made.add_argument("--budget", choices=("small", "large"), default="small", help="how many models are tried")
    made.add_argument("--holidays", metavar="CODE", help="calendar that the forecast may read: US, DE, US-CA")
    made.add_argument("--freq", help="step, if it should not be found: 15min, h, D, W-SUN, MS")
    made.add_argument("--time-format", metavar="FORMAT", help="if dates are ambiguous, e.g. %%d/%%m/%%Y")
    made.add_argument("--time-zone", metavar="ZONE", help="whose wall clock it is, if times have zones: Europe/Berlin")
    made.add_argument("--observed", metavar="COLUMN", help="when a row became known, if rows are revised")
    made.add_argument("--drop", type=_names, metavar="A,B", help="columns to leave out")
    covariates = made.add_mutually_exclusive_group()
    covariates.add_argument(
        "--covariates-known", type=_names, default=(), metavar="A,B", help="columns whose future you will know"
    )
    made.add_argument(
        "--covariates-past", type=_names, default=(), metavar="A,B", help="columns that are known for the past only"
    )
    covariates.add_argument("--no-covariates", action="store_true", help="use the history of the target alone")
    made.add_argument("--future", type=Path, metavar="FILE", help="those columns for the steps to forecast")
    made.add_argument("--test-windows", type=int, metavar="N", help="past forecasts to judge by; default by length")
    made.add_argument("--levels", type=_numbers, metavar="80,95", help="intervals in per cent: 20, 40, 60, 80, 90, 95")
    made.add_argument("--plot", type=Path, metavar="OUT.png", help="draw history and forecast")
    made.add_argument("--csv", type=Path, metavar="OUT.csv", help="write the forecast")
    made.add_argument("--json", action="store_true", help="print everything as one JSON document instead")
    made.set_defaults(command=_forecast)


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _numbers(text: str) -> list[int]:
    return [int(name) for name in _names(text)]


def _forecast(asked: argparse.Namespace) -> int:
    settings = process_settings()
    from rich.console import Console

    from mcp_forecast.commands.forecast import ForecastRequest, forecast_command

    names = ("time", "target", "series", "wide", "freq", "time_format", "time_zone", "drop", "observed")
    columns = {name: getattr(asked, name) for name in names}
    request = ForecastRequest(
        file=asked.file,
        horizon=asked.horizon,
        columns={name: value for name, value in columns.items() if value},
        known=tuple(asked.covariates_known),
        past=tuple(asked.covariates_past),
        target_only=asked.no_covariates,
        season_length=asked.season_length,
        test_windows=asked.test_windows,
        levels=tuple(asked.levels or ()),
        budget=asked.budget,
        holidays=asked.holidays,
        future=asked.future,
        plot=asked.plot,
        csv=asked.csv,
        json=asked.json,
        typed=asked.typed,
    )
    return forecast_command(request, settings, Console(highlight=False), Console(stderr=True, highlight=False))


def _serve(asked: argparse.Namespace | None = None) -> int:
    def serve(settings: Settings) -> int:
        from mcp_forecast.mcp.stdio_door import serve_stdio

        serve_stdio(settings)

    return _behind_door(serve)


def _http(asked: argparse.Namespace) -> int:
    def serve(settings: Settings) -> int:
        from mcp_forecast.http.server import serve_http

        return serve_http(settings)

    return _behind_door(serve)


def _behind_door(serve: Callable[[Settings], int]) -> int:
    """Serve, unless the operator's governance file is wrong: behind a door only callers would hear of it."""
    settings = process_settings()
    if settings.governance:
        from mcp_forecast.commands.refused import refused
        from mcp_forecast.governance import profiles_of
        from mcp_forecast_engine.errors import EngineError

        try:
            profiles_of(settings)
        except EngineError as error:
            return refused(error)
    return serve(settings)


def _connect(asked: argparse.Namespace) -> int:
    from mcp_forecast.commands.connect import connect_lines

    print(connect_lines(process_settings(), executable=Path(sys.executable).with_name("mcp-forecast")))
    return 0


def _settings(asked: argparse.Namespace) -> int:
    from dataclasses import fields

    settings = process_settings()
    values = shown_settings(settings)
    for field in fields(settings):
        name = PREFIX + field.name.upper()
        print(f"{name}={values[name]}\n    {field.metadata['doc']}")
    return 0


def _contracts(asked: argparse.Namespace) -> int:
    from mcp_forecast.commands.contracts import contracts_command

    return contracts_command(check_only=asked.check)


if __name__ == "__main__":
    sys.exit(main())
