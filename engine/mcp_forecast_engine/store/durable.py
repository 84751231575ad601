"""Files that are there whole or not at all, and survive a power cut."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

OWN: Final = 0o600  # only its owner reads and writes it
SHARED: Final = 0o666  # as the process's umask leaves it


def replace_file(path: Path, data: bytes, *, mode: int) -> None:
    """Put the whole file there at once, in place of the one that was; nobody reads half of it. Raises OSError."""
    with _draft(path, data, mode) as draft:
        os.replace(draft, path)
    sync(path.parent)


def place_file(path: Path, data: bytes, *, mode: int) -> bool:
    """Put the whole file there at once; False where another process was faster, whose file stays. Raises OSError."""
    try:
        with _draft(path, data, mode) as draft:
            os.link(draft, path)
    except FileExistsError:
        return False
    sync(path.parent)
    return True


def sync(path: Path) -> None:
    """See that a file, or what was named in a folder, survives a power cut. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _draft(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    """Lend a synced file beside `path` that is gone afterwards, unless it was renamed."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
