"""One bit of a file is another one: for good, or for as long as a test looks at what that does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def flip(path: Path) -> None:
    """Another bit in the middle; once more, and it is the old one."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@contextmanager
def flipped(path: Path) -> Iterator[None]:
    """It is another one meanwhile."""
    flip(path)
    try:
        yield
    finally:
        flip(path)
