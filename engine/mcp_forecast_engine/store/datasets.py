"""Rows of datasets: named once, never changed."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from mcp_forecast_engine.errors import NotFound
from mcp_forecast_engine.store.identity import canonical_bytes
from mcp_forecast_engine.store.tables import DatasetRow, table_of

_TABLE = table_of(DatasetRow)
# The PostgreSQL construct compiles for SQLite too.
_INSERT = insert(_TABLE).on_conflict_do_nothing().returning(_TABLE.c.dataset_id)


def record(connection: Connection, dataset_id: str, digest: str, summary: dict[str, Any], *, now: float) -> bool:
    """Name a stored dataset; False when the same content was named before (its row stays as it is)."""
    row = {
        "dataset_id": dataset_id, "digest": digest, "summary": canonical_bytes(summary).decode(), "created_at": now,
    }  # fmt: skip
    return connection.execute(_INSERT, row).first() is not None


def summary(connection: Connection, dataset_id: str) -> dict[str, Any]:
    """What registration found in a dataset. Raises NotFound."""
    found = connection.execute(select(_TABLE.c.summary).where(_TABLE.c.dataset_id == dataset_id)).scalar()
    if found is None:
        raise NotFound(
            f"no dataset {dataset_id} in this home", field="dataset_id", next_step="register_dataset gives dataset ids"
        )
    known: dict[str, Any] = json.loads(found)
    return known
