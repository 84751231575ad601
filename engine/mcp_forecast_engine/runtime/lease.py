"""The ledger as workers and supervisors use it: a run is held by a lease, and every write carries the holder's epoch.

The epoch is a fencing token (Kleppmann, "How to do distributed locking", 2016): each claim raises it, and a write under
an older one changes nothing and raises StaleEpoch. So a worker that was paused and woke up can do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, Executable, Table, Update, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from mcp_forecast_engine.errors import StaleEpoch
from mcp_forecast_engine.runtime.ledger import RUN, one
from mcp_forecast_engine.runtime.run import (
    HELD,
    Progress,
    Run,
    State,
    read_run,
    sources,
    time_limit_error,
    worker_lost_error,
)
from mcp_forecast_engine.store.identity import canonical_bytes
from mcp_forecast_engine.store.tables import StepRow, table_of

MOST_LOSSES: Final = 2  # so a step is made at most twice in an attempt
STEP: Final[Table] = table_of(StepRow)

_ID: Final[BindParameter[Any]] = bindparam("the_run")
_NOW: Final[BindParameter[Any]] = bindparam("now")
_UNTIL: Final[BindParameter[Any]] = bindparam("until")
_RUNNING: Final = select(RUN).where(RUN.c.state.in_(HELD)).order_by(RUN.c.created_at, RUN.c.run_id)
_OLDEST: Final = select(RUN).where(RUN.c.state == "QUEUED").order_by(RUN.c.created_at, RUN.c.run_id).limit(1)
_WAITING: Final = select(RUN.c.run_id).where(RUN.c.state == "QUEUED").limit(1)
_LIVE: Final = select(func.count()).where(RUN.c.state.in_(HELD), RUN.c.lease_until >= _NOW)
_EXPIRED: Final = _RUNNING.where(RUN.c.lease_until < _NOW).with_for_update(skip_locked=True)
_OLDEST_TO_TAKE: Final = _OLDEST.with_for_update(skip_locked=True)
_OF_WORKER: Final = select(RUN).where(RUN.c.worker_pid == bindparam("pid"))
_CLAIM: Final = (
    update(RUN)
    .where(RUN.c.run_id == _ID, RUN.c.epoch == bindparam("seen_epoch"), RUN.c.state.in_(sources("RUNNING")))
    .values(
        state="RUNNING", epoch=RUN.c.epoch + 1, losses=RUN.c.losses + bindparam("lost"),
        lease_owner=bindparam("owner"), lease_until=_UNTIL, worker_pid=None, worker_started=None,
        started_at=func.coalesce(RUN.c.started_at, _NOW),
    )
    .returning(*RUN.c)
)  # fmt: skip
_HELD: Final = (RUN.c.run_id == _ID, RUN.c.epoch == bindparam("my_epoch"), RUN.c.state.in_(HELD))
_HOLD: Final = select(RUN.c.run_id).where(*_HELD).with_for_update()
_UNDER_EPOCH: Final = update(RUN).where(*_HELD).returning(*RUN.c)
_ATTACH: Final = _UNDER_EPOCH.values(worker_pid=bindparam("pid"), worker_started=bindparam("born"))
_RENEW: Final = _UNDER_EPOCH.values(
    lease_until=_UNTIL,
    progress_done=bindparam("done"),
    progress_total=bindparam("total"),
    progress_text=bindparam("text"),
)
_EXPIRE: Final = _UNDER_EPOCH.values(lease_until=bindparam("past"))
_EVALUATED: Final = _UNDER_EPOCH.where(RUN.c.state.in_(sources("EVAL_READY"))).values(state="EVAL_READY")
_STEP_INSERT: Final = insert(STEP)
_STEP: Final = _STEP_INSERT.on_conflict_do_update(
    index_elements=[STEP.c.run_id, STEP.c.step],
    set_={name: _STEP_INSERT.excluded[name] for name in ("artifact", "epoch", "ended_at")},
)
_STEP_ARTIFACT: Final = select(STEP.c.artifact).where(STEP.c.run_id == _ID, STEP.c.step == bindparam("the_step"))


def claim(connection: Connection, *, owner: str, lease_s: float, max_running: int, now: float) -> Run | None:
    """Take the next run to work on, if the home has room: one whose worker was lost, else the oldest queued one.

    Lost runs that may not go on (cancelled meanwhile, past their limit, lost twice) are ended on the way.
    Commands are one at a time in a home, so that claims at one instant never exceed max_running between them.
    """
    lost = [run for run in _read(connection, _EXPIRED, now=now) if _goes_on(connection, run, now)]
    if connection.execute(_LIVE, {"now": now}).scalar_one() >= max_running:
        return None
    run = lost[0] if lost else one(connection, _OLDEST_TO_TAKE)
    if run is None:
        return None
    return one(
        connection, _CLAIM, the_run=run.run_id, seen_epoch=run.epoch, lost=int(bool(lost)), owner=owner,
        until=now + lease_s, now=now,
    )  # fmt: skip


def running(connection: Connection) -> list[Run]:
    """The runs that workers hold or have lost, oldest first."""
    return _read(connection, _RUNNING)


def of_worker(connection: Connection, pid: int) -> list[Run]:
    """The runs, also ended ones, whose last worker had this pid; pids are used again, so compare when it started."""
    return _read(connection, _OF_WORKER, pid=pid)


def waiting(connection: Connection) -> bool:
    """Whether a run is queued."""
    return connection.execute(_WAITING).first() is not None


def attach(connection: Connection, run_id: str, epoch: int, *, pid: int, started: float) -> Run:
    """Say which process works on the run, so that any server of this host can end it. Raises StaleEpoch."""
    return _write(connection, _ATTACH, run_id, epoch, pid=pid, born=started)


def renew(connection: Connection, run_id: str, epoch: int, *, lease_s: float, progress: Progress, now: float) -> bool:
    """Keep the lease and show progress; tells whether the run shall be cancelled. Raises StaleEpoch."""
    run = _write(
        connection, _RENEW, run_id, epoch,
        until=now + lease_s, done=progress.done, total=progress.total, text=progress.text,
    )  # fmt: skip
    return run.cancel_requested


def expire(connection: Connection, run_id: str, epoch: int, *, now: float) -> Run:
    """End the lease of a worker that is known to be gone, so that the run is free at once. Raises StaleEpoch."""
    return _write(connection, _EXPIRE, run_id, epoch, past=now - 1.0)


def finish_step(connection: Connection, run_id: str, epoch: int, *, step: str, artifact: str, now: float) -> None:
    """Enter a finished step with the digest of what it made. Raises StaleEpoch."""
    if connection.execute(_HOLD, {"the_run": run_id, "my_epoch": epoch}).first() is None:
        raise _stale(run_id, epoch)
    row = {"run_id": run_id, "step": step, "artifact": artifact, "epoch": epoch, "ended_at": now}
    connection.execute(_STEP, row)


def step_artifact(connection: Connection, run_id: str, step: str) -> str | None:
    """The digest that a finished step left, or None."""
    found = connection.execute(_STEP_ARTIFACT, {"the_run": run_id, "the_step": step}).scalar_one_or_none()
    return None if found is None else str(found)


def evaluated(connection: Connection, run_id: str, epoch: int) -> Run:
    """Say that the evaluation is there, for the gate to judge. Raises StaleEpoch."""
    return _write(connection, _EVALUATED, run_id, epoch)


def finish(connection: Connection, run_id: str, epoch: int, *, state: State, result: str, now: float) -> Run:
    """End the run with the digest of its result, in a state that has one. Raises StaleEpoch."""
    return _write(connection, _end(state), run_id, epoch, digest=result, why=None, now=now)


def fail(connection: Connection, run_id: str, epoch: int, *, error: Mapping[str, Any], now: float) -> Run:
    """End the run with the reason for its failure: {reason, disposition, message, …}. Raises StaleEpoch."""
    why = canonical_bytes(dict(error)).decode()
    return _write(connection, _end("FAILED"), run_id, epoch, digest=None, why=why, now=now)


def cancelled(connection: Connection, run_id: str, epoch: int, *, now: float) -> Run:
    """End the run because its cancellation was asked for. Raises StaleEpoch."""
    return _write(connection, _end("CANCELLED"), run_id, epoch, digest=None, why=None, now=now)


def _goes_on(connection: Connection, run: Run, now: float) -> bool:
    if run.cancel_requested:
        cancelled(connection, run.run_id, run.epoch, now=now)
    elif run.started_at is not None and now > run.started_at + run.wall_limit_s:
        fail(connection, run.run_id, run.epoch, error=time_limit_error(run.wall_limit_s), now=now)
    elif run.losses + 1 >= MOST_LOSSES:
        fail(connection, run.run_id, run.epoch, error=worker_lost_error(run.losses + 1), now=now)
    else:
        return True
    return False


@cache
def _end(state: State) -> Update:
    return _UNDER_EPOCH.where(RUN.c.state.in_(sources(state))).values(
        state=state, ended_at=_NOW, lease_owner=None, lease_until=None, result=bindparam("digest"),
        error=bindparam("why"),
    )  # fmt: skip


def _write(connection: Connection, statement: Executable, run_id: str, epoch: int, **values: Any) -> Run:
    run = one(connection, statement, the_run=run_id, my_epoch=epoch, **values)
    if run is None:
        raise _stale(run_id, epoch)
    return run


def _stale(run_id: str, epoch: int) -> StaleEpoch:
    return StaleEpoch(f"run {run_id} is not held under epoch {epoch}; this worker may write nothing more")


def _read(connection: Connection, statement: Executable, **values: Any) -> list[Run]:
    return [read_run(row) for row in connection.execute(statement, values).mappings()]
