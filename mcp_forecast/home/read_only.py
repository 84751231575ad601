"""A SQLite file that is only read, so that looking at a home needs no right to write in it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_forecast_engine.errors import StoreUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mcp_forecast_audit.verify import Read


def read_only_uri(file: Path) -> str:
    """The URI under which SQLite reads a file and makes none beside it."""
    uri = f"{file.absolute().as_uri()}?mode=ro"
    if not os.access(file.parent, os.W_OK) and not file.with_name(f"{file.name}-wal").exists():
        uri += "&immutable=1"  # SQLite would want to make the files of its WAL beside it; nobody can write here
    return uri


@contextmanager
def reading(file: Path) -> Iterator[Read]:
    """Lend how to read a SQLite file. Raises StoreUnavailable."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DatabaseError
    from sqlalchemy.pool import StaticPool

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(read_only_uri(file), uri=True, isolation_level=None, timeout=10)

    @contextmanager
    def read() -> Iterator[Connection]:
        yield connection

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    try:
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            yield read
    except DatabaseError as error:
        raise StoreUnavailable(f"{file.name} cannot be read: {error.orig}", next_step="restore a backup") from error
    finally:
        engine.dispose()
