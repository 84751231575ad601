"""Rows as the driver has them, also where what is stored was changed and is no text any more."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError


def fetched(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """All rows of a query of fixed words and numbers, as the driver has them: SQLAlchemy's own rows cost seconds."""
    try:
        return _driver_rows(connection, query)
    except (OperationalError, sqlite3.OperationalError):
        raw: Any = connection.connection.driver_connection
        if not isinstance(raw, sqlite3.Connection):
            raise
        # Text that was changed may be no text any more: read it all the same, to say where.
        raw.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        try:
            return _driver_rows(connection, query)
        finally:
            raw.text_factory = str


def _driver_rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    result = connection.exec_driver_sql(query)
    try:
        return list(result.cursor.fetchall())
    finally:
        result.close()
