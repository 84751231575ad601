"""Fresh databases for homes that will be tortured: SQLite in the home's own folder, or one real PostgreSQL server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Final, Protocol

TESTS: Final = Path(__file__).resolve().parent.parent / "tests"
sys.path += [str(TESTS), str(TESTS / "engine")]

KINDS: Final = ("sqlite", "postgresql")


class Fresh(Protocol):
    """Lends the address of a new, empty database; empty text: in the home's folder. like: one to copy instead."""

    def __call__(self, like: str = "") -> AbstractContextManager[str]: ...


@contextmanager
def fresh_databases(kind: str) -> Iterator[Fresh]:
    """What gives the address of a new, empty database each time; empty text: in the home's folder."""
    if kind == "sqlite":
        yield lambda like="": nullcontext("")
        return
    from postgres_server import PostgresServer

    server = PostgresServer()

    @contextmanager
    def fresh(like: str = "") -> Iterator[str]:
        address = server.fresh(like)
        try:
            yield address
        finally:
            server.drop(address)

    try:
        yield fresh
    finally:
        server.close()
