"""Bytes by digest: a folder where a file's name is its content, written once and verified at every read."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcp_forecast_engine.errors import ArtifactCorrupt, NotFound, StoreUnavailable
from mcp_forecast_engine.store.durable import sync
from mcp_forecast_engine.store.folder_lock import folder_lock
from mcp_forecast_engine.store.host import host_name
from mcp_forecast_engine.store.identity import ALGORITHM, digest_of_bytes

LOCK_WAIT_S: Final = 10.0  # a collection holds the lock for a few files at a time
_NAME: Final = re.compile(r"[0-9a-f]{64}")
_MEND: Final = "restore it from a backup; registering the same data again mends a dataset"


@dataclass(frozen=True)
class Stored:
    """A file of the store. digest: None while a put has not finished it. changed_at: seconds since 1970."""

    path: Path
    digest: str | None
    size: int
    changed_at: float


class ArtifactStore:
    """A content-addressed folder: `<root>/ab/abcdef…`, the name is the SHA-256 of the bytes.

    A file's time is when it was last put, so that what a row is about to name is young and no collection takes it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def make(self) -> None:
        """See that the folder is there, if only empty. Raises StoreUnavailable."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"cannot make the folder of the artifacts: {error.strerror}") from error

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest; a second put of the same bytes only makes them young again.

        On return the bytes survive a power cut (file and folder are synced). Raises StoreUnavailable.
        """
        digest = digest_of_bytes(data)
        path = self.path(digest)
        try:
            if not (self._renewed(path) and _holds(path, data)):
                self._write_synced(path, data)
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
            data = self.path(digest).read_bytes()
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
        """Remove what a process of this host that has ended had begun to write and not finished."""
        with suppress(OSError):  # what cannot be removed now, a collection removes
            for unfinished in self._root.glob(f"*/{_unfinished(pid)}*"):
                unfinished.unlink(missing_ok=True)

    def files(self) -> Iterator[Stored]:
        """Every file of the store, also unfinished ones; those that vanish meanwhile are left out."""
        for path in self._root.glob("??/*"):
            with suppress(FileNotFoundError):
                found = path.stat()
                if _NAME.fullmatch(path.name):
                    yield Stored(path, f"{ALGORITHM}:{path.name}", found.st_size, found.st_mtime)
                elif path.name.startswith(".new-"):
                    yield Stored(path, None, found.st_size, found.st_mtime)

    def remove(self, stored: Iterable[Stored], *, before: float) -> list[Stored]:
        """Remove those of these files that were not put again since `before`; returns them. Raises StoreUnavailable.

        Hold it to a few files a call: no put ends meanwhile.
        """
        removed = []
        try:
            with self._lock(alone=True):
                for one in stored:
                    with suppress(FileNotFoundError):
                        if one.path.stat().st_mtime < before:
                            one.path.unlink()
                            removed.append(one)
        except OSError as error:
            raise StoreUnavailable(f"cannot remove an artifact: {error.strerror}") from error
        return removed

    def collecting(self, *, alone: bool, within_s: float) -> AbstractContextManager[None]:
        """Held alone by a collection, shared by who copies artifacts and must find them all. Raises StoreUnavailable.

        Puts and gets never wait for it.
        """
        self.make()
        busy = "another collection or a backup is at work in this home" if alone else "a collection is at work"
        return folder_lock(self._root / ".collecting", alone=alone, within_s=within_s, busy=busy)

    def size(self, digest: str) -> int | None:
        """How many bytes lie under a digest; None when none do. Raises NotFound for what is no digest."""
        try:
            return self.path(digest).stat().st_size
        except OSError:
            return None

    def path(self, digest: str) -> Path:
        """Where the bytes of a digest lie, if they are there. Raises NotFound for what is no digest."""
        algorithm, _, name = digest.partition(":")
        if algorithm != ALGORITHM or len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise NotFound(
                f"{digest!r} is no artifact digest", field="digest", allowed="sha256:<64 hex characters>",
                next_step="list_artifacts shows the digests",
            )  # fmt: skip
        return self._root / name[:2] / name

    def _lock(self, *, alone: bool) -> AbstractContextManager[None]:
        busy = "the artifacts are being cleared up by another process"
        return folder_lock(self._root / ".lock", alone=alone, within_s=LOCK_WAIT_S, busy=busy)

    def _renewed(self, path: Path) -> bool:
        """Make a file young before a collection looks at its age again; False when there is none."""
        if not path.exists():
            return False
        with self._lock(alone=False), suppress(FileNotFoundError):
            os.utime(path)
            return True
        return False

    def _write_synced(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_unfinished(os.getpid()))
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            with self._lock(alone=False):  # a collection that has just seen an old file here must not remove this one
                os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        sync(path.parent)


def _unfinished(pid: int) -> str:
    """How the files begin that a process of this host is writing; another host has the same pids."""
    return f".new-{hashlib.sha256(host_name().encode()).hexdigest()[:12]}-{pid}-"


def _holds(path: Path, data: bytes) -> bool:
    # Bytes are compared, not sizes: putting an artifact again mends one that was changed on disk.
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except FileNotFoundError:
        return False
