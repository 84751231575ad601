"""The ledger: one run per key, legal transitions only, and nothing written under an old epoch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import runtime_toy as toy
from ledger_toys import DIGEST, claim, fail, finish, submit
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql.base import PGDialect

from mcp_forecast_engine.errors import NotFound, StaleEpoch
from mcp_forecast_engine.runtime import lease, ledger
from mcp_forecast_engine.runtime.run import STATES, Progress, Run

BOTH_DATABASES = True


@pytest.fixture
def home(tmp_path: Path, database_address: str) -> Iterator[toy.Home]:
    opened = toy.open_home(tmp_path, database_address)
    yield opened
    opened.database.close()


def test_the_same_key_is_the_same_run(home: toy.Home) -> None:
    first, new = submit(home, "a", now=1.0)
    second, again = submit(home, "a", now=2.0)
    assert (new, again, second) == (True, False, first)
    assert (first.state, first.attempt, first.plan) == ("QUEUED", 1, {"name": "a"})
    with home.database.read() as connection:
        assert ledger.find(connection, "run_a") == ledger.find_by_key(connection, "a") == first
        assert ledger.find(connection, "run_b") is None
        with pytest.raises(NotFound):
            ledger.get(connection, "run_b")


def test_the_oldest_queued_run_is_claimed_first_and_no_more_than_the_home_may_run(home: toy.Home) -> None:
    for name, at in (("late", 2.0), ("early", 1.0), ("later", 3.0)):
        submit(home, name, now=at)
    taken = [claim(home, 4.0, most=2) for _ in range(3)]
    assert [run and run.run_key for run in taken] == ["early", "late", None]
    assert claim(home, 15.0, most=2) is not None  # leases have run out


def test_claims_of_many_servers_at_one_instant_never_exceed_what_the_home_may_run(home: toy.Home) -> None:
    for number in range(12):
        submit(home, str(number))
    servers = [toy.open_home(home.path, home.address) for _ in range(6)]
    together = threading.Barrier(len(servers))

    def claim_twice(server: toy.Home) -> list[Run | None]:
        together.wait()
        return [claim(server, 1.0, most=5) for _ in range(2)]

    with ThreadPoolExecutor(len(servers)) as threads:
        taken = [run.run_id for pair in threads.map(claim_twice, servers) for run in pair if run is not None]
    for server in servers:
        server.database.close()
    assert len(taken) == len(set(taken)) == 5
    with home.database.read() as connection:
        assert ledger.counts(connection)["RUNNING"] == 5


def test_a_lost_run_is_taken_over_once_and_then_failed_so_that_a_repeat_may_cure_it(home: toy.Home) -> None:
    submit(home, "a")
    first, second, third = claim(home, 0.0), claim(home, 11.0), claim(home, 22.0)
    assert first is not None
    assert second is not None
    assert (second.run_id, second.epoch, second.losses, second.started_at) == (first.run_id, 2, 1, 0.0)
    assert third is None
    lost = home.run("run_a")
    assert lost.error is not None
    assert (lost.state, lost.error["reason"]) == ("FAILED", "WORKER_LOST")
    again, new = submit(home, "a")
    assert (new, again.state, again.attempt, again.losses, again.epoch, again.error) == (True, "QUEUED", 2, 0, 2, None)


@pytest.mark.parametrize(("wait", "cancel", "state"), [(61.0, False, "FAILED"), (61.0, True, "CANCELLED")])
def test_a_lost_run_that_may_not_go_on_is_ended(home: toy.Home, wait: float, cancel: bool, state: str) -> None:
    submit(home, "a")
    claim(home, 0.0)
    if cancel:
        home.cancel("run_a")
    assert claim(home, wait) is None
    assert home.run("run_a").state == state


def test_a_terminal_failure_stays_and_a_retryable_one_is_reopened(home: toy.Home) -> None:
    submit(home, "a")
    submit(home, "b")
    for disposition in ("terminal", "retryable"):
        run = claim(home, 0.0)
        assert run is not None
        fail(home, run, disposition)
    assert [submit(home, name)[1] for name in ("a", "b")] == [False, True]


def test_a_run_out_of_time_is_reopened_by_a_call_that_gives_it_more(home: toy.Home) -> None:
    submit(home, "a", wall_limit_s=60.0)
    claim(home, 0.0)
    assert claim(home, 61.0) is None
    failed = home.run("run_a")
    assert failed.error is not None
    assert failed.error["reason"] == "TIME_LIMIT"
    assert [submit(home, "a", wall_limit_s=limit)[1] for limit in (30.0, 60.0)] == [False, False]
    again, new = submit(home, "a", wall_limit_s=61.0)
    assert (new, again.state, again.wall_limit_s, again.attempt, again.error) == (True, "QUEUED", 61.0, 2, None)
    assert claim(home, 100.0) is not None


@pytest.mark.parametrize("disposition", ["terminal", "retryable"])
def test_an_inline_result_replaces_an_older_failure_of_the_same_run(home: toy.Home, disposition: str) -> None:
    submit(home, "a")
    run = claim(home, 0.0)
    assert run is not None
    fail(home, run, disposition)
    finished = finish(home, "a", now=5.0)
    assert (finished.state, finished.result, finished.error, finished.attempt) == ("SUCCEEDED", DIGEST, None, 2)
    assert finish(home, "a", now=6.0) == finished


def test_an_inline_result_is_entered_as_finished_and_fences_a_worker_off(home: toy.Home) -> None:
    fresh = finish(home, "fresh", now=5.0)
    assert (fresh.state, fresh.result, fresh.started_at, fresh.ended_at) == ("SUCCEEDED", DIGEST, 5.0, 5.0)
    assert finish(home, "fresh", now=6.0) == fresh
    submit(home, "queued")
    assert finish(home, "queued").state == "SUCCEEDED"
    submit(home, "running")
    held = claim(home, 0.0)
    assert held is not None
    assert finish(home, "running").state == "SUCCEEDED"
    with home.database.command() as connection, pytest.raises(StaleEpoch):
        lease.renew(connection, held.run_id, held.epoch, lease_s=1.0, progress=Progress(), now=1.0)


def test_an_old_epoch_writes_nothing(home: toy.Home) -> None:
    submit(home, "a")
    old = claim(home, 0.0)
    new = claim(home, 11.0)
    assert old is not None
    assert new is not None
    held = (old.run_id, old.epoch)
    with home.database.command() as connection:
        for write in (
            lambda: lease.attach(connection, *held, pid=1, started=1.0),
            lambda: lease.renew(connection, *held, lease_s=9.0, progress=Progress(1, 2, "x"), now=12.0),
            lambda: lease.expire(connection, *held, now=12.0),
            lambda: lease.finish_step(connection, *held, step="s", artifact=DIGEST, now=12.0),
            lambda: lease.finish(connection, *held, state="SUCCEEDED", result=DIGEST, now=12.0),
            lambda: lease.fail(connection, *held, error={}, now=12.0),
            lambda: lease.cancelled(connection, *held, now=12.0),
        ):
            with pytest.raises(StaleEpoch):
                write()
    assert (home.run("run_a"), home.steps("run_a")) == (new, {})


def test_pages_go_from_new_to_old_without_gap_or_repeat(home: toy.Home) -> None:
    for number in range(7):
        submit(home, str(number), now=float(number // 2))  # some share an instant
    claim(home, 9.0)
    with home.database.read() as connection:
        seen: list[Run] = []
        while page := ledger.page(connection, None, None, (seen and (seen[-1].created_at, seen[-1].run_id)) or None, 3):
            seen += page
        assert [run.run_key for run in seen] == ["6", "5", "4", "3", "2", "1", "0"]
        assert len(ledger.page(connection, "training", "QUEUED", None, 20)) == 6
        assert ledger.page(connection, "inference", None, None, 20) == []
        assert ledger.total(connection, "training", "QUEUED") == 6
        assert ledger.counts(connection) == dict.fromkeys(STATES, 0) | {"QUEUED": 6, "RUNNING": 1}


def test_every_statement_can_be_said_to_postgresql() -> None:
    statements = [
        value
        for module in (ledger, lease)
        for name, value in vars(module).items()
        if name.startswith("_") and name.isupper() and isinstance(value, ClauseElement)
    ]
    assert len(statements) > 20
    dialect = PGDialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
    assert all(str(statement.compile(dialect=dialect)) for statement in statements)
