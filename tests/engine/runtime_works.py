"""What a toy run does: three steps of work, each entered when made, and after the first whatever its plan says."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.runtime.job import Job

STEPS: Final = ("gather", "train", "judge")


def perform(job: Job, home: Path) -> bytes:
    """The work of a toy run: steps that depend on each other, then what its plan says."""
    seed = str(job.run.plan["seed"]).encode()
    for number, name in enumerate(STEPS):
        job.progress(number, len(STEPS), name)
        seed = job.step(name, lambda name=name, before=seed: _make(home, name, before))  # type: ignore[misc]
        if number == 0:
            WORKS[job.run.plan["work"]](job, home)
    job.progress(len(STEPS), len(STEPS), "done")
    return b"result of " + seed


def _make(home: Path, name: str, before: bytes) -> bytes:
    with (home / "made.log").open("a") as log:
        log.write(name + "\n")
    return hashlib.sha256(name.encode() + before).hexdigest().encode()


def _check_for_ever(job: Job, home: Path) -> None:
    while True:
        job.check()
        time.sleep(0.01)


def _spin(job: Job, home: Path) -> None:
    while True:
        pass


def _hold_the_interpreter(job: Job, home: Path) -> None:
    re.match(r"(a|a)+$", "a" * 60 + "b")  # native code that never lets another thread run


def _wait_for_go(job: Job, home: Path) -> None:
    while not (home / "go").exists():
        job.check()
        time.sleep(0.01)


def _refuse(job: Job, home: Path) -> None:
    raise HistoryTooShort("12 rows found", field="horizon", allowed={"at most": 3}, next_step="send more history")


def _break(job: Job, home: Path) -> None:
    raise ValueError("the text of a secret")


def _crash_always(job: Job, home: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


WORKS: Final[dict[str, Callable[[Job, Path], Any]]] = {
    "steps": lambda job, home: None,
    "checks": _check_for_ever,
    "spins": _spin,
    "holds": _hold_the_interpreter,
    "waits": _wait_for_go,
    "refuses": _refuse,
    "breaks": _break,
    "crashes": _crash_always,
}
