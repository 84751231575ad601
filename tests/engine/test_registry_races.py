"""Many clients on one registry: one of two equal decisions wins, and the events explain whatever anybody saw."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import registry_toy as toy

from mcp_forecast.home.opening import open_home
from mcp_forecast_engine.errors import RegistryConflict
from mcp_forecast_engine.registry import active, events, lifecycle
from mcp_forecast_engine.store.database import Database

BOTH_DATABASES = True


@pytest.fixture
def open_here(tmp_path: Path, database_address: str) -> Iterator[Callable[[], Database]]:
    """Open the home's database any number of times."""
    opened: list[Database] = []

    def opener() -> Database:
        opened.append(open_home(tmp_path, database_address))
        return opened[-1]

    yield opener
    for one in opened:
        one.close()


def test_of_promotions_decided_on_one_token_one_wins_and_the_others_are_told_the_new_one(
    open_here: Callable[[], Database],
) -> None:
    servers = [open_here() for _ in toy.CANDIDATES]
    with servers[0].command() as connection:
        refs = toy.publish(connection, *toy.CANDIDATES)
    together = threading.Barrier(len(servers))

    def promote(number: int) -> object:
        together.wait()
        try:
            with servers[number].command() as connection:
                return lifecycle.promote(connection, toy.EVERYBODY, refs[number], toy.order(), expected_token=0).active
        except RegistryConflict as conflict:
            return conflict.allowed

    with ThreadPoolExecutor(len(servers)) as threads:
        answers = list(threads.map(promote, range(len(servers))))
    with servers[0].read() as connection:
        now, moves = active.active(connection, toy.EVERYBODY), events.moves(connection, toy.EVERYBODY)
    assert moves == [("BUNDLE_PROMOTED_ACTIVE", now.ref)]
    assert sorted(map(str, answers)) == sorted([str(now.ref), *[str(now.token)] * (len(servers) - 1)])


def test_whatever_racing_processes_saw_an_event_explains(
    open_here: Callable[[], Database], tmp_path: Path, database_address: str
) -> None:
    database = open_here()
    with database.command() as connection:
        toy.publish(connection, *toy.CANDIDATES)
    lines = toy.race(database_address or tmp_path / "forecast.db", clients=3, operations=40)
    with database.command() as connection:
        assert toy.unexplained(connection, lines) == []
    assert len(lines) == 120
    assert {line["op"] for line in lines} == {"resolve", "change"}
