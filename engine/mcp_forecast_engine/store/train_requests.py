"""Requests for trainings on record, apart from the runs that they led to."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, Table, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from mcp_forecast_engine.store.tables import TrainRequestRow, table_of

TRAIN_REQUEST: Final[Table] = table_of(TrainRequestRow)
# The PostgreSQL construct compiles for SQLite too (the other way round it does not).
_INSERT: Final = insert(TRAIN_REQUEST).on_conflict_do_nothing()
_RUN_OF: Final = select(TRAIN_REQUEST.c.run_id).where(TRAIN_REQUEST.c.train_request_id == bindparam("the_request"))
_OF_RUN: Final = (
    select(TRAIN_REQUEST.c.train_request_id)
    .where(TRAIN_REQUEST.c.run_id == bindparam("the_run"))
    .order_by(TRAIN_REQUEST.c.asked_at, TRAIN_REQUEST.c.train_request_id)
    .limit(bindparam("at_most"))
)


def record(
    connection: Connection,
    train_request_id: str,
    *,
    run_id: str,
    requester: str,
    trigger: str,
    publish_allowed: bool,
    now: float,
) -> None:
    """Enter a request; the same one again is the same row, with the time it was first asked."""
    row = {
        "train_request_id": train_request_id, "run_id": run_id, "requester": requester, "trigger": trigger,
        "publish_allowed": publish_allowed, "asked_at": now,
    }  # fmt: skip
    connection.execute(_INSERT, row)


def run_of(connection: Connection, train_request_id: str) -> str | None:
    """The run that a request led to; None for a request that was never made here."""
    found = connection.execute(_RUN_OF, {"the_request": train_request_id}).scalar()
    return None if found is None else str(found)


def of_run(connection: Connection, run_id: str, *, limit: int) -> list[str]:
    """The requests that led to a run, by id, the first that was made first: one for everybody who asked."""
    return list(connection.execute(_OF_RUN, {"the_run": run_id, "at_most": limit}).scalars())
