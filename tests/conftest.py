"""Real parts on a temporary home: an app, and calls on its one event loop from any thread.

A module that says `BOTH_DATABASES = True` runs each test that asks for `database_address` (`settings`, `open_desk` and
`desk` do) twice, on SQLite and on a real PostgreSQL server; any other runs on SQLite alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from postgres_server import PostgresServer
from sqlalchemy import select

from mcp_forecast.app import App, open_app
from mcp_forecast.calls.caller import Caller
from mcp_forecast.calls.pipeline import call as pipeline_call
from mcp_forecast.settings import Settings, read_settings
from mcp_forecast_audit.tables import EntryRow
from mcp_forecast_audit.tree import leaf_hash
from mcp_forecast_contracts.contract import EVERY_TOOL

AGENT = Caller("agent", frozenset({"forecast:read", "forecast:write", "registry:read", "registry:write"}), "test")
Answer = dict[str, Any]


# How a run ends that has a result: a forecast, or a training, whatever its gate says.
ENDED: Final = ("SUCCEEDED", "PASS", "FAIL")


class Desk:
    """An app with the event loop its calls run on, as a server has it."""

    def __init__(self, app: App, portal: BlockingPortal) -> None:
        self.app, self.portal = app, portal

    def call(self, tool: str, arguments: object = None, caller: Caller = AGENT) -> Answer:
        """One call through the pipeline, from any thread; what refuses it is a code that its contract lists."""
        answer = self.portal.call(pipeline_call, self.app, tool, arguments, caller)
        assert answer["ok"] or answer["error"]["code"] in self._codes(tool), answer
        return answer

    def _codes(self, tool: object) -> tuple[str, ...]:
        known = self.app.tools.get(tool) if isinstance(tool, str) else None
        return (*EVERY_TOOL, *(("UNKNOWN_TOOL",) if known is None else known.contract.errors))

    def log(self, last: str) -> list[dict[str, Any]]:
        """The audit log once its last entry has this code; entries of reads come at most 0.1 s after their answer."""
        for _ in range(100):
            with self.app.database.read() as connection:
                rows = connection.execute(select(EntryRow.body, EntryRow.leaf_hash).order_by(EntryRow.seq)).all()
            assert all(leaf_hash(body) == leaf for body, leaf in rows)
            bodies: list[dict[str, Any]] = [json.loads(body) for body, _ in rows]
            if bodies and bodies[-1]["code"] == last:
                return bodies
            self.portal.call(anyio.sleep, 0.02)
        raise AssertionError(f"the log ends with {bodies[-1]['code']}, not {last}")

    def finish(self, run_id: str) -> Answer:
        """Wait for the end of a run and return its answer."""
        for _ in range(8):
            answer = self.call("get_run_status", {"run_id": run_id, "wait_s": 25})
            if "poll_after_s" not in answer["result"]:
                return answer
        raise AssertionError(f"{run_id} did not end: {answer}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module that opts in on both databases."""
    if getattr(metafunc.module, "BOTH_DATABASES", False) and "database_address" in metafunc.fixturenames:
        metafunc.parametrize("database_address", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server that all tests share: never stop it. Tests skip, aloud, where its wheel is absent."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def database_address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the rows of a fresh home shall be: empty for SQLite, or the URL of a fresh migrated database."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield ""
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    address = server.fresh()
    yield address
    server.drop(address)


@pytest.fixture
def settings(tmp_path: Path, database_address: str) -> Settings:
    """Settings of a fresh home; files may be read below the test's folder."""
    (tmp_path / "data").mkdir()
    environ = {
        "MCP_FORECAST_HOME": str(tmp_path / "home"),
        "MCP_FORECAST_ROOTS": str(tmp_path / "data"),
        "MCP_FORECAST_DATABASE": database_address,
        "MCP_FORECAST_RATE_PER_S": "100000",
        "MCP_FORECAST_RATE_BURST": "100000",
    }
    return read_settings(environ, tmp_path)


@pytest.fixture
def open_desk(database_address: str) -> Iterator[Callable[[Settings], Desk]]:
    """Open any number of desks; all are closed at the end, before the database goes."""
    opened: list[App] = []
    with start_blocking_portal() as portal:

        def opener(settings: Settings) -> Desk:
            app = open_app(settings)
            opened.append(app)
            return Desk(app, portal)

        yield opener
        for app in opened:
            app.close()


@contextmanager
def desk_in(folder: Path) -> Iterator[Desk]:
    """Lend a desk on a home that several tests share, without a limit."""
    unlimited = {"MCP_FORECAST_RATE_PER_S": "1e9", "MCP_FORECAST_RATE_BURST": "1e9"}
    with start_blocking_portal() as portal:
        app = open_app(read_settings({"MCP_FORECAST_HOME": str(folder), **unlimited}, folder))
        yield Desk(app, portal)
        app.close()


@pytest.fixture
def desk(open_desk: Callable[[Settings], Desk], settings: Settings) -> Desk:
    """A desk on a fresh home."""
    return open_desk(settings)
