"""`mcp-forecast worker`: a process that only works: it gives the runs of a home to workers and opens no door."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final, Literal, get_args

from mcp_forecast.commands.refused import refused
from mcp_forecast.settings import PREFIX, Settings, process_settings

if TYPE_CHECKING:
    from mcp_forecast.app import App

Profile = Literal["local", "dev", "prod"]
# Which profiles find the rows in PostgreSQL. Nothing else differs: schemas, keys, folders and states are the same.
_ON_POSTGRES: Final[dict[str, bool]] = {"local": False, "dev": True, "prod": True}


class ProfileMismatch(ValueError):
    """The settings are not those of the profile: says which, and what to set."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `worker` to the command line."""
    text = "work on the runs of this home until a signal ends it; serve nobody"
    made = commands.add_parser(
        "worker",
        help=text,
        description=f"{text.capitalize()}. Servers that shall leave the work to it run with {PREFIX}WORKERS=0. "
        "SIGTERM ends it with exit code 0; runs at work go on, or are taken over with their finished steps.",
    )
    made.add_argument(
        "--profile",
        choices=get_args(Profile),
        default="local",
        help=f"local (default): the home's own SQLite file; dev, prod: PostgreSQL, named by {PREFIX}DATABASE",
    )
    made.set_defaults(command=_work)


def require_profile(profile: str, settings: Settings) -> None:
    """Refuse settings that are not the profile's, rather than work in another place. Raises ProfileMismatch."""
    if _ON_POSTGRES[profile] and not settings.database:
        raise ProfileMismatch(
            f"the profile {profile} works in PostgreSQL, and {PREFIX}DATABASE is not set\n  set it to "
            "postgresql://user@host/name, or work in the home's SQLite file with --profile local"
        )
    if settings.database and not _ON_POSTGRES[profile]:
        raise ProfileMismatch(
            f"the profile {profile} works in the home's SQLite file, and {PREFIX}DATABASE names another database\n"
            "  unset it, or name the profile that is meant with --profile dev or --profile prod"
        )
    if settings.workers == 0:
        raise ProfileMismatch(
            f"{PREFIX}WORKERS is 0, so this process would work on nothing\n  unset it, or set how many runs may work "
            "at the same time in the home"
        )


def _work(asked: argparse.Namespace) -> int:
    from mcp_forecast.app import open_app
    from mcp_forecast_engine.errors import EngineError

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    settings = process_settings()
    # Before the home is opened: a signal that comes meanwhile must not leave an end that nobody entered.
    stop = _stop_on_signal()
    try:
        require_profile(asked.profile, settings)
        app = open_app(settings)
    except (EngineError, ProfileMismatch) as error:
        return refused(error)
    try:
        print(_ready(app, asked.profile), flush=True)
        stop.wait()
    finally:
        app.close()
    print("ended; runs at work go on, or are taken over", flush=True)
    return 0


def _stop_on_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _ready(app: App, profile: Profile) -> str:
    settings = app.settings
    return (
        f"ready: {app.process_id} works on the runs of {settings.home} ({app.database.kind}, profile {profile}), "
        f"{settings.workers} at the same time"
    )
