"""A run that must stop is gone within seconds, whatever it is stuck in; one that was passed over writes nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import runtime_toy as toy
from runtime_works import STEPS

from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.runtime import process
from mcp_forecast_engine.runtime.job import Job
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.runtime.worker import work as do_work

BOTH_DATABASES = True


@pytest.fixture
def home(tmp_path: Path, database_address: str) -> Iterator[toy.Home]:
    opened = toy.open_home(tmp_path, database_address)
    yield opened
    opened.database.close()


def _workers(home: toy.Home) -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if str(home.path) in (p.info["cmdline"] or [])]


@pytest.mark.parametrize("work", ["checks", "spins", "holds"])
def test_a_cancelled_run_is_gone_within_five_seconds_and_leaves_nothing(home: toy.Home, work: str) -> None:
    run_id = home.submit(work).run_id
    with home.supervised(lease_s=15.0) as supervisor:  # the lease is no help here
        toy.until(lambda: home.made() == ["gather"])
        home.cancel(run_id)
        supervisor.notify()
        asked = time.monotonic()
        toy.until(lambda: home.run(run_id).ended and not _workers(home))
        assert time.monotonic() - asked < 5.0
    ended = home.run(run_id)
    assert (ended.state, ended.lease_owner, ended.lease_until) == ("CANCELLED", None, None)
    assert not home.unfinished_files()


def test_a_worker_stopped_in_its_tracks_is_cancelled_too(home: toy.Home) -> None:
    run_id = home.submit("checks").run_id
    with home.supervised(lease_s=15.0):
        toy.until(lambda: "gather" in home.steps(run_id) and home.run(run_id).worker_pid is not None)
        worker = home.run(run_id).worker_pid
        assert worker is not None
        with home.database.command():  # ours now, so not its own: test_runtime_holdups has that case
            os.kill(worker, signal.SIGSTOP)
        home.cancel(run_id)
        assert home.wait_for_end(run_id, within_s=5.0).state == "CANCELLED"
        toy.until(lambda: not _workers(home), within_s=1.0)


def test_the_same_call_after_a_cancel_goes_on_under_the_same_id(home: toy.Home) -> None:
    run_id = home.submit("waits").run_id
    with home.supervised():
        toy.until(lambda: home.made() == ["gather"])
        home.cancel(run_id)
        assert home.wait_for_end(run_id).state == "CANCELLED"
        (home.path / "go").touch()
        again = home.submit("waits")
        assert (again.run_id, again.attempt, again.epoch) == (run_id, 2, 1)
        ended = home.wait_for_end(run_id)
    assert (ended.state, ended.epoch) == ("SUCCEEDED", 2)
    assert home.made() == list(STEPS)  # what was finished before the cancel is not made again


def test_a_queued_run_is_cancelled_at_once(home: toy.Home) -> None:
    run_id = home.submit().run_id
    assert home.cancel(run_id).state == "CANCELLED"
    assert home.claim() is None


def _work_here(home: toy.Home, run: Run, perform: Callable[[Job], bytes]) -> int:
    return do_work(
        run.run_id, run.epoch, database=home.database, artifacts=home.artifacts, perform=perform,
        clock=home.database.clock, milestone=lambda name: None, lease_s=60.0, ended=lambda connection, run: None,
    )  # fmt: skip


def _claimed(home: toy.Home) -> Run:
    home.submit()
    run = home.claim(lease_s=60.0)
    assert run is not None
    return run


def test_a_run_cancelled_before_its_worker_came_up_does_no_work(home: toy.Home) -> None:
    run, done = _claimed(home), list[str]()
    home.cancel(run.run_id)
    assert _work_here(home, run, lambda job: done.append("work") or b"result") == process.Exit.CANCELLED  # type: ignore[func-returns-value]
    assert (home.run(run.run_id).state, done) == ("CANCELLED", [])


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancel_that_comes_before_the_end_is_recorded_wins(home: toy.Home, fails: bool) -> None:
    run = _claimed(home)

    def perform(job: Job) -> bytes:
        home.cancel(run.run_id)  # too late for any check
        if fails:
            raise ValueError("broken")
        return b"result"

    assert _work_here(home, run, perform) == process.Exit.CANCELLED
    ended = home.run(run.run_id)
    assert (ended.state, ended.result, ended.error) == ("CANCELLED", None, None)


def test_a_run_that_met_damaged_bytes_may_be_asked_for_again_once_they_are_mended(home: toy.Home) -> None:
    run = _claimed(home)
    data = home.artifacts.put(b"data")
    file = next((home.path / "artifacts").glob("*/*"))
    for damage in (file.unlink, lambda: file.write_bytes(b"x")):
        damage()
        with pytest.raises(ArtifactCorrupt):
            home.artifacts.get(data)
        assert _work_here(home, run, lambda job: home.artifacts.get(data)) == process.Exit.FAILED
        ended = home.run(run.run_id)
        assert ended.error is not None
        assert (ended.error["reason"], ended.error["disposition"]) == ("ArtifactCorrupt", "retryable")
        run = _claimed(home)
    home.artifacts.put(b"data")
    assert _work_here(home, run, lambda job: home.artifacts.get(data)) == process.Exit.FINISHED


def test_a_worker_that_slept_past_its_lease_writes_nothing_when_it_wakes(home: toy.Home) -> None:
    run_id = home.submit("waits").run_id
    first = home.claim()
    assert first is not None
    sleeper = home.spawn_worker(first)  # under an owner of another host: nobody here may end it
    toy.until(lambda: home.made() == ["gather"] and "gather" in home.steps(run_id))
    os.kill(sleeper, signal.SIGSTOP)
    (home.path / "go").touch()
    with home.supervised():
        ended = home.wait_for_end(run_id)
    steps = home.steps(run_id)
    os.kill(sleeper, signal.SIGCONT)
    toy.until(lambda: process.started_at(sleeper) is None)
    assert (ended.state, ended.epoch, ended.losses) == ("SUCCEEDED", 2, 1)
    assert (home.run(run_id), home.steps(run_id)) == (ended, steps)
    assert "leaving" in (home.path / "logs" / f"{run_id}.log").read_text()


@pytest.mark.parametrize("work", ["checks", "spins", "holds"])
def test_a_run_past_its_time_limit_fails_for_good(home: toy.Home, work: str) -> None:
    run_id = home.submit(work, wall_limit_s=1.5).run_id
    with home.supervised():
        ended = home.wait_for_end(run_id)
        toy.until(lambda: not _workers(home))
    assert ended.state == "FAILED"
    assert ended.error is not None
    assert (ended.error["reason"], ended.error["disposition"]) == ("TIME_LIMIT", "terminal")
    assert home.submit(work, wall_limit_s=1.5).state == "FAILED"


def test_the_kernel_ends_a_worker_that_no_server_watches(home: toy.Home) -> None:
    home.submit("holds", wall_limit_s=2.5)  # the worker has to come up in this time
    run = home.claim()
    assert run is not None
    pid = home.spawn_worker(run)
    toy.until(lambda: home.made() == ["gather"])
    toy.until(lambda: process.started_at(pid) is None, within_s=8.0)


def test_what_the_work_refuses_is_a_terminal_answer_that_says_what_to_change(home: toy.Home) -> None:
    run_id = home.submit("refuses").run_id
    with home.supervised():
        ended = home.wait_for_end(run_id)
    assert ended.state == "FAILED"
    assert ended.error == {
        "reason": "HistoryTooShort", "disposition": "terminal", "message": "12 rows found", "field": "horizon",
        "allowed": {"at most": 3}, "next_step": "send more history",
    }  # fmt: skip


def test_the_text_of_an_unforeseen_fault_stays_in_the_log(home: toy.Home) -> None:
    run_id = home.submit("breaks").run_id
    with home.supervised():
        ended = home.wait_for_end(run_id)
    assert ended.error is not None
    assert (ended.error["reason"], ended.error["disposition"]) == ("INTERNAL", "retryable")
    assert "secret" not in str(ended)
    log = (home.path / "logs" / f"{run_id}.log").read_text()
    assert "the text of a secret" in log
    assert ended.error["correlation_id"] in log


def test_a_server_leaves_quickly_and_its_workers_go_on(home: toy.Home) -> None:
    run_id = home.submit("waits").run_id
    with home.supervised() as supervisor:
        toy.until(lambda: home.made() == ["gather"])
        began = time.monotonic()
        supervisor.close()
        assert time.monotonic() - began < 0.2
    (home.path / "go").touch()
    assert home.wait_for_end(run_id).state == "SUCCEEDED"


def test_a_process_under_a_reused_pid_is_left_alone(home: toy.Home) -> None:
    pid = process.spawn((sys.executable, "-c", "input()"), os.environ, home.path / "log")
    bystander = process.spawn(("sleep", "60"), os.environ, home.path / "log")
    started = process.started_at(bystander)
    assert started is not None
    assert not process.kill(bystander, started - 3600.0)
    assert process.alive(bystander, started)
    assert process.kill(bystander, started)
    assert not process.alive(bystander, started)
    toy.until(lambda: process.started_at(pid) is None)  # no inherited stdin: input() ends at once


def test_what_a_worker_left_running_ends_with_it(home: toy.Home) -> None:
    stubborn = "trap '' TERM; sleep 61 & echo $! > child; wait"
    pid = process.spawn(("bash", "-c", f"cd {home.path}; {stubborn}; {stubborn}"), os.environ, home.path / "log")
    child = home.path / "child"
    toy.until(lambda: child.exists() and child.read_text().strip() != "")
    assert process.kill(pid, process.started_at(pid) or 0.0)
    assert process.started_at(int(child.read_text())) is None
