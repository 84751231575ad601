"""Disks that fail for a home: a small one that can be filled to its last byte, a home that can be made read-only.

Both need root; `why_not()` says what is missing, so that tests can skip aloud.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from mcp_forecast.app import App
from mcp_forecast.home.sealing import home_id_of, origin_of
from mcp_forecast_audit.verify import verify
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.snapshot import artifacts_named

ROWS: Final = [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d + 3 * m)} for m in range(1, 13) for d in range(1, 29)]
RETRYABLE: Final = {"STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"}
# What a call may also answer while nothing can be written: what it asks for is not there, or is wrong.
OTHER: Final = {"INVALID_ARGUMENTS", "NOT_FOUND", "RUN_NOT_READY", "RUN_FAILED", "DATA_INVALID", "PATH_NOT_ALLOWED"}
_FILLER: Final = "filler"


def why_not() -> str:
    """Why the faults cannot be made here; empty where they can."""
    if os.geteuid() != 0:
        return "only root may mount"
    missing = [tool for tool in ("mount", "umount", "chattr") if shutil.which(tool) is None]
    if missing:
        return f"no {missing[0]} on this machine"
    with tempfile.TemporaryDirectory() as folder:
        if _run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder):
            return "this container may not mount"
        _run("umount", folder)
        if _run("chattr", "+i", folder) or _run("chattr", "-i", folder):
            return "this file system knows no chattr +i"
    return ""


@contextmanager
def small_disk(folder: Path, *, size: str) -> Iterator[Path]:
    """Mount a tmpfs of this size (as mount takes it, `8m`) on a folder; it goes at the end, whatever happens."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        if _run("umount", str(folder)):
            _run("umount", "--lazy", str(folder))  # a worker may still have it open


def fill(disk: Path) -> None:
    """Take the last free byte."""
    handle = os.open(disk / _FILLER, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for size in (1 << 20, 1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while os.write(handle, b"\0" * size):
                    pass
    finally:
        os.close(handle)


def free(disk: Path) -> None:
    """Give the space back."""
    (disk / _FILLER).unlink(missing_ok=True)


@contextmanager
def read_only(home: Path) -> Iterator[None]:
    """Nothing in this home can be written, made or removed for the block, by files that are open either.

    But SQLite's shared memory, which is no storage: a page of a mapped file that has become immutable ends the process.
    """
    kept = [str(path) for path in (*home.rglob("*"), home) if not path.is_symlink() and not path.name.endswith("-shm")]
    _run("chattr", "-f", "+i", *kept)  # one may have gone since it was listed
    try:
        yield
    finally:
        subprocess.run(["chattr", "-R", "-f", "-i", str(home)], check=True)


def requests(dataset_id: str, run_id: str, number: int) -> dict[str, dict[str, Any]]:
    """A request of each tool; those with effects are new for every number, so that there is something to write."""
    rows = [{**row, "y": row["y"] + 1000 * number} for row in ROWS]
    return {
        "register_dataset": {"rows": rows, "freq": "D", "idempotency_key": f"r{number}"},
        "run_training": {"dataset_id": dataset_id, "horizon": 2 + number, "idempotency_key": f"t{number}"},
        "run_inference": {"run_id": run_id, "levels": [10 + 10 * (number % 9)]},
        "run_preprocessing": {"dataset_id": dataset_id, "steps": [{"kind": "outliers", "threshold": 5 + number}]},
        "cancel_run": {"run_id": run_id},
        "describe_dataset": {"dataset_id": dataset_id},
        "get_run_status": {"run_id": run_id},
        "list_artifacts": {"run_id": run_id},
        "compare_runs": {"run_ids": [run_id, run_id]},
    }


def faults_of_store(app: App) -> list[str]:
    """What is wrong with a home: its database, its log, its artifacts. Empty is whole."""
    found = []
    address = app.settings.address
    if isinstance(address, Path):
        connection = sqlite3.connect(address)
        found += [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        connection.close()
    with app.database.read() as reading:
        home_id, named = home_id_of(reading), artifacts_named(reading)
    found += map(str, verify(app.database.read, origin=origin_of(home_id)).problems)
    artifacts = ArtifactStore(app.settings.home / "artifacts")
    present = {file.digest for file in artifacts.files()}
    found += [f"missing {digest}" for digest in named - present]
    for digest in present - {None}:
        assert digest is not None
        artifacts.get(digest)
    return found


def until(holds: Callable[[], bool], within_s: float) -> float:
    """Wait until something holds; seconds it took."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > within_s:
            raise AssertionError(f"not within {within_s:g} s")
        time.sleep(0.02)
    return time.monotonic() - began


def _run(*command: str) -> int:
    return subprocess.run(command, check=False, capture_output=True).returncode
