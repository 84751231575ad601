"""Bytes by digest: a folder where a file's name is its content, written once and verified at every read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from mcp_forecast_engine.errors import ArtifactCorrupt, NotFound, StoreUnavailable
from mcp_forecast_engine.store.identity import ALGORITHM, digest_of_bytes

_MEND: Final = "restore it from a backup; registering the same data again mends a dataset"


class ArtifactStore:
    """A content-addressed folder: `<root>/ab/abcdef…`, the name is the SHA-256 of the bytes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest; a second put of the same bytes is a no-op.

        On return the bytes survive a power cut (file and folder are synced). Raises StoreUnavailable.
        """
        digest = digest_of_bytes(data)
        path = self._path(digest)
        try:
            if not _holds(path, data):
                _write_synced(path, data)
        except OSError as error:
            raise StoreUnavailable(
                f"cannot write artifact {digest}: {error.strerror}",
                next_step="free space or fix the home's rights, then retry",
            ) from error
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of a digest.

        Raises ArtifactCorrupt when they are gone or no longer hash to it (every digest comes from a row, so the bytes
        were there), NotFound when it is no digest, StoreUnavailable.
        """
        try:
            data = self._path(digest).read_bytes()
        except FileNotFoundError as error:
            raise ArtifactCorrupt(f"artifact {digest} is missing from the store", next_step=_MEND) from error
        except OSError as error:
            raise StoreUnavailable(f"cannot read artifact {digest}: {error.strerror}") from error
        if digest_of_bytes(data) != digest:
            raise ArtifactCorrupt(
                f"artifact {digest} was changed on disk: its bytes hash to {digest_of_bytes(data)}", next_step=_MEND
            )
        return data

    def sweep(self, pid: int) -> None:
        """Remove what a process that has ended had begun to write and not finished."""
        for unfinished in self._root.glob(f"*/.new-{pid}-*"):
            unfinished.unlink(missing_ok=True)

    def uri(self, digest: str) -> str:
        """Where the bytes lie, as a file URI of this machine."""
        return self._path(digest).absolute().as_uri()

    def _path(self, digest: str) -> Path:
        algorithm, _, name = digest.partition(":")
        if algorithm != ALGORITHM or len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise NotFound(f"{digest!r} is no artifact digest", field="digest", allowed="sha256:<64 hex characters>")
        return self._root / name[:2] / name


def _holds(path: Path, data: bytes) -> bool:
    # Bytes are compared, not sizes: putting an artifact again mends one that was changed on disk.
    return path.exists() and path.stat().st_size == len(data) and path.read_bytes() == data


def _write_synced(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".new-{os.getpid()}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
