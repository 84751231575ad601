"""The ledger as callers use it: ask for a run, find it, cancel it, list it. What workers write is in lease.py.

Every function takes an open connection first, so that one transaction spans parts. Statements are prebuilt Core and use
RETURNING, because a row count is not to be had on PostgreSQL after ON CONFLICT.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, Executable, Select, Table, bindparam, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from mcp_forecast_engine.errors import NotFound
from mcp_forecast_engine.runtime.run import HELD, STATES, Run, State, read_run, sources
from mcp_forecast_engine.store.identity import canonical_bytes
from mcp_forecast_engine.store.tables import AttemptRow, RunRow, table_of

RUN: Final[Table] = table_of(RunRow)
ATTEMPT: Final[Table] = table_of(AttemptRow)
# Names of bound values must differ from the columns' names: SQLAlchemy keeps those for SET.
_ID: Final[BindParameter[Any]] = bindparam("the_run")
_NOW: Final[BindParameter[Any]] = bindparam("now")

_FIND: Final = select(RUN).where(RUN.c.run_id == _ID)
_FIND_BY_KEY: Final = select(RUN).where(RUN.c.run_key == bindparam("the_key"))
# The PostgreSQL construct compiles for SQLite too (the other way round it does not).
_INSERT: Final = insert(RUN).on_conflict_do_nothing().returning(*RUN.c)
_REOPEN: Final = (
    update(RUN)
    .where(RUN.c.run_id == _ID, RUN.c.state.in_(sources("QUEUED")), RUN.c.attempt == bindparam("seen_attempt"))
    .values(
        state="QUEUED", attempt=RUN.c.attempt + 1, losses=0, error=None, cancel_requested=False,
        wall_limit_s=bindparam("new_limit"), started_at=None, ended_at=None, worker_pid=None, worker_started=None,
        progress_done=0, progress_total=0, progress_text="",
    )
    .returning(*RUN.c)
)  # fmt: skip
# Epoch + 1: a worker that is at it meanwhile finds itself stale.
_FINISH: Final = (
    update(RUN)
    .where(RUN.c.run_id == _ID, RUN.c.state.in_(sources("SUCCEEDED")))
    .values(
        state="SUCCEEDED", result=bindparam("digest"), epoch=RUN.c.epoch + 1, lease_owner=None, lease_until=None,
        started_at=func.coalesce(RUN.c.started_at, _NOW), ended_at=_NOW,
    )
    .returning(*RUN.c)
)  # fmt: skip
_CANCEL_QUEUED: Final = (
    update(RUN)
    .where(RUN.c.run_id == _ID, RUN.c.state == "QUEUED")
    .values(state="CANCELLED", ended_at=_NOW)
    .returning(*RUN.c)
)
_CANCEL_RUNNING: Final = (
    update(RUN).where(RUN.c.run_id == _ID, RUN.c.state.in_(HELD)).values(cancel_requested=True).returning(*RUN.c)
)
# A repeat that finds its run costs nothing; each attempt is entered once, for quotas to count.
_ATTEMPT: Final = insert(ATTEMPT).on_conflict_do_nothing()
_WORKED: Final = (
    update(ATTEMPT)
    .where(ATTEMPT.c.run_id == _ID, ATTEMPT.c.attempt == bindparam("the_attempt"))
    .values(seconds=bindparam("worked_s"))
)
_COUNTS: Final = select(RUN.c.state, func.count().label("number")).group_by(RUN.c.state)


def find(connection: Connection, run_id: str) -> Run | None:
    """The run with this id, or None."""
    return one(connection, _FIND, the_run=run_id)


def get(connection: Connection, run_id: str) -> Run:
    """The run with this id. Raises NotFound."""
    run = find(connection, run_id)
    if run is None:
        raise NotFound(
            f"no run {run_id} in this home", field="run_id", next_step="list_runs shows the runs of this home"
        )
    return run


def find_by_key(connection: Connection, run_key: str) -> Run | None:
    """The run that was asked for with this key (the digest of its whole meaning), or None."""
    return one(connection, _FIND_BY_KEY, the_key=run_key)


def submit(
    connection: Connection,
    *,
    run_id: str,
    run_key: str,
    kind: str,
    plan: Mapping[str, Any],
    caller: str,
    wall_limit_s: float,
    now: float,
) -> tuple[Run, bool]:
    """Ask for a run: the same key is the same run. The bool tells whether there is now something new to do.

    A run that was cancelled, failed with a retryable reason, or ran out of less time than it may have now, is reopened
    under the same id; its finished steps stay.
    """
    row = _new_row(run_id, run_key, kind, plan, caller, wall_limit_s, now)
    return _ask(connection, row, lambda present: present.reopens_within(wall_limit_s), now)


def record_finished(
    connection: Connection,
    *,
    run_id: str,
    run_key: str,
    kind: str,
    plan: Mapping[str, Any],
    caller: str,
    result: str,
    now: float,
) -> tuple[Run, bool]:
    """Enter a run that was computed inline as SUCCEEDED; `result` is the digest of its stored result.

    The bool tells whether this was a new run or attempt.
    A run that has succeeded stays as it is; a queued or running one is ended with this result, and one that failed or
    was cancelled is a new attempt, for here is proof that it can be done.
    """
    row = _new_row(run_id, run_key, kind, plan, caller, wall_limit_s=0.0, now=now)
    run, new = _ask(connection, row, lambda present: present.ended, now)
    finished = one(connection, _FINISH, the_run=run.run_id, digest=result, now=now)
    if finished is not None and new:
        _settle(connection, finished, now)
    return finished or get(connection, run.run_id), new


def request_cancel(connection: Connection, run_id: str, now: float) -> Run:
    """Cancel a run: a queued one at once, a running one as soon as its worker has stopped; an ended one stays.

    Raises NotFound.
    """
    return (
        one(connection, _CANCEL_QUEUED, the_run=run_id, now=now)
        or one(connection, _CANCEL_RUNNING, the_run=run_id)
        or get(connection, run_id)
    )


def page(
    connection: Connection,
    kind: str | None = None,
    state: State | None = None,
    after: tuple[float, str] | None = None,
    limit: int = 20,
) -> list[Run]:
    """Runs, newest first. `after` is (created_at, run_id) of the last run of the page before."""
    values = {"of_kind": kind, "in_state": state, "last_at": after and after[0], "last_id": after and after[1]}
    rows = connection.execute(
        _page(kind is not None, state is not None, after is not None),
        {name: value for name, value in values.items() if value is not None} | {"most": limit},
    )
    return [read_run(row) for row in rows.mappings()]


def counts(connection: Connection) -> dict[State, int]:
    """How many runs are in each state; every state is named."""
    found: dict[str, int] = {row.state: row.number for row in connection.execute(_COUNTS)}
    return {state: found.get(state, 0) for state in STATES}


def total(connection: Connection, kind: str | None = None, state: State | None = None) -> int:
    """How many runs there are, of one kind or state if named."""
    statement = select(func.count()).select_from(RUN)
    for column, wanted in ((RUN.c.kind, kind), (RUN.c.state, state)):
        statement = statement if wanted is None else statement.where(column == wanted)
    return int(connection.execute(statement).scalar_one())


def one(connection: Connection, statement: Executable, **values: Any) -> Run | None:
    """The one run that a statement on the table `run` returns, or None."""
    row = connection.execute(statement, values).mappings().one_or_none()
    return None if row is None else read_run(row)


def _ask(
    connection: Connection, row: Mapping[str, Any], reopens: Callable[[Run], bool], now: float
) -> tuple[Run, bool]:
    inserted = one(connection, _INSERT, **row)
    if inserted is not None:
        _enter_attempt(connection, inserted, row["caller"], now)
        return inserted, True
    present = find_by_key(connection, row["run_key"]) or get(connection, row["run_id"])
    if not reopens(present):
        return present, False
    asked = {"the_run": present.run_id, "seen_attempt": present.attempt, "new_limit": row["wall_limit_s"]}
    reopened = one(connection, _REOPEN, **asked)
    if reopened is None:
        # It has succeeded, or another caller reopened it in between, so there is nothing left to do here.
        return get(connection, present.run_id), False
    _settle(connection, present, now)
    _enter_attempt(connection, reopened, row["caller"], now)
    return reopened, True


def _settle(connection: Connection, run: Run, now: float) -> None:
    """Keep how long the attempt worked that has ended: the run's row is about to speak of the next one, or of none."""
    worked = {"the_run": run.run_id, "the_attempt": run.attempt, "worked_s": run.worked_s(now)}
    connection.execute(_WORKED, worked)


