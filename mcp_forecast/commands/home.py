"""Upkeep of a home from the command line: collect what nothing refers to, back up, restore."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mcp_forecast.commands.refused import refused
from mcp_forecast.settings import process_settings

if TYPE_CHECKING:
    import argparse

    from mcp_forecast.upkeep.manifest import Manifest
    from mcp_forecast_engine.store.collection import Collection

LEAST_HOURS: Final = 24.0  # what a call has put and not yet named is younger
Command = Callable[["argparse.Namespace"], int]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `gc`, `backup` and `restore`."""
    text = "remove stored files that nothing refers to; servers may go on working"
    gc = commands.add_parser("gc", help=text, description=text)
    gc.add_argument("--dry-run", action="store_true", help="only say what would go")
    gc.add_argument(
        "--older-than", type=_hours, default=LEAST_HOURS, metavar="HOURS", help="files put longer ago; at least 24"
    )
    gc.set_defaults(command=_gc)
    text = "copy the home into a new folder; servers may go on working"
    backup = commands.add_parser("backup", help=text, description=text)
    backup.add_argument("target", type=Path, metavar="TARGET", help="a folder that does not exist yet")
    backup.set_defaults(command=_backup)
    text = "make the empty home that the settings name out of a backup"
    restore = commands.add_parser("restore", help=text, description=text)
    restore.add_argument("source", type=Path, metavar="SOURCE", help="a folder that `mcp-forecast backup` made")
    restore.set_defaults(command=_restore)


def _hours(text: str) -> float:
    import argparse

    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not hours >= LEAST_HOURS:
        raise argparse.ArgumentTypeError(f"{text!r}: a number of hours, at least {LEAST_HOURS:g}")
    return hours


def _answered(command: Command) -> Command:
    """Say what was refused and what helps. 1: what is stored is not as it should be; 2: refused, nothing was done."""

    @wraps(command)
    def answered(asked: argparse.Namespace) -> int:
        from mcp_forecast.upkeep.manifest import BackupInvalid, PlaceTaken
        from mcp_forecast_engine.errors import EngineError

        try:
            return command(asked)
        except BackupInvalid as error:
            refused(error)
            return 1
        except (EngineError, PlaceTaken) as error:
            return refused(error)

    return answered


@_answered
def _gc(asked: argparse.Namespace) -> int:
    settings = process_settings()
    from mcp_forecast.upkeep.collecting import collect_home

    done = collect_home(settings, older_than_s=asked.older_than * 3600, dry_run=asked.dry_run, clock=time.time)
    _print_collection(done, hours=asked.older_than, dry_run=asked.dry_run)
    return 0


def _print_collection(done: Collection, *, hours: float, dry_run: bool) -> None:
    print(
        f"{'would remove' if dry_run else 'removed'} {done.removed} files, {_size(done.removed_bytes)}"
        f"{f' ({done.unfinished} of them never finished)' if done.unfinished else ''}"
    )
    print(f"kept {done.named} that are referred to, {_size(done.named_bytes)}")
    print(f"kept {done.young} that were put in the last {hours:g} hours, {_size(done.young_bytes)}")
    if done.put_again and not dry_run:
        print(f"kept {done.put_again} that were put again meanwhile")


@_answered
def _backup(asked: argparse.Namespace) -> int:
    settings = process_settings()
    from mcp_forecast.upkeep.backup import take_backup

    made = take_backup(settings, asked.target)
    print(f"backed up {_contents(made)}\n  to {asked.target}")
    print("no token and no signing key is in it; keep its data as you keep the home's")
    return _print_damaged(made)


@_answered
def _restore(asked: argparse.Namespace) -> int:
    settings = process_settings()
    from mcp_forecast.app import milestone_of
    from mcp_forecast.upkeep.restore import restore_home

    restored = restore_home(settings, asked.source, milestone=milestone_of(settings))
    print(f"verified and restored {_contents(restored)}\n  to {settings.home}")
    print("runs that were at work start again with the next server; a new token and signing key are made then")
    print(f"its log is signed with the new key after that: add the new line of {settings.home / 'audit.pub'} to copies")
    print("  of audit.pub that are kept elsewhere; the old lines stay")
    return _print_damaged(restored)


def _contents(made: Manifest) -> str:
    rows, runs = made.rows.get("dataset", 0), made.rows.get("run", 0)
    files = f"{made.artifacts} files ({_size(made.artifact_bytes)})"
    return f"{made.home_id}: {rows} datasets, {runs} runs, {made.entries} log entries, {files}"


def _print_damaged(made: Manifest) -> int:
    for digest in made.damaged:
        print(f"missing or changed in the home before: {digest}", file=sys.stderr)
    return 1 if made.damaged else 0


def _size(number: int) -> str:
    return f"{number / 1e6:.1f} MB" if number >= 1e5 else f"{number / 1e3:.1f} kB"
