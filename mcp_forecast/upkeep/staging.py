"""The folder inside an empty home where a restore is prepared: while it is there the home is not whole.

<home>/.restoring   what is prepared, and the manifest of the backup; no server opens the home
<home>/.restored    the same after the end, about to be removed; one that is left can go
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mcp_forecast.home.folder import LOCK, RESTORING, name_folder
from mcp_forecast.home.signing_key import PUBLIC
from mcp_forecast.upkeep.manifest import ARTIFACTS, MANIFEST, Manifest, PlaceTaken
from mcp_forecast_engine.errors import OutcomeUnknown
from mcp_forecast_engine.store.durable import sync
from mcp_forecast_engine.store.folder_lock import folder_lock
from mcp_forecast_engine.store.identity import digest_of_bytes

_ENDED: Final = ".restored"
_NOTHING: Final = {RESTORING, LOCK, "lost+found"}  # what an empty home may hold
# home.id comes last. The checkpoint is in the rows, and a server writes it where the settings say.
_MOVED: Final = (ARTIFACTS, PUBLIC, "home.id")


@contextmanager
def empty_home(home: Path, manifest: Manifest, *, is_restored: Callable[[str], bool]) -> Iterator[Path]:
    """Hold an empty home, so that no server opens it meanwhile; lends a folder inside it to prepare in.

    What a restore that was killed has left is cleared first. is_restored: whether the home's database says that it was
    restored from the backup whose manifest has this digest. Raises PlaceTaken, StoreUnavailable, OSError.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with folder_lock(home / LOCK, alone=True, within_s=0.0, busy=f"another process is opening the home {home}"):
        _clear_killed(home, is_restored)
        found = sorted(path.name for path in home.iterdir() if path.name not in _NOTHING)
        if found:
            raise PlaceTaken(
                f"the home {home} is not empty ({', '.join(found[:5])}); name a new folder with MCP_FORECAST_HOME"
            )
        staging = home / RESTORING
        try:
            staging.mkdir(mode=0o700)
            (staging / MANIFEST).write_bytes(manifest.body())
            name_folder(staging, manifest.home_id)
            for path in (staging / MANIFEST, staging, home):
                sync(path)
            yield staging
        except OutcomeUnknown:
            raise  # the next restore asks the database what became of it
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        _end(home)


@contextmanager
def moved_in(staging: Path, home: Path) -> Iterator[None]:
    """Move what was prepared to its place, synced; it is taken away again if the block fails. Raises OSError."""
    moved: list[Path] = []
    try:
        for name in _MOVED:
            if (staging / name).exists():
                sync(staging / name)
                os.rename(staging / name, home / name)
                moved.append(home / name)
        sync(home)  # nothing that the rows name may be younger than they are
        yield
    except OutcomeUnknown:
        raise
    except BaseException:
        for path in moved:
            os.rename(path, staging / path.name)
        raise


def _clear_killed(home: Path, is_restored: Callable[[str], bool]) -> None:
    staging = home / RESTORING
    if not staging.exists():
        return
    marker = staging / MANIFEST
    if marker.exists():  # it goes with the whole folder at once: without it nothing was moved
        if is_restored(digest_of_bytes(marker.read_bytes())):
            _end(home)
            raise PlaceTaken(
                f"the home {home} is restored already: the restore that was cut off had only to clear up after itself, "
                "which is done now; start the server"
            )
        # The home was empty when that restore began, and no server has opened it since.
        shutil.rmtree(home / ARTIFACTS, ignore_errors=True)
        for name in _MOVED[1:]:
            (home / name).unlink(missing_ok=True)
    shutil.rmtree(staging)


def _end(home: Path) -> None:
    """Take the mark away in one step, then what it was."""
    os.rename(home / RESTORING, home / _ENDED)
    sync(home)
    shutil.rmtree(home / _ENDED, ignore_errors=True)
