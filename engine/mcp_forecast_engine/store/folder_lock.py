"""A lock that processes share through a file: held by many at once, or by one alone; the dead let go of it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mcp_forecast_engine.errors import StoreUnavailable

LOOK_S: Final = 0.002  # between two looks at a lock that another process holds


@contextmanager
def folder_lock(path: Path, *, alone: bool, within_s: float, busy: str) -> Iterator[None]:
    """Hold the lock of this file for the block; each use has a handle of its own, so threads exclude each other too.

    Raises StoreUnavailable, saying `busy` when it is not to be had within_s (0: now or never).
    """
    handle = _opened(path)
    try:
        until = time.monotonic() + within_s
        while not _taken(handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
            if time.monotonic() >= until:
                raise StoreUnavailable(busy, next_step="retry when it is done")
            time.sleep(LOOK_S)
        yield
    finally:
        os.close(handle)  # which lets go


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot lock {path.name}: {error.strerror}", next_step="free space or fix the home's rights, then retry"
        ) from error


def _taken(handle: int, how: int) -> bool:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
