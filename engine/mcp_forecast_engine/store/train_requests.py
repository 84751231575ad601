"""Requests for trainings on record, apart from the runs that they led to."""

from __future__ import annotations

from typing import Final, cast

from sqlalchemy import Connection, Table
from sqlalchemy.dialects.postgresql import insert

from mcp_forecast_engine.store.tables import TrainRequestRow

TRAIN_REQUEST: Final[Table] = cast(Table, TrainRequestRow.__table__)  # type: ignore[attr-defined]  # SQLModel adds it when the class is made
# The PostgreSQL construct compiles for SQLite too (the other way round it does not).
_INSERT: Final = insert(TRAIN_REQUEST).on_conflict_do_nothing()


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
