"""Fresh databases for homes that will be tortured: SQLite in the home's own folder, or one real PostgreSQL server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).resolve().parent.parent / "tests"
sys.path += [str(TESTS), str(TESTS / "engine")]

KINDS: Final = ("sqlite", "postgresql")
Fresh = Callable[[], AbstractContextManager[str]]


@contextmanager
def fresh_databases(kind: str) -> Iterator[Fresh]:
    """What gives the address of a new, empty database each time; empty text: in the home's folder."""
    if kind == "sqlite":
        yield lambda: nullcontext("")
        return
    from postgres_server import PostgresServer

    server = PostgresServer()

    @contextmanager
    def fresh() -> Iterator[str]:
        address = server.fresh()
        try:
            yield address
        finally:
            server.drop(address)

    try:
        yield fresh
    finally:
        server.close()
