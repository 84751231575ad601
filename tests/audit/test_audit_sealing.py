"""When the log is sealed, what is written outside, and that no trouble with either fails a call."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Desk
from sealed_log import NOW, entry, unlocked
from sqlalchemy import text

from mcp_forecast.home import open_home
from mcp_forecast.sealing import Sealer, checkpoint_file, home_id_of, origin_of
from mcp_forecast.settings import Settings
from mcp_forecast.signing_key import KeyUnsafe, signer_of
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.checkpoint import keys_of, read_note, verified_note
from mcp_forecast_audit.stored import Standing, standing
from mcp_forecast_audit.verify import verify

BOTH_DATABASES = True


class Server:
    """What a server does with its log, a turn of the writer at a time; `now` is its clock and `ticks` the monotonic."""

    def __init__(self, home: Path, address: str) -> None:
        self.home, self.database = home, open_home(home, address)
        self.now, self.ticks, self.commits, self.seals = NOW, 0.0, 0, 0
        self.sealer = Sealer(
            self.database, home=home, folder=home / "checkpoints", clock=lambda: self.now, monotonic=lambda: self.ticks
        )

    def enter(self, count: int) -> None:
        """Enter so many calls, made now."""
        with self.database.command() as connection:
            first = audit_log.count(connection)
            made = [replace(entry(number), at=self.now) for number in range(first, first + count)]
            audit_log.append(connection, made)
        self.commits += 1

    def turn(self, *, later: float = 0.1, ending: bool = False) -> bool:
        """Let the writer's thread come to its chore; returns whether it had one."""
        self.now, self.ticks = self.now + later, self.ticks + later
        work = self.sealer.due(self.commits, ending=ending)
        if work is None:
            return False
        outcome: Future[object] = Future()
        with self.database.command() as connection:
            outcome.set_result(work(connection))
        self.sealer.done(outcome)
        self.commits += 1
        return True

    @property
    def standing(self) -> Standing:
        """How far the log is sealed."""
        with self.database.read() as connection:
            return standing(connection)

    @property
    def status(self) -> dict[str, object]:
        """What get_service_status says."""
        with self.database.read() as connection:
            return self.sealer.status(connection)

    @property
    def file(self) -> Path:
        """The checkpoint outside."""
        with self.database.read() as connection:
            return checkpoint_file(self.home / "checkpoints", home_id_of(connection))


@pytest.fixture
def start(tmp_path: Path, database_address: str) -> Iterator[Callable[..., Server]]:
    """Start servers on one home, or on copies of it."""
    started: list[Server] = []

    def starter(home: Path = tmp_path / "home", address: str = database_address) -> Server:
        started.append(Server(home, address))
        return started[-1]

    yield starter
    for server in started:
        server.database.close()


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


def test_a_checkpoint_file_that_is_behind_or_gone_is_written_again(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(256)
    server.turn()
    old = server.file.read_text()
    server.enter(256)
    server.turn()
    newest = server.file.read_text()
    server.file.write_text(old)
    assert not start().turn()
    assert server.file.read_text() == newest
    server.file.unlink()
    assert not start().turn()
    assert server.file.read_text() == newest


def test_a_checkpoint_that_says_more_than_the_database_is_kept_and_ends_the_sealing(
    start: Callable[..., Server], database_address: str
) -> None:
    server = start()
    server.enter(256)
    server.turn()
    server.enter(256)
    server.turn()
    kept = server.file.read_text()
    _cut_after_256(server.home, database_address)
    again = start()
    again.enter(300)
    assert not again.turn()
    assert again.file.read_text() == kept
    assert again.status["state"] == "broken"
    assert "512 entries, the newest stored checkpoint over 256" in str(again.status["reason"])
    assert not again.turn(later=60, ending=True)


def test_a_file_that_is_no_checkpoint_is_not_overwritten(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(256)
    server.turn()
    server.file.write_text("something else")
    again = start()
    again.turn()
    assert (again.status["state"], again.file.read_text()) == ("broken", "something else")


def test_sealing_that_fails_is_told_and_tried_again(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(256)
    server.turn()
    folder, away = server.home / "checkpoints", server.home / "away"
    folder.rename(away)
    folder.write_text("no folder")
    server.enter(256)
    assert server.turn()  # sealed inside; only the file outside waits
    assert (server.status["state"], server.standing.sealed) == ("waiting", 512)
    server.enter(256)
    assert not server.turn()
    assert server.turn(later=5)
    folder.unlink()
    away.rename(folder)
    server.turn(later=5)
    assert (server.status["state"], read_note(server.file.read_text()).size) == ("sealing", 768)


def test_nothing_is_signed_before_the_checkpoint_outside_was_looked_at(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(256)
    (server.home / "checkpoints").write_text("no folder")
    assert not server.turn()
    assert server.status["state"] == "waiting"
    (server.home / "checkpoints").unlink()
    assert server.turn(later=5)


def test_a_key_that_others_can_read_signs_nothing(start: Callable[..., Server]) -> None:
    server = start()
    signer_of(server.home, "mcp-forecast/x")
    (server.home / "audit.key").chmod(0o644)
    with pytest.raises(KeyUnsafe, match="0644"):
        signer_of(server.home, "mcp-forecast/x")
    server.enter(256)
    assert not server.turn()
    assert "chmod 600" in str(server.status["reason"])
    (server.home / "audit.key").chmod(0o600)
    assert server.turn(later=5)


def test_a_new_key_joins_the_old_one_and_both_are_checked(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(256)
    server.turn()
    (server.home / "audit.key").unlink()
    again = start()
    again.enter(256)
    assert again.turn()
    report = verify(again.database.read, origin=read_note(again.file.read_text()).origin)
    assert (report.intact, len(report.keys)) == (True, 2)
    assert set((server.home / "audit.pub").read_text().split()) == set(report.keys)


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


def _cut_after_256(home: Path, address: str) -> None:
    """What a restored older copy of the database looks like."""
    database = unlocked(home, address)
    try:
        with database.command() as connection:
            for table, key in (("entry", "seq"), ("ref", "seq"), ("checkpoint", "size")):
                connection.execute(text(f"DELETE FROM audit_{table} WHERE {key} > 256"))
            connection.execute(text("DELETE FROM audit_node WHERE position > 0"))
    finally:
        database.close()
