"""Worker processes: started apart from the server that asks for them, recognised again, ended for certain.

A worker has its own session and no inherited stdio, so it outlives its server and a closed terminal does not reach it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Final, NoReturn

import psutil

from mcp_forecast_engine.store.host import host_name as host_name

GRACE_S: Final = 1.0
SAME_START_S: Final = 2.0  # the start is derived from the wall clock, which may be slewed between two looks
_children: Final[dict[int, subprocess.Popen[bytes]]] = {}  # of this process, until reaped: process-wide by nature
_children_lock: Final = threading.Lock()


class Exit(IntEnum):
    """Exit codes of a worker; for people who read logs, the ledger alone decides what follows."""

    FINISHED = 0  # there is a result
    FAILED = 1
    CANCELLED = 2
    STALE = 3  # another worker has the run
    UNRECORDED = 4  # the store did not answer; the lease runs out and another worker goes on


def spawn(command: Sequence[str], environment: Mapping[str, str], log_path: Path) -> int:
    """Start a process that outlives this one and writes to a log file only; returns its pid. Raises OSError."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        child = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            close_fds=True,
            start_new_session=True,
        )
    with _children_lock:
        _children[child.pid] = child
    return child.pid


def reap() -> None:
    """Forget ended children, so that none stays a zombie; waits for nobody and touches no other child."""
    with _children_lock:
        for pid in [pid for pid, child in _children.items() if child.poll() is not None]:
            del _children[pid]


def started_at(pid: int) -> float | None:
    """When the process with this pid started (seconds since 1970), or None if there is none; a zombie is none."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


def alive(pid: int, started: float) -> bool:
    """Whether this very process still runs; a later process under a reused pid is another one."""
    found = started_at(pid)
    return found is not None and same(found, started)


def same(found: float, started: float | None) -> bool:
    """Whether two looks at when a process with one pid started saw the same process."""
    return started is not None and abs(found - started) < SAME_START_S


def kill(pid: int, started: float) -> bool:
    """End a worker and what it started: SIGTERM to its group, SIGKILL after GRACE_S. False if it was gone before.

    Returns when it has ended; a stopped one hears no SIGTERM and gets no grace. A process under a reused pid is left
    alone.
    """
    if not alive(pid, started) or os.getpgid(pid) != pid:
        return False
    _signal(pid, signal.SIGTERM)
    until = time.monotonic() + (0.0 if _is_stopped(pid) else GRACE_S)
    while alive(pid, started) and time.monotonic() < until:
        time.sleep(0.02)
    _signal(pid, signal.SIGKILL)  # also what the worker started and left behind
    while alive(pid, started):
        time.sleep(0.005)
    reap()
    return True


def leave(code: int) -> NoReturn:
    """End this process now, whatever its other threads are stuck in."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _is_stopped(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP))
    return False


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
