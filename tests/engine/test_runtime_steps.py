"""A step of a run is made once, and again only where its bytes are not what they were."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import runtime_toy as toy
from ledger_toys import claim, submit

from mcp_forecast_engine.runtime.job import Job

BOTH_DATABASES = True


@pytest.fixture
def home(tmp_path: Path, database_address: str) -> Iterator[toy.Home]:
    opened = toy.open_home(tmp_path, database_address)
    yield opened
    opened.database.close()


def job_of(home: toy.Home) -> Job:
    """The job of a run that was just claimed."""
    submit(home, "a")
    run = claim(home, 0.0)
    assert run is not None
    return Job(
        run, database=home.database, artifacts=home.artifacts, clock=lambda: 1.0, milestone=lambda name: None,
        deadline=time.monotonic() + 60.0,
    )  # fmt: skip


def test_a_step_whose_bytes_were_changed_on_disk_is_made_again(home: toy.Home) -> None:
    job, made = job_of(home), list[str]()
    for _ in range(2):
        assert job.step("s", lambda: made.append("s") or b"bytes") == b"bytes"  # type: ignore[func-returns-value]
    (file,) = [path for path in (home.path / "artifacts").glob("*/*") if path.is_file()]
    file.write_bytes(b"bytEs")
    assert job.step("s", lambda: made.append("s") or b"bytes") == b"bytes"  # type: ignore[func-returns-value]
    assert made == ["s", "s"]
    assert home.artifacts.get(home.steps("run_a")["s"]) == b"bytes"


def test_a_step_whose_bytes_are_gone_is_made_again(home: toy.Home) -> None:
    job = job_of(home)
    assert job.step("s", lambda: b"bytes") == b"bytes"
    next((home.path / "artifacts").glob("*/*")).unlink()
    assert job.step("s", lambda: b"bytes") == b"bytes"
    assert home.artifacts.get(home.steps("run_a")["s"]) == b"bytes"
