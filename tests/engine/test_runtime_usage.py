"""What a caller has used, counted on the ledger with the time given: attempts, seconds worked, open runs, the queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import runtime_toy as toy
from sqlalchemy import select

from mcp_forecast_engine.runtime import lease, ledger
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.runtime.usage import (
    WINDOW_S,
    Usage,
    runs_fall_to,
    seconds_fall_to,
    settle,
    usage,
    usual_seconds,
)

BOTH_DATABASES = True
DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def home(tmp_path: Path, database_address: str) -> Iterator[toy.Home]:
    opened = toy.open_home(tmp_path, database_address)
    yield opened
    opened.database.close()


def ask(home: toy.Home, name: str, now: float, caller: str = "me") -> tuple[Run, bool]:
    with home.database.command() as connection:
        return ledger.submit(
            connection, run_id=f"run_{name}", run_key=name, kind="training", plan={}, caller=caller,
            wall_limit_s=60.0, now=now,
        )  # fmt: skip


def begin(home: toy.Home, now: float) -> Run:
    with home.database.command() as connection:
        run = lease.claim(connection, owner="host/1", lease_s=1e6, max_running=8, now=now)
    assert run is not None
    return run


def end(home: toy.Home, run: Run, now: float, *, well: bool = True) -> None:
    with home.database.command() as connection:
        if well:
            lease.finish(connection, run.run_id, run.epoch, state="SUCCEEDED", result=DIGEST, now=now)
        else:
            error = {"reason": "X", "disposition": "retryable"}
            lease.fail(connection, run.run_id, run.epoch, error=error, now=now)


def used(home: toy.Home, now: float, caller: str = "me") -> Usage:
    with home.database.read() as connection:
        return usage(connection, caller, now=now)


def test_nothing_is_used_at_first(home: toy.Home) -> None:
    assert used(home, 5.0) == Usage(runs=0, seconds=0.0, open=0, queued=0)


def test_a_run_counts_for_who_asked_and_a_repeat_costs_nothing(home: toy.Home) -> None:
    for now in (1.0, 2.0, 3.0):
        ask(home, "a", now)
    ask(home, "a", 4.0, caller="other")
    assert used(home, 5.0) == Usage(runs=1, seconds=0.0, open=1, queued=1)
    assert used(home, 5.0, "other") == Usage(runs=0, seconds=0.0, open=0, queued=1)


def test_a_run_works_until_now_and_at_last_until_its_end(home: toy.Home) -> None:
    ask(home, "a", 1.0)
    run = begin(home, 10.0)
    assert used(home, 25.0) == Usage(runs=1, seconds=15.0, open=1, queued=0)
    end(home, run, 40.0)
    assert used(home, 1000.0) == Usage(runs=1, seconds=30.0, open=0, queued=0)


def test_a_reopened_run_keeps_what_its_attempts_worked_each_for_its_caller(home: toy.Home) -> None:
    ask(home, "a", 1.0)
    end(home, begin(home, 10.0), 40.0, well=False)
    again, new = ask(home, "a", 50.0, caller="other")
    assert (new, again.attempt) == (True, 2)
    end(home, begin(home, 60.0), 65.0)
    assert used(home, 100.0) == Usage(runs=1, seconds=30.0, open=0, queued=0)
    assert used(home, 100.0, "other") == Usage(runs=1, seconds=5.0, open=0, queued=0)
    with home.database.read() as connection:
        rows = connection.execute(select(ledger.ATTEMPT.c.attempt, ledger.ATTEMPT.c.seconds).order_by("attempt")).all()
    assert [tuple(row) for row in rows] == [(1, 30.0), (2, None)]


def test_settling_keeps_what_ended_attempts_worked_and_changes_no_count(home: toy.Home) -> None:
    ask(home, "a", 1.0)
    end(home, begin(home, 10.0), 40.0)
    ask(home, "b", 2.0)
    begin(home, 50.0)
    ask(home, "c", 3.0)
    before = used(home, 60.0)
    with home.database.command() as connection:
        settle(connection, "me", now=60.0)
        rows = connection.execute(select(ledger.ATTEMPT.c.run_id, ledger.ATTEMPT.c.seconds)).all()
    assert {row.run_id: row.seconds for row in rows} == {"run_a": 30.0, "run_b": None, "run_c": None}
    assert used(home, 60.0) == before == Usage(runs=3, seconds=40.0, open=2, queued=1)


def test_a_run_that_was_cancelled_in_the_queue_has_not_worked(home: toy.Home) -> None:
    ask(home, "a", 1.0)
    with home.database.command() as connection:
        ledger.request_cancel(connection, "run_a", 50.0)
    assert used(home, 100.0) == Usage(runs=1, seconds=0.0, open=0, queued=0)
    ask(home, "a", 60.0)
    assert used(home, 100.0) == Usage(runs=2, seconds=0.0, open=1, queued=1)


def test_an_inline_result_counts_as_a_run_that_waited_for_nobody(home: toy.Home) -> None:
    for now in (5.0, 6.0):
        with home.database.command() as connection:
            _, new = ledger.record_finished(
                connection, run_id="run_i", run_key="i", kind="inference", plan={}, caller="me", result=DIGEST, now=now
            )
        assert new == (now == 5.0)
    assert used(home, 10.0) == Usage(runs=1, seconds=0.0, open=0, queued=0)


def test_what_was_asked_a_day_ago_counts_no_more(home: toy.Home) -> None:
    ask(home, "a", 0.0)
    end(home, begin(home, 10.0), 40.0)
    ask(home, "b", 100.0)
    assert used(home, WINDOW_S - 1).runs == 2
    assert used(home, WINDOW_S) == Usage(runs=1, seconds=0.0, open=1, queued=1)
    assert used(home, WINDOW_S + 100.0).runs == 0
    assert used(home, WINDOW_S + 100.0).open == 1  # it still waits


def test_it_is_told_when_room_will_be(home: toy.Home) -> None:
    for at, worked in ((0.0, 60.0), (1000.0, 600.0), (2000.0, 30.0)):
        ask(home, f"{at:g}", at)
        end(home, begin(home, at), at + worked)
    with home.database.read() as connection:
        assert runs_fall_to(connection, "me", fewer_than=3, now=5000.0) == WINDOW_S - 5000
        assert runs_fall_to(connection, "me", fewer_than=1, now=5000.0) == WINDOW_S + 2000 - 5000
        assert runs_fall_to(connection, "me", fewer_than=0, now=5000.0) is None
        assert seconds_fall_to(connection, "me", less_than=650.0, now=5000.0) == WINDOW_S - 5000
        assert seconds_fall_to(connection, "me", less_than=600.0, now=5000.0) == WINDOW_S + 1000 - 5000
        assert seconds_fall_to(connection, "me", less_than=0.0, now=5000.0) is None
        assert usual_seconds(connection, otherwise=7.0) == 60.0
        assert runs_fall_to(connection, "nobody", fewer_than=1, now=5000.0) is None


def test_without_a_run_that_ended_the_usual_time_is_a_guess(home: toy.Home) -> None:
    ask(home, "a", 1.0)
    with home.database.read() as connection:
        assert usual_seconds(connection, otherwise=7.0) == 7.0
