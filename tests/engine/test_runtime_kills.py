"""Kill -9 anywhere: a run ends as if nothing had happened, and no step is made more than twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import runtime_toy as toy
from postgres_server import OWNER, as_role
from runtime_works import STEPS

from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.runtime import process
from mcp_forecast_engine.runtime.supervisor import Patience
from mcp_forecast_engine.store.database import open_database

BOTH_DATABASES = True


@pytest.fixture
def home(tmp_path: Path, database_address: str) -> Iterator[toy.Home]:
    opened = toy.open_home(tmp_path, database_address)
    yield opened
    opened.database.close()


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> tuple[str | None, dict[str, str]]:
    home = toy.open_home(tmp_path_factory.mktemp("unkilled"))
    run_id = home.submit().run_id
    with home.supervised():
        ended = home.wait_for_end(run_id)
    assert ended.state == "SUCCEEDED"
    assert home.made() == list(STEPS)
    steps = home.steps(run_id)
    home.database.close()
    return ended.result, steps


@pytest.mark.parametrize("point", toy.WORKER_POINTS)
def test_a_worker_killed_at_this_point_leaves_a_run_that_ends_the_same(
    home: toy.Home, unkilled: tuple[str | None, dict[str, str]], point: str
) -> None:
    run_id = home.submit().run_id
    with home.supervised(crash_at=point):
        ended = home.wait_for_end(run_id)
        toy.until((home.path / "crashed").exists)
    assert (ended.state, ended.result, home.steps(run_id)) == ("SUCCEEDED", *unkilled)
    assert max(Counter(home.made()).values()) <= 2
    assert ended.lease_until is None
    assert home.artifacts.get(ended.result or "").startswith(b"result of ")
    assert not home.unfinished_files()


@pytest.mark.parametrize("point", toy.SERVER_POINTS)
def test_a_server_killed_at_this_point_leaves_a_run_that_another_server_ends(
    home: toy.Home, unkilled: tuple[str | None, dict[str, str]], point: str
) -> None:
    run_id = home.submit().run_id
    server = toy.start_server(home.path, crash_at=point, address=home.address)
    assert server.wait(timeout=10) == -signal.SIGKILL
    with home.supervised():
        ended = home.wait_for_end(run_id)
    assert (ended.state, ended.result, home.steps(run_id)) == ("SUCCEEDED", *unkilled)
    assert max(Counter(home.made()).values()) <= 2


def test_a_worker_outlives_the_server_that_started_it(home: toy.Home) -> None:
    run_id = home.submit("waits").run_id
    server = toy.start_server(home.path, address=home.address)
    toy.until(lambda: home.made() == ["gather"])
    server.kill()
    server.wait()
    (home.path / "go").touch()
    ended = home.wait_for_end(run_id)
    assert (ended.state, ended.epoch, ended.losses) == ("SUCCEEDED", 1, 0)
    assert home.made() == list(STEPS)


def test_a_run_whose_workers_always_die_fails_after_two_and_may_be_asked_for_again(home: toy.Home) -> None:
    run_id = home.submit("crashes").run_id
    with home.supervised():
        ended = home.wait_for_end(run_id)
        assert ended.state == "FAILED"
        assert ended.error is not None
        assert (ended.error["reason"], ended.error["disposition"]) == ("WORKER_LOST", "retryable")
        assert ended.epoch == 2
        again = home.submit("crashes")
        assert (again.run_id, again.state, again.attempt, again.losses) == (run_id, "QUEUED", 2, 0)
        home.wait_for_end(run_id)
    assert home.made() == ["gather"]  # the finished step was kept over four workers and two attempts


def test_four_processes_that_ask_for_the_same_ten_keys_get_ten_runs(home: toy.Home) -> None:
    command = [sys.executable, toy.__file__, "submit", str(home.path), "10"]
    callers = [subprocess.Popen(command, stdout=subprocess.PIPE, env=home.environment, text=True) for _ in range(4)]
    answers = [caller.communicate(timeout=20)[0].split() for caller in callers]
    assert all(len(answer) == 10 and answer == answers[0] for answer in answers)
    claimed = [home.claim(lease_s=60.0) for _ in range(8)]
    assert {run.run_id for run in claimed if run} <= set(answers[0])
    assert home.claim() is None  # the home has room for eight
    assert len(set(answers[0])) == 10


def test_two_servers_share_a_home_and_do_each_run_once(home: toy.Home) -> None:
    wanted = [home.submit(seed=seed).run_id for seed in range(4)]
    server = toy.start_server(home.path, address=home.address)
    with home.supervised():
        ends = [home.wait_for_end(run_id) for run_id in wanted]
    server.kill()
    server.wait()
    assert [(run.state, run.epoch) for run in ends] == [("SUCCEEDED", 1)] * 4
    assert Counter(home.made()) == dict.fromkeys(STEPS, 4)


def test_a_server_goes_on_when_the_store_answers_again(home: toy.Home) -> None:
    run_id = home.submit().run_id
    owner = open_database(as_role(home.address, OWNER) or home.path / "forecast.db")
    with owner.command() as connection:
        connection.exec_driver_sql("ALTER TABLE run RENAME TO away")
    with home.supervised():
        with pytest.raises(StoreUnavailable):
            home.run(run_id)
        with owner.command() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO run")
        assert home.wait_for_end(run_id).state == "SUCCEEDED"
    owner.close()


def test_workers_that_cannot_be_started_are_lost_workers(home: toy.Home) -> None:
    run_id = home.submit().run_id
    (home.path / "logs").write_text("a file where the folder of logs should be")
    with home.supervised():
        ended = home.wait_for_end(run_id)
    assert ended.error is not None
    assert (ended.state, ended.error["reason"]) == ("FAILED", "WORKER_LOST")


def test_after_the_machine_slept_workers_get_the_time_of_a_lease_to_renew() -> None:
    patience = Patience(lease_s=15.0, usual_s=5.0)
    waits = [patience.lets_renew(at) for at in (0.0, 0.5, 3600.0, 3607.0, 3614.0, 3615.0, 3600.0)]
    assert waits == [False, False, True, True, True, False, True]


def test_an_ended_worker_is_no_zombie(home: toy.Home) -> None:
    pid = process.spawn((sys.executable, "-c", ""), os.environ, home.path / "log")
    toy.until(lambda: process.started_at(pid) is None)
    process.reap()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
