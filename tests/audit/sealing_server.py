"""A server's log, sealed a turn of the writer at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sealed_log import NOW, entry, unlocked
from sqlalchemy import text

from mcp_forecast.home.opening import open_home
from mcp_forecast.home.sealing import Sealer, checkpoint_file, home_id_of
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.stored import LogBroken, Standing, standing


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


@contextmanager
def servers(first_home: Path, first_address: str) -> Iterator[Callable[..., Server]]:
    """Lend how to start servers on one home, or on copies of it."""
    started: list[Server] = []

    def starter(home: Path = first_home, address: str = first_address) -> Server:
        started.append(Server(home, address))
        return started[-1]

    yield starter
    for server in started:
        server.database.close()


def cut_after_256(home: Path, address: str) -> None:
    """What a restored older copy of the database looks like."""
    database = unlocked(home, address)
    try:
        with database.command() as connection:
            for table, key in (("entry", "seq"), ("ref", "seq"), ("checkpoint", "size")):
                connection.execute(text(f"DELETE FROM audit_{table} WHERE {key} > 256"))
            connection.execute(text("DELETE FROM audit_node WHERE position > 0"))
    finally:
        database.close()
