"""Databases of this schema on the shared PostgreSQL server, and single statements on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from postgres_server import PostgresServer
from sqlalchemy import Connection, text

from mcp_forecast.home.schema import REVISION
from mcp_forecast_engine.store.database import Database, open_database

INSERT = text("INSERT INTO preprocessing (preprocessing_id, steps, created_at) VALUES (:id, '[]', 0)")
COUNT = text("SELECT count(*) FROM preprocessing")
OpenOn = Callable[[str], Database]


@contextmanager
def fresh_address(server: PostgresServer) -> Iterator[str]:
    """Lend a fresh database with this version's schema."""
    made = server.fresh()
    yield made
    server.drop(made)


@contextmanager
def opener() -> Iterator[OpenOn]:
    """Lend how to open databases of this schema; all are closed at the end."""
    opened: list[Database] = []

    def open_on(address: str) -> Database:
        opened.append(open_database(address, schema=REVISION))
        return opened[-1]

    yield open_on
    for database in opened:
        database.close()


def add(database: Database, name: str, wait_s: float = 5.0) -> None:
    with database.command(wait_s=wait_s) as connection:
        connection.execute(INSERT, {"id": name})


def command(database: Database, *steps: Callable[[Connection], object]) -> None:
    with database.command(wait_s=5.0) as connection:
        for step in steps:
            step(connection)


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(COUNT).scalar_one())
