"""Which files may be read: those below the allowed roots, after every link is resolved."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mcp_forecast.errors import Refusal

MAX_BYTES: Final = 512 << 20


def read_allowed(path: str, roots: Sequence[Path]) -> bytes:
    """The bytes of a regular file below a root. Raises Refusal PATH_NOT_ALLOWED, FILE_UNREADABLE, NOT_FOUND."""
    resolved = _resolve(path, roots)
    try:
        handle = os.open(resolved, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Refusal("FILE_UNREADABLE", f"no file {path!r} below {_listed(roots)}", field="path") from error
    except OSError as error:
        raise Refusal("FILE_UNREADABLE", f"{path!r} cannot be read: {error.strerror}", field="path") from error
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise Refusal("FILE_UNREADABLE", f"{path!r} is no regular file", field="path", allowed="CSV or Parquet")
        if found.st_size > MAX_BYTES:
            raise Refusal(
                "FILE_UNREADABLE", f"{path!r} has {found.st_size} bytes; at most {MAX_BYTES} are read", field="path"
            )
        return file.read()


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
            f"{path!r} lies outside the allowed folders",
            field="path",
            allowed=[str(root) for root in roots],
            next_step="move the file below an allowed folder, start the server in its folder or set MCP_FORECAST_ROOTS",
        )
    return next((real for real in inside if real.exists()), inside[0])


def _listed(roots: Sequence[Path]) -> str:
    return ", ".join(str(root) for root in roots)
