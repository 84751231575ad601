"""The folder of a home: which database it belongs to, who holds it alone, and whether it can be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.durable import SHARED, replace_file
from mcp_forecast_engine.store.folder_lock import folder_lock

OPEN_WAIT_S: Final = 10.0
LOCK: Final = "migrate.lock"  # shared by who opens the home, held alone by who migrates or restores it
NAME_FILE: Final = "home.id"
RESTORING: Final = ".restoring"  # what a restore prepares; it is there no longer when that has ended, unless killed


def is_named(home: Path) -> bool:
    """Whether this folder says which database it belongs to; nobody who only tidies up or copies may settle that."""
    return name_file(home).exists()


def name_folder(home: Path, home_id: str) -> None:
    """Write into the folder which database it belongs to. Raises OSError."""
    replace_file(name_file(home), f"{home_id}\n".encode(), mode=SHARED)


def name_file(home: Path) -> Path:
    """Where a folder says which database it belongs to."""
    return home / NAME_FILE


@contextmanager
def usable(home: Path) -> Iterator[None]:
    """See that the folder is there, and say what helps where it, or what is in it, cannot be used."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"the home {home} cannot be used: {error.strerror}",
            next_step="make the folder writable, or name another one with MCP_FORECAST_HOME",
        ) from error


@contextmanager
def locked(home: Path, *, alone: bool) -> Iterator[None]:
    """Servers that start together must not migrate twice, and none may see half a restored home."""
    busy = "another process is restoring or migrating this home"
    with folder_lock(home / LOCK, alone=alone, within_s=OPEN_WAIT_S, busy=busy):
        if (home / RESTORING).exists():
            raise StoreUnavailable(
                f"the home {home} is not whole: its restore was killed", next_step="run the same restore again"
            )
        yield
