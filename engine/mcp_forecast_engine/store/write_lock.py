"""Who holds SQLite's write lock: asked of the kernel, which also knows a process that was stopped with it."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Final

_WRITE_AND_CHECKPOINT: Final = {"start": 120, "length": 2}  # bytes of the -shm file (sqlite.org/walformat.html, 2.3.1)
_FLOCK: Final = {  # struct flock of fcntl(2): its layout and the order of its fields
    "linux": ("hhqqi", ("type", "whence", "start", "length", "pid")),
    "darwin": ("qqihh", ("start", "length", "pid", "type", "whence")),
}
# The kernel drops all locks of a process on a file when that process closes any descriptor of it, SQLite's own
# included. So a file is opened once in a process and closed only when the last database on it has been.
_handles: Final[dict[Path, int]] = {}
_users: Final[Counter[Path]] = Counter()
_table_lock: Final = threading.Lock()


class WriteLock:
    """The lock that lets one process write to a SQLite file in WAL mode, seen from outside.

    Make it beside a database's connections and close it after them.
    """

    def __init__(self, database: Path) -> None:
        self._file = database.with_name(database.name + "-shm").absolute()
        with _table_lock:
            _users[self._file] += 1

    def holder(self) -> int | None:
        """The pid of another process that writes (or checkpoints) now; None too where the system does not tell."""
        layout, names = _FLOCK.get(sys.platform, ("", ()))
        handle = self._open() if layout else None
        if handle is None:
            return None
        asked = {"type": fcntl.F_WRLCK, "whence": os.SEEK_SET, "pid": 0, **_WRITE_AND_CHECKPOINT}
        answer = fcntl.fcntl(handle, fcntl.F_GETLK, struct.pack(layout, *(asked[name] for name in names)))
        found = dict(zip(names, struct.unpack(layout, answer), strict=True))
        # No pid: the holder lives in another container, whose processes mean nothing here.
        return int(found["pid"]) if found["type"] != fcntl.F_UNLCK and found["pid"] > 0 else None

    def close(self) -> None:
        """Let go of the file, if no other database of this process uses it."""
        with _table_lock:
            _users[self._file] -= 1
            if _users[self._file] > 0:
                return
            del _users[self._file]
            handle = _handles.pop(self._file, None)
        if handle is not None:
            os.close(handle)

    def _open(self) -> int | None:
        with _table_lock:
            if self._file not in _handles:
                try:
                    _handles[self._file] = os.open(self._file, os.O_RDWR | os.O_CLOEXEC)
                except OSError:  # before the first statement there is no such file, and nobody holds a lock on it
                    return None
            return _handles[self._file]
