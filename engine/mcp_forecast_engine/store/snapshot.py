"""A copy of a store as it was at one instant, made while others go on working: rows table by table, bytes by digest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, Connection, Row, Table, insert, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.database import Database
from mcp_forecast_engine.store.tables import BundleRow, DatasetRow, PreprocessingReportRow, RunRow, StepRow, table_of

ROWS_AT_ONCE: Final = 2000
# Every statement of the block sees the same commits; on SQLite the first one fixes which.
_BEGIN: Final = {"sqlite": "BEGIN", "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"}
# These name artifacts for certain; the digests in other columns may be of something else.
_NAMING: Final[tuple[Column[Any], ...]] = (
    table_of(DatasetRow).c.digest,
    table_of(RunRow).c.result,
    table_of(StepRow).c.artifact,
    table_of(PreprocessingReportRow).c.artifact,
    table_of(BundleRow).c.manifest,
)


@dataclass(frozen=True)
class Copied:
    """Artifacts that were copied, and those that rows name and that are missing or changed."""

    digests: tuple[str, ...]
    bytes: int
    damaged: tuple[str, ...]


@contextmanager
def one_view(database: Database) -> Iterator[Connection]:
    """Lend a connection whose reads all see one instant; writers go on. Raises StoreUnavailable."""
    with database.read() as connection:
        try:
            connection.exec_driver_sql(_BEGIN[connection.dialect.name])
            database.unhurried(connection)  # what is done with a piece before the next is read may take its time too
            yield connection
        except BaseException:
            with suppress(SQLAlchemyError):  # a connection that is lost cannot; what lost it is what has to be told
                connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("ROLLBACK")


def copy_rows(source: Connection, target: Connection, tables: Iterable[Table]) -> dict[str, int]:
    """Copy every row of these tables into empty ones of the same columns, in pieces; returns the rows per table."""
    counts = {}
    for table in tables:
        counts[table.name] = 0
        for rows in _pieces(source, table):
            target.execute(insert(table), [dict(row._mapping) for row in rows])
            counts[table.name] += len(rows)
    return counts


def artifacts_named(connection: Connection) -> set[str]:
    """The digests of artifacts that have to be there: rows name them as a dataset, a step, a report or a result."""
    return {found for column in _NAMING for found in connection.execute(select(column)).scalars() if found is not None}


def copy_artifacts(source: ArtifactStore, target: ArtifactStore, digests: Iterable[str], *, needed: set[str]) -> Copied:
    """Copy those of these artifacts that are there, each verified on the way and synced.

    Of `needed` ones that are missing or changed the digests are returned; a digest that is not needed and not there
    was of something else. Raises StoreUnavailable.
    """
    copied, size, damaged = [], 0, []
    for digest in sorted(digests):
        try:
            data = source.get(digest)
        except ArtifactCorrupt:
            if digest in needed or source.path(digest).exists():
                damaged.append(digest)
            continue
        target.put(data)
        copied.append(digest)
        size += len(data)
    return Copied(tuple(copied), size, tuple(damaged))


def _pieces(source: Connection, table: Table) -> Iterator[Sequence[Row[Any]]]:
    """The rows in order of their key, a piece at a time, so that no table has to fit into memory."""
    key = list(table.primary_key.columns)
    ordered = select(table).order_by(*key).limit(ROWS_AT_ONCE)
    rows = source.execute(ordered).all()
    while rows:
        yield rows
        last = tuple(rows[-1]._mapping[column] for column in key)
        rows = source.execute(ordered.where(tuple_(*key) > last)).all()
