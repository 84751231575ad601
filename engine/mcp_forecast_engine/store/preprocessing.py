"""Rows of preprocessing: steps named once, never changed, and the report of each dataset they were applied to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from mcp_forecast_engine.errors import NotFound
from mcp_forecast_engine.store.identity import canonical_bytes
from mcp_forecast_engine.store.tables import PreprocessingReportRow, PreprocessingRow, table_of

_STEPS: Final[Table] = table_of(PreprocessingRow)
_REPORT: Final[Table] = table_of(PreprocessingReportRow)
# The PostgreSQL construct compiles for SQLite too.
_INSERT: Final = insert(_STEPS).on_conflict_do_nothing().returning(_STEPS.c.preprocessing_id)
_REPORTED: Final = insert(_REPORT)
_REPORT_INSERT: Final = _REPORTED.on_conflict_do_update(
    index_elements=[_REPORT.c.dataset_id, _REPORT.c.preprocessing_id, _REPORT.c.season_length],
    set_={"artifact": _REPORTED.excluded.artifact},
)
_SEASONS: Final = (
    select(_REPORT.c.season_length)
    .where(_REPORT.c.dataset_id == bindparam("the_dataset"), _REPORT.c.preprocessing_id == bindparam("the_id"))
    .order_by(_REPORT.c.created_at, _REPORT.c.season_length)
)
_FIND: Final = select(_STEPS.c.steps).where(_STEPS.c.preprocessing_id == bindparam("the_id"))


def record(connection: Connection, preprocessing_id: str, steps: Sequence[dict[str, Any]], *, now: float) -> bool:
    """Name steps; False when they were named before."""
    row = {
        "preprocessing_id": preprocessing_id, "steps": canonical_bytes(list(steps)).decode(), "created_at": now,
    }  # fmt: skip
    return connection.execute(_INSERT, row).first() is not None


def record_report(
    connection: Connection, *, dataset_id: str, preprocessing_id: str, season_length: int, artifact: str, now: float
) -> None:
    """Enter what the steps changed in a dataset. artifact: digest of the report."""
    row = {
        "dataset_id": dataset_id, "preprocessing_id": preprocessing_id, "season_length": season_length,
        "artifact": artifact, "created_at": now,
    }  # fmt: skip
    connection.execute(_REPORT_INSERT, row)


def seasons(connection: Connection, *, dataset_id: str, preprocessing_id: str) -> list[int]:
    """The season lengths that there are reports of these steps on this dataset with, in the order they came."""
    asked = {"the_dataset": dataset_id, "the_id": preprocessing_id}
    return list(connection.execute(_SEASONS, asked).scalars())


def steps(connection: Connection, preprocessing_id: str) -> list[dict[str, Any]]:
    """The steps of this name as JSON values. Raises NotFound."""
    found = connection.execute(_FIND, {"the_id": preprocessing_id}).scalar()
    if found is None:
        raise NotFound(
            f"no preprocessing {preprocessing_id} in this home", field="preprocessing_id",
            next_step="run_preprocessing with `steps` gives preprocessing ids; left out, the default steps are applied",
        )  # fmt: skip
    known: list[dict[str, Any]] = json.loads(found)
    return known
