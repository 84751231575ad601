"""When the log is sealed, and that no trouble with it fails a call."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from conftest import Desk
from sealing_server import Server, servers

from mcp_forecast.home.sealing import home_id_of, origin_of
from mcp_forecast.settings import Settings
from mcp_forecast_audit.checkpoint import keys_of, read_note, verified_note
from mcp_forecast_audit.verify import verify

BOTH_DATABASES = True


@pytest.fixture
def start(tmp_path: Path, database_address: str) -> Iterator[Callable[..., Server]]:
    with servers(tmp_path / "home", database_address) as starter:
        yield starter


def test_the_log_is_sealed_at_256_entries_and_not_before(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(255)
    assert not server.turn()
    server.enter(1)
    assert server.turn()
    assert server.standing.sealed == 256
    note = server.file.read_text()
    keys = keys_of((server.home / "audit.pub").read_text().splitlines())
    assert verified_note(note, keys)[0] == read_note(server.standing.note or "")


def test_a_single_entry_is_sealed_after_five_seconds(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(1)
    assert not server.turn()
    assert not server.turn(later=4.8)
    assert server.turn(later=0.2)
    assert (server.standing.sealed, server.standing.unsealed) == (1, 0)


def test_a_clock_that_was_set_back_holds_no_seal_up(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(1)
    server.now -= 3600
    assert server.turn()


def test_what_is_left_is_sealed_at_the_end(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(3)
    assert server.turn(ending=True)
    assert read_note(server.file.read_text()).size == 3


def test_a_server_that_writes_nothing_asks_the_database_nothing(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(300)
    assert server.turn()
    assert not server.turn()  # one look after its own seal
    server.database.close()  # any question would be an error now
    assert not any(server.turn() for _ in range(100))
    assert server.sealer._trouble is None


def test_what_a_killed_server_left_is_sealed_by_the_next(start: Callable[..., Server]) -> None:
    killed = start()
    killed.enter(5)
    after = start()
    after.now += 60
    after.enter(1)
    assert after.turn()
    assert after.standing.sealed == 6


def test_two_servers_on_one_home_seal_each_entry_once(start: Callable[..., Server]) -> None:
    one, other = start(), start()
    one.enter(256)
    works = [server.sealer.due(server.commits) for server in (one, other)]
    assert all(works)  # both think that it is due
    for server, work in zip((one, other), works, strict=True):
        outcome: Future[object] = Future()
        with server.database.command() as connection:
            assert work is not None
            outcome.set_result(work(connection))
        server.sealer.done(outcome)
    other.enter(256)
    assert other.turn()
    one.sealer._pending = True
    one.enter(1)
    one.turn()  # the slower one leaves the newer checkpoint alone
    assert read_note(one.file.read_text()).size == 512
    report = verify(one.database.read, origin=read_note(one.file.read_text()).origin, outside=one.file.read_text())
    assert (report.intact, report.checkpoints) == (True, 2)


def test_a_server_seals_when_it_ends_and_says_so_in_its_status(
    open_desk: Callable[[Settings], Desk], settings: Settings
) -> None:
    desk = open_desk(settings)
    for _ in range(260):
        assert desk.call("get_service_status")["ok"]
    desk.app.close()
    again = open_desk(settings)
    audit = again.call("get_service_status")["result"]["audit"]
    assert audit["state"] == "sealing"
    assert audit["sealed"] >= 262  # started, 260 calls, stopped
    note = Path(audit["checkpoint"]).read_text()
    with again.app.database.read() as connection:
        origin = origin_of(home_id_of(connection))
    report = verify(again.app.database.read, origin=origin, outside=note)
    assert (report.intact, report.outside) == (True, audit["sealed"])
    assert os.stat(settings.home / "audit.key").st_mode & 0o777 == 0o600


def test_calls_go_on_where_nothing_can_be_sealed(open_desk: Callable[[Settings], Desk], settings: Settings) -> None:
    open_desk(settings).app.close()
    shutil.rmtree(settings.checkpoint_folder)
    settings.checkpoint_folder.write_text("no folder")
    desk = open_desk(settings)
    for _ in range(300):
        assert desk.call("list_runs")["ok"]
    assert desk.call("get_service_status")["result"]["audit"]["state"] == "waiting"
