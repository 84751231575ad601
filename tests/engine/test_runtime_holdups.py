"""A worker that was stopped while it had SQLite's write lock: it alone is ended, and everyone goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import runtime_toy as toy

from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.runtime import process
from mcp_forecast_engine.runtime.run import Run


@pytest.fixture
def home(tmp_path: Path) -> Iterator[toy.Home]:
    opened = toy.open_home(tmp_path)
    yield opened
    opened.database.close()


def _at_work(home: toy.Home) -> Run:
    """A run whose worker waits to be told to go on, as a supervisor of this host would have started it."""
    run = home.submit("waits", seed=1)
    claimed = home.claim(lease_s=30.0, owner=f"{process.host_name()}/another")
    assert claimed is not None
    home.spawn_worker(claimed)
    toy.until(lambda: "gather" in home.steps(run.run_id))
    return run


def _cannot_be_written(home: toy.Home) -> None:
    with pytest.raises(StoreUnavailable, match=r"locked|busy") as refused, home.database.command(wait_s=0.0):
        pass
    assert refused.value.next_step == "retry with the same key"


@pytest.mark.parametrize("point", ["gather:made", "judge:recorded", "finished"])
def test_a_worker_stopped_while_it_writes_is_ended_and_no_other_run_loses_by_it(home: toy.Home, point: str) -> None:
    bystander, run = _at_work(home), home.submit()
    with home.supervised(stop_at=point):
        toy.until((home.path / "stopped").exists)
        _cannot_be_written(home)
        ended = home.wait_for_end(run.run_id)
        toy.until(lambda: home.database.writing_process() is None)
        (home.path / "go").touch()
        other = home.wait_for_end(bystander.run_id)
    lost = 0 if point == "finished" else 1  # after its end was recorded nothing is left to lose
    assert (ended.state, ended.losses) == ("SUCCEEDED", lost)
    assert (other.state, other.epoch, other.losses) == ("SUCCEEDED", 1, 0)


def test_a_worker_stopped_before_the_ledger_knows_it_is_known_to_its_server(home: toy.Home) -> None:
    run = home.submit()

    def stopped_by_then(name: str) -> None:
        if name == "spawned":  # before the server enters the pid
            toy.until((home.path / "stopped").exists)

    with home.supervised(stop_at="opening", milestone=stopped_by_then, start_s=toy.SHORT_START_S):
        toy.until((home.path / "stopped").exists)
        _cannot_be_written(home)
        assert home.run(run.run_id).worker_pid is None
        ended = home.wait_for_end(run.run_id)
    assert (ended.state, ended.losses) == ("SUCCEEDED", 1)


def test_another_process_that_keeps_everyone_from_writing_is_named_and_let_alone(
    home: toy.Home, caplog: pytest.LogCaptureFixture
) -> None:
    bystander = _at_work(home)
    writer = subprocess.Popen([sys.executable, toy.__file__, "write", str(home.path)], stdin=subprocess.PIPE)
    assert writer.stdin is not None
    with home.supervised():
        toy.until(lambda: home.database.writing_process() == writer.pid)
        toy.until(lambda: f"process {writer.pid} keeps everyone from writing" in caplog.text)
        held_until = home.run(bystander.run_id).lease_until
        toy.until(lambda: held_until is not None and time.time() > held_until + 1.0)
        writer.stdin.close()
        assert writer.wait(timeout=10) == 0
        (home.path / "go").touch()
        other = home.wait_for_end(bystander.run_id)
    assert (other.state, other.epoch, other.losses) == ("SUCCEEDED", 1, 0)


def test_the_lock_of_a_writer_is_seen_from_outside_and_never_its_own(home: toy.Home, tmp_path: Path) -> None:
    second = toy.open_home(tmp_path)
    with home.database.command():
        assert home.database.writing_process() is None
    writer = subprocess.Popen([sys.executable, toy.__file__, "write", str(home.path)], stdin=subprocess.PIPE)
    toy.until(lambda: home.database.writing_process() == writer.pid)
    assert second.database.writing_process() == writer.pid
    second.database.close()  # closing a descriptor must not cost the first one's locks
    assert home.database.writing_process() == writer.pid
    writer.kill()
    writer.communicate()
    assert home.database.writing_process() is None
