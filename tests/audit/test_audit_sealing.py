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
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sealed_log import NOW, entry, unlocked
from sqlalchemy import text

from mcp_forecast.home import open_home
from mcp_forecast.sealing import Sealer, checkpoint_file, home_id_of, origin_of
from mcp_forecast.settings import Settings
from mcp_forecast.signing_key import KeyUnsafe, signer_of
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.checkpoint import Signer, keys_of, read_note, verified_note
from mcp_forecast_audit.seal import seal
from mcp_forecast_audit.stored import LogBroken, Standing, standing
from mcp_forecast_audit.tree import leaf_hash, root_hash
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
        try:
            with self.database.command() as connection:
                value = work(connection)
            outcome.set_result(value)
        except LogBroken as error:
            outcome.set_exception(error)
        self.sealer.done(outcome)
        self.commits += 1
        return outcome.exception() is None

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


@pytest.mark.parametrize("again", [False, True], ids=["while it serves", "before it starts"])
@pytest.mark.parametrize("gone", [False, True], ids=["file", "no file"])
@pytest.mark.parametrize("keeps", [False, True], ids=["all removed", "kept one put back"])
def test_who_can_write_the_database_alone_gets_no_other_history_signed(
    start: Callable[..., Server], database_address: str, keeps: bool, gone: bool, again: bool
) -> None:
    if gone and again and not keeps:
        return  # a server that starts and finds neither file nor checkpoint has nothing to go by
    server = start()
    server.enter(300)
    assert server.turn()
    note = server.file.read_text()
    _rewrite(server.home, database_address, note=note if keeps else None)
    if gone:
        server.file.unlink()
    if again:
        server = start()
    server.enter(300)
    assert not server.turn(later=6)
    assert not server.turn(later=6, ending=True)
    assert server.status["state"] == "broken"
    assert gone or server.file.read_text() == note
    assert not gone or not server.file.exists()


def test_a_checkpoint_that_is_put_back_while_sealing_does_not_let_another_history_pass(
    start: Callable[..., Server], database_address: str
) -> None:
    server = start()
    server.enter(300)
    assert server.turn()
    note = server.file.read_text()
    _rewrite(server.home, database_address, note=None)
    _put_back_when_sealing(server.home, database_address, note)
    server.enter(300)
    assert not server.turn(later=6)
    assert (server.status["state"], server.file.read_text()) == ("broken", note)


@pytest.mark.parametrize("again", [False, True])
def test_nothing_is_signed_after_a_checkpoint_that_another_key_signed(
    start: Callable[..., Server], database_address: str, again: bool
) -> None:
    server = start()
    server.enter(300)
    assert server.turn()
    note = server.file.read_text()
    server.enter(300)
    forger = Signer(read_note(note).origin, Ed25519PrivateKey.generate())
    database = unlocked(server.home, database_address)
    with database.command() as connection:
        keys = {forger.public.key_id: forger.public}
        with pytest.raises(LogBroken, match="none of the known keys"):
            seal(connection, standing(connection), forger, now=NOW, keys=keys)
        seal(connection, standing(connection), forger, now=NOW, keys=keys, anchors=[read_note(note)])
    database.close()
    server = start() if again else server
    server.enter(300)
    assert not server.turn(later=6)
    assert (server.status["state"], server.file.read_text()) == ("broken", note)


def _rewrite(home: Path, address: str, *, note: str | None) -> None:
    """Let entry 5 be somebody else's and forget what was signed, but for this note."""
    database = unlocked(home, address)
    try:
        with database.command() as connection:
            body = entry(99_999).body()
            connection.execute(
                text("UPDATE audit_entry SET body = :body, leaf_hash = :leaf WHERE seq = 5"),
                {"body": body, "leaf": leaf_hash(body)},
            )
            for table in ("checkpoint", "node", "key"):
                connection.execute(text(f"DELETE FROM audit_{table}"))
            if note is not None:
                leaves = connection.execute(text("SELECT leaf_hash FROM audit_entry ORDER BY seq LIMIT 256")).scalars()
                node = {"hash": root_hash([bytes(leaf) for leaf in leaves])}
                connection.execute(text("INSERT INTO audit_node (level, position, hash) VALUES (1, 0, :hash)"), node)
                values = {"size": read_note(note).size, "at": read_note(note).at, "note": note}
                connection.execute(
                    text("INSERT INTO audit_checkpoint (size, at, note) VALUES (:size, :at, :note)"), values
                )
    finally:
        database.close()


def _put_back_when_sealing(home: Path, address: str, note: str) -> None:
    checkpoint = read_note(note)
    row = f"INSERT INTO audit_checkpoint (size, at, note) VALUES ({checkpoint.size}, {checkpoint.at!r}, '{note}')"
    database = unlocked(home, address)
    try:
        with database.command() as connection:
            if not address:
                made = f"AFTER INSERT ON audit_checkpoint WHEN NEW.size <> {checkpoint.size} BEGIN {row}; END"
                connection.exec_driver_sql(f"CREATE TRIGGER back {made}")
                return
            body = f"BEGIN IF NEW.size <> {checkpoint.size} THEN {row}; END IF; RETURN NEW; END"
            connection.exec_driver_sql(f"CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
            connection.exec_driver_sql(
                "CREATE TRIGGER back AFTER INSERT ON audit_checkpoint FOR EACH ROW EXECUTE FUNCTION back()"
            )
    finally:
        database.close()


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
