"""Whatever is done to a run, in whatever order: only legal transitions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import runtime_toy as toy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_toys import DIGEST, claim, finish, submit

from mcp_forecast_engine.errors import StaleEpoch
from mcp_forecast_engine.runtime import lease
from mcp_forecast_engine.runtime.run import HELD, TRANSITIONS, Progress, Run, State

BOTH_DATABASES = True


@pytest.fixture
def home(tmp_path: Path, database_address: str) -> Iterator[toy.Home]:
    opened = toy.open_home(tmp_path, database_address)
    yield opened
    opened.database.close()


OPERATIONS = (
    "submit",
    "claim",
    "late",
    "cancel",
    "renew",
    "succeed",
    "evaluated",
    "pass",
    "refuse",
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
    before, _ = submit(home, name)
    ended_with: str | None = before.result
    for operation in operations:
        now += 11.0 if operation == "late" else 0.1
        current = home.run(before.run_id)
        _do(home, operation, name, current, now)
        after = home.run(before.run_id)
        assert after.state == current.state or after.state in _reachable(current.state)
        assert after.epoch >= current.epoch
        assert (after.lease_until is not None) == (after.state in HELD)
        assert ended_with is None or after.result == ended_with  # a result never changes again
        ended_with = after.result
    home.cancel(before.run_id)
    claim(home, now + 1000.0)  # leaves nothing to claim for the next example


def _reachable(state: str) -> set[str]:
    """Where one call can lead: one transition, or a reopening with what follows in the same call."""
    once = set(TRANSITIONS[state])  # type: ignore[index]
    return once | ({"SUCCEEDED"} if "QUEUED" in once else set())


def _allowed(operation: str, state: str) -> bool:
    """Whether a worker that holds the run in this state may do this."""
    if operation in ("pass", "refuse"):
        return state == "EVAL_READY"
    return state == "RUNNING" if operation in ("succeed", "evaluated") else state in HELD


def _do(home: toy.Home, operation: str, name: str, run: Run, now: float) -> None:
    held = (run.run_id, run.epoch)
    with home.database.command() as connection:
        try:
            if operation == "renew":
                lease.renew(connection, *held, lease_s=10.0, progress=Progress(), now=now)
            elif operation == "evaluated":
                lease.evaluated(connection, *held)
            elif operation in ("succeed", "pass", "refuse"):
                ends: dict[str, State] = {"succeed": "SUCCEEDED", "pass": "PASS", "refuse": "FAIL"}
                lease.finish(connection, *held, state=ends[operation], result=DIGEST, now=now)
            elif operation in ("fail", "give_up"):
                disposition = "retryable" if operation == "fail" else "terminal"
                lease.fail(connection, *held, error={"disposition": disposition}, now=now)
            elif operation == "cancelled":
                lease.cancelled(connection, *held, now=now)
            elif operation == "stale":
                lease.finish(connection, run.run_id, run.epoch - 1, state="SUCCEEDED", result="sha256:wrong", now=now)
                raise AssertionError("an old epoch was let through")
        except StaleEpoch:
            assert operation == "stale" or not _allowed(operation, run.state)
    if operation in ("claim", "late"):
        claim(home, now)
    elif operation == "cancel":
        home.cancel(run.run_id)
    elif operation == "submit":
        submit(home, name, now)
    elif operation == "finish":
        finish(home, name, now)
