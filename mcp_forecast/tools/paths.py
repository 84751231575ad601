"""Which files may be read: those below the allowed roots, after every link is resolved."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mcp_forecast.errors import Refusal

MAX_BYTES: Final = 512 << 20
ENDINGS: Final = (".csv", ".csv.gz", ".tsv", ".txt", ".parquet", ".pq")


def read_allowed(path: str, roots: Sequence[Path]) -> tuple[bytes, str]:
    """The bytes of a data file below a root, and its real name. Raises Refusal PATH_NOT_ALLOWED, FILE_UNREADABLE."""
    try:
        resolved = _resolve(path, roots)
        # The ending is judged after links are resolved: `x.csv` may point at something else.
        if not resolved.name.lower().endswith(ENDINGS):
            raise _unreadable(path, "its name does not say that it is CSV or Parquet", allowed=list(ENDINGS))
        handle = os.open(resolved, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise _unreadable(
            path, "there is no such file below the allowed folders",
            next_step="check the name; relative paths start at an allowed folder",
        ) from error  # fmt: skip
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from error
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise _unreadable(path, "it is no regular file")
        if found.st_size > MAX_BYTES:
            raise _unreadable(path, f"it has {found.st_size} bytes; at most {MAX_BYTES} are read")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(), resolved.name
    finally:
        os.close(handle)


def _unreadable(path: str, why: str, *, allowed: list[str] | None = None, next_step: str | None = None) -> Refusal:
    shown = path if len(path) <= 200 else f"{path[:200]}…"
    message = f"{shown!r} cannot be read: {why}"
    return Refusal("FILE_UNREADABLE", message, field="path", allowed=allowed, next_step=next_step)


def _resolve(path: str, roots: Sequence[Path]) -> Path:
    """Relative paths are tried below each root in turn; the result must lie below one of them."""
    asked = Path(path)
    candidates = [asked] if asked.is_absolute() else [root / asked for root in roots]
    real_roots = [Path(os.path.realpath(root)) for root in roots]
    resolved = [Path(os.path.realpath(candidate)) for candidate in candidates]
    inside = [real for real in resolved if any(real.is_relative_to(root) for root in real_roots)]
    if not inside:
        raise Refusal(
            "PATH_NOT_ALLOWED",
            f"{path[:200]!r} lies outside the allowed folders",
            field="path",
            allowed=[str(root) for root in roots],
            next_step="move the file below an allowed folder, start the server in its folder or set MCP_FORECAST_ROOTS",
        )
    return next((real for real in inside if real.exists()), inside[0])
