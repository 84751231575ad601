"""The ledger: one run per key, legal transitions only, and nothing written under an old epoch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import runtime_toy as toy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql.base import PGDialect

from mcp_forecast_engine.errors import NotFound, StaleEpoch
from mcp_forecast_engine.runtime import lease, ledger
from mcp_forecast_engine.runtime.job import Job
from mcp_forecast_engine.runtime.run import STATES, TRANSITIONS, Progress, Run

BOTH_DATABASES = True
DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def home(tmp_path: Path, database_address: str) -> Iterator[toy.Home]:
    opened = toy.open_home(tmp_path, database_address)
    yield opened
    opened.database.close()


def _submit(home: toy.Home, name: str, now: float = 0.0, wall_limit_s: float = 60.0) -> tuple[Run, bool]:
    with home.database.command() as connection:
        return ledger.submit(
            connection, run_id=f"run_{name}", run_key=name, kind="training", plan={"name": name}, caller="me",
            wall_limit_s=wall_limit_s, now=now,
        )  # fmt: skip


def _claim(home: toy.Home, now: float, *, most: int = 8) -> Run | None:
    with home.database.command() as connection:
        return lease.claim(connection, owner="host/1", lease_s=10.0, max_running=most, now=now)


def _finished(home: toy.Home, name: str, now: float = 0.0) -> Run:
    with home.database.command() as connection:
        run, _ = ledger.record_finished(
            connection,
            run_id=f"run_{name}",
            run_key=name,
            kind="inference",
            plan={},
            caller="me",
            result=DIGEST,
            now=now,
        )
        return run


def _fail(home: toy.Home, run: Run, disposition: str) -> Run:
    with home.database.command() as connection:
        return lease.fail(connection, run.run_id, run.epoch, error={"reason": "X", "disposition": disposition}, now=1.0)


def test_the_same_key_is_the_same_run(home: toy.Home) -> None:
    first, new = _submit(home, "a", now=1.0)
    second, again = _submit(home, "a", now=2.0)
    assert (new, again, second) == (True, False, first)
    assert (first.state, first.attempt, first.plan) == ("QUEUED", 1, {"name": "a"})
    with home.database.read() as connection:
        assert ledger.find(connection, "run_a") == ledger.find_by_key(connection, "a") == first
        assert ledger.find(connection, "run_b") is None
        with pytest.raises(NotFound):
            ledger.get(connection, "run_b")


def test_the_oldest_queued_run_is_claimed_first_and_no_more_than_the_home_may_run(home: toy.Home) -> None:
    for name, at in (("late", 2.0), ("early", 1.0), ("later", 3.0)):
        _submit(home, name, now=at)
    taken = [_claim(home, 4.0, most=2) for _ in range(3)]
    assert [run and run.run_key for run in taken] == ["early", "late", None]
    assert _claim(home, 15.0, most=2) is not None  # leases have run out


def test_claims_of_many_servers_at_one_instant_never_exceed_what_the_home_may_run(home: toy.Home) -> None:
    for number in range(12):
        _submit(home, str(number))
    servers = [toy.open_home(home.path, home.address) for _ in range(6)]
    together = threading.Barrier(len(servers))

    def claim_twice(server: toy.Home) -> list[Run | None]:
        together.wait()
        return [_claim(server, 1.0, most=5) for _ in range(2)]

    with ThreadPoolExecutor(len(servers)) as threads:
        taken = [run.run_id for pair in threads.map(claim_twice, servers) for run in pair if run is not None]
    for server in servers:
        server.database.close()
    assert len(taken) == len(set(taken)) == 5
    with home.database.read() as connection:
        assert ledger.counts(connection)["RUNNING"] == 5


def test_a_lost_run_is_taken_over_once_and_then_failed_so_that_a_repeat_may_cure_it(home: toy.Home) -> None:
    _submit(home, "a")
    first, second, third = _claim(home, 0.0), _claim(home, 11.0), _claim(home, 22.0)
    assert first is not None
    assert second is not None
    assert (second.run_id, second.epoch, second.losses, second.started_at) == (first.run_id, 2, 1, 0.0)
    assert third is None
    lost = home.run("run_a")
    assert lost.error is not None
    assert (lost.state, lost.error["reason"]) == ("FAILED", "WORKER_LOST")
    again, new = _submit(home, "a")
    assert (new, again.state, again.attempt, again.losses, again.epoch, again.error) == (True, "QUEUED", 2, 0, 2, None)


@pytest.mark.parametrize(("wait", "cancel", "state"), [(61.0, False, "FAILED"), (61.0, True, "CANCELLED")])
def test_a_lost_run_that_may_not_go_on_is_ended(home: toy.Home, wait: float, cancel: bool, state: str) -> None:
    _submit(home, "a")
    _claim(home, 0.0)
    if cancel:
        home.cancel("run_a")
    assert _claim(home, wait) is None
    assert home.run("run_a").state == state


def test_a_terminal_failure_stays_and_a_retryable_one_is_reopened(home: toy.Home) -> None:
    _submit(home, "a")
    _submit(home, "b")
    for disposition in ("terminal", "retryable"):
        run = _claim(home, 0.0)
        assert run is not None
        _fail(home, run, disposition)
    assert [_submit(home, name)[1] for name in ("a", "b")] == [False, True]


def test_a_run_out_of_time_is_reopened_by_a_call_that_gives_it_more(home: toy.Home) -> None:
    _submit(home, "a", wall_limit_s=60.0)
    _claim(home, 0.0)
    assert _claim(home, 61.0) is None
    failed = home.run("run_a")
    assert failed.error is not None
    assert failed.error["reason"] == "TIME_LIMIT"
    assert [_submit(home, "a", wall_limit_s=limit)[1] for limit in (30.0, 60.0)] == [False, False]
    again, new = _submit(home, "a", wall_limit_s=61.0)
    assert (new, again.state, again.wall_limit_s, again.attempt, again.error) == (True, "QUEUED", 61.0, 2, None)
    assert _claim(home, 100.0) is not None


@pytest.mark.parametrize("disposition", ["terminal", "retryable"])
def test_an_inline_result_replaces_an_older_failure_of_the_same_run(home: toy.Home, disposition: str) -> None:
    _submit(home, "a")
    run = _claim(home, 0.0)
    assert run is not None
    _fail(home, run, disposition)
    finished = _finished(home, "a", now=5.0)
    assert (finished.state, finished.result, finished.error, finished.attempt) == ("SUCCEEDED", DIGEST, None, 2)
    assert _finished(home, "a", now=6.0) == finished


def test_an_inline_result_is_entered_as_finished_and_fences_a_worker_off(home: toy.Home) -> None:
    fresh = _finished(home, "fresh", now=5.0)
    assert (fresh.state, fresh.result, fresh.started_at, fresh.ended_at) == ("SUCCEEDED", DIGEST, 5.0, 5.0)
    assert _finished(home, "fresh", now=6.0) == fresh
    _submit(home, "queued")
    assert _finished(home, "queued").state == "SUCCEEDED"
    _submit(home, "running")
    held = _claim(home, 0.0)
    assert held is not None
    assert _finished(home, "running").state == "SUCCEEDED"
    with home.database.command() as connection, pytest.raises(StaleEpoch):
        lease.renew(connection, held.run_id, held.epoch, lease_s=1.0, progress=Progress(), now=1.0)


def test_an_old_epoch_writes_nothing(home: toy.Home) -> None:
    _submit(home, "a")
    old = _claim(home, 0.0)
    new = _claim(home, 11.0)
    assert old is not None
    assert new is not None
    held = (old.run_id, old.epoch)
    with home.database.command() as connection:
        for write in (
            lambda: lease.attach(connection, *held, pid=1, started=1.0),
            lambda: lease.renew(connection, *held, lease_s=9.0, progress=Progress(1, 2, "x"), now=12.0),
            lambda: lease.expire(connection, *held, now=12.0),
            lambda: lease.finish_step(connection, *held, step="s", artifact=DIGEST, now=12.0),
            lambda: lease.succeed(connection, *held, result=DIGEST, now=12.0),
            lambda: lease.fail(connection, *held, error={}, now=12.0),
            lambda: lease.cancelled(connection, *held, now=12.0),
        ):
            with pytest.raises(StaleEpoch):
                write()
    assert (home.run("run_a"), home.steps("run_a")) == (new, {})


def test_pages_go_from_new_to_old_without_gap_or_repeat(home: toy.Home) -> None:
    for number in range(7):
        _submit(home, str(number), now=float(number // 2))  # some share an instant
    _claim(home, 9.0)
    with home.database.read() as connection:
        seen: list[Run] = []
        while page := ledger.page(connection, None, None, (seen and (seen[-1].created_at, seen[-1].run_id)) or None, 3):
            seen += page
        assert [run.run_key for run in seen] == ["6", "5", "4", "3", "2", "1", "0"]
        assert len(ledger.page(connection, "training", "QUEUED", None, 20)) == 6
        assert ledger.page(connection, "inference", None, None, 20) == []
        assert ledger.total(connection, "training", "QUEUED") == 6
        assert ledger.counts(connection) == dict.fromkeys(STATES, 0) | {"QUEUED": 6, "RUNNING": 1}


def test_a_step_whose_bytes_were_changed_on_disk_is_made_again(home: toy.Home) -> None:
    _submit(home, "a")
    run = _claim(home, 0.0)
    assert run is not None
    job = Job(
        run, database=home.database, artifacts=home.artifacts, clock=lambda: 1.0, milestone=lambda name: None,
        deadline=time.monotonic() + 60.0,
    )  # fmt: skip
    made: list[str] = []
    for _ in range(2):
        assert job.step("s", lambda: made.append("s") or b"bytes") == b"bytes"  # type: ignore[func-returns-value]
    (file,) = [path for path in (home.path / "artifacts").glob("*/*") if path.is_file()]
    file.write_bytes(b"bytEs")
    assert job.step("s", lambda: made.append("s") or b"bytes") == b"bytes"  # type: ignore[func-returns-value]
    assert made == ["s", "s"]
    assert home.artifacts.get(home.steps("run_a")["s"]) == b"bytes"


def test_a_step_whose_bytes_are_gone_is_made_again(home: toy.Home) -> None:
    _submit(home, "a")
    run = _claim(home, 0.0)
    assert run is not None
    job = Job(
        run, database=home.database, artifacts=home.artifacts, clock=lambda: 1.0, milestone=lambda name: None,
        deadline=time.monotonic() + 60.0,
    )  # fmt: skip
    assert job.step("s", lambda: b"bytes") == b"bytes"
    next((home.path / "artifacts").glob("*/*")).unlink()
    assert job.step("s", lambda: b"bytes") == b"bytes"
    assert home.artifacts.get(home.steps("run_a")["s"]) == b"bytes"


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


OPERATIONS = (
    "submit",
    "claim",
    "late",
    "cancel",
    "renew",
    "succeed",
    "fail",
    "give_up",
    "cancelled",
    "finish",
    "stale",
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(st.sampled_from(OPERATIONS), max_size=25), number=st.integers(0, 10**9))
def test_whatever_is_done_in_whatever_order_only_legal_transitions_happen(
    home: toy.Home, operations: list[str], number: int
) -> None:
    name, now = f"{number}-{len(operations)}", 0.0
    before, _ = _submit(home, name)
    ended_with: str | None = before.result
    for operation in operations:
        now += 11.0 if operation == "late" else 0.1
        current = home.run(before.run_id)
        _do(home, operation, name, current, now)
        after = home.run(before.run_id)
        assert after.state == current.state or after.state in _reachable(current.state)
        assert after.epoch >= current.epoch
        assert (after.lease_until is not None) == (after.state == "RUNNING")
        assert ended_with is None or after.result == ended_with  # SUCCEEDED never moves again
        ended_with = after.result
    home.cancel(before.run_id)
    _claim(home, now + 1000.0)  # leaves nothing to claim for the next example


def _reachable(state: str) -> set[str]:
    """Where one call can lead: one transition, or a reopening with what follows in the same call."""
    once = set(TRANSITIONS[state])  # type: ignore[index]
    return once | ({"SUCCEEDED"} if "QUEUED" in once else set())


def _do(home: toy.Home, operation: str, name: str, run: Run, now: float) -> None:
    held = (run.run_id, run.epoch)
    with home.database.command() as connection:
        try:
            if operation == "renew":
                lease.renew(connection, *held, lease_s=10.0, progress=Progress(), now=now)
            elif operation == "succeed":
                lease.succeed(connection, *held, result=DIGEST, now=now)
            elif operation in ("fail", "give_up"):
                disposition = "retryable" if operation == "fail" else "terminal"
                lease.fail(connection, *held, error={"disposition": disposition}, now=now)
            elif operation == "cancelled":
                lease.cancelled(connection, *held, now=now)
            elif operation == "stale":
                lease.succeed(connection, run.run_id, run.epoch - 1, result="sha256:wrong", now=now)
                raise AssertionError("an old epoch was let through")
        except StaleEpoch:
            assert run.state != "RUNNING" or operation == "stale"
    if operation in ("claim", "late"):
        _claim(home, now)
    elif operation == "cancel":
        home.cancel(run.run_id)
    elif operation == "submit":
        _submit(home, name, now)
    elif operation == "finish":
        _finished(home, name, now)