def _enter_attempt(connection: Connection, run: Run, caller: str, now: float) -> None:
    """Enter who asked for this attempt, who need not be the one that asked first."""
    row = {"run_id": run.run_id, "attempt": run.attempt, "caller": caller, "asked_at": now, "seconds": None}
    connection.execute(_ATTEMPT, row)


def _new_row(
    run_id: str, run_key: str, kind: str, plan: Mapping[str, Any], caller: str, wall_limit_s: float, now: float
) -> dict[str, Any]:
    row = RunRow(
        run_id=run_id, run_key=run_key, kind=kind, state="QUEUED", plan=canonical_bytes(plan).decode(), caller=caller,
        created_at=now, attempt=1, wall_limit_s=wall_limit_s,
    )  # fmt: skip
    return row.model_dump()


@cache
def _page(by_kind: bool, by_state: bool, onwards: bool) -> Select[Any]:
    statement = select(RUN).order_by(RUN.c.created_at.desc(), RUN.c.run_id.desc()).limit(bindparam("most"))
    if by_kind:
        statement = statement.where(RUN.c.kind == bindparam("of_kind"))
    if by_state:
        statement = statement.where(RUN.c.state == bindparam("in_state"))
    if onwards:
        last = tuple_(bindparam("last_at"), bindparam("last_id"))
        statement = statement.where(tuple_(RUN.c.created_at, RUN.c.run_id) < last)
    return statement
