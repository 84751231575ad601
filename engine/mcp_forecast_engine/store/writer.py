"""The one thread of a process that writes: commands one by one, and the entries of reads in groups between them."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, Generic, Protocol, TypeVar

from sqlalchemy import Connection

from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.database import BUSY_S, Database

E = TypeVar("E")
R = TypeVar("R")
Work = Callable[[Connection], Any]
GROUP_S: Final = 0.1
GROUP_WAIT_S: Final = 0.2  # a group waits no longer for its turn: commands stand behind it
CLOSE_S: Final = 0.7  # a client that closes our input ends us after a second or two
MOST_KEPT: Final = 10_000  # entries that wait for a database that cannot be written
log = logging.getLogger(__name__)


class Chore(Protocol):
    """What the writer does between commands, as a command of its own, when that is due.

    It should raise nothing; whatever it raises all the same ends no thread, and it is told.
    """

    def due(self, commits: int, *, ending: bool = False) -> Work | None:
        """The command, if it is due; asked often. commits: how many were made here so far; ending: the last time."""

    def done(self, outcome: Future[Any]) -> None:
        """Hear how it ended."""

    def failed(self, error: Exception) -> None:
        """Hear what one of the other parts raised."""


class Writer(Generic[E]):
    """Commands and grouped entries of one process, on one connection, in the order they came.

    enter_group(connection, entries) stores a group in a transaction of its own, at most GROUP_S after its first entry.
    While the database cannot be written entries are kept (the newest MOST_KEPT) and stored with the next group. A
    command waits at most busy_s from its submission, however many stand before it.
    """

    def __init__(
        self,
        database: Database,
        enter_group: Callable[[Connection, Sequence[E]], None],
        *,
        chore: Chore | None = None,
        busy_s: float = BUSY_S,
    ) -> None:
        self._database, self._enter_group, self._busy_s = database, enter_group, busy_s
        self._jobs: queue.SimpleQueue[tuple[Work, Future[Any], float] | None] = queue.SimpleQueue()
        self._entries: queue.SimpleQueue[E] = queue.SimpleQueue()
        self._kept: list[E] = []
        self._due = 0.0
        self._until, self._all_done = math.inf, False
        self._last: Work | None = None
        self._chore, self._commits = chore, 0
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], R]) -> Future[R]:
        """Run `work` in one transaction; the future holds its value, or its exception after the rollback."""
        future: Future[R] = Future()
        self._jobs.put((work, future, time.monotonic() + self._busy_s))
        return future

    def enter(self, entry: E) -> None:
        """Store an entry soon (within GROUP_S), off the caller's path."""
        self._entries.put(entry)

    def close(self, last: Callable[[Connection], object] | None = None, *, timeout_s: float = CLOSE_S) -> bool:
        """Do what was submitted, store the kept entries, then run `last`, all within timeout_s; end the thread.

        Returns False where something was left undone; `last` is run only when nothing was.
        """
        self._last = last
        self._until = time.monotonic() + timeout_s
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return self._all_done

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=GROUP_S)
            except queue.Empty:
                self._store_group()
                self._do_chore()
                continue
            if job is None:
                self._finish()
                return
            self._command(*job)
            if time.monotonic() >= self._due:
                self._store_group()
            self._do_chore()

    def _command(self, work: Work, future: Future[Any], until: float) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            with self._database.command(wait_s=self._left(until)) as connection:
                value = work(connection)
        except BaseException as error:
            future.set_exception(error)
        else:
            self._commits += 1
            future.set_result(value)

    def _do_chore(self, *, ending: bool = False) -> None:
        if self._chore is None:
            return
        try:
            work = self._chore.due(self._commits, ending=ending)
            if work is None:
                return
            future: Future[Any] = Future()
            self._command(work, future, time.monotonic() + GROUP_WAIT_S)
            self._chore.done(future)
        except Exception as error:  # no chore may end the thread that every command needs
            log.exception("what is done between commands has failed")
            self._chore.failed(error)

    def _finish(self) -> None:
        self._store_group()
        if self._kept:
            return
        future: Future[Any] = Future()
        if self._last is not None:
            self._command(self._last, future, self._until)
        self._all_done = self._last is None or future.exception() is None
        self._do_chore(ending=True)

    def _left(self, until: float) -> float:
        # 0 is one try without waiting: whoever stood before has used the wait up, or was merely slow.
        return max(0.0, min(until, self._until) - time.monotonic())

    def _store_group(self) -> None:
        self._due = time.monotonic() + GROUP_S
        group = list(self._kept)
        while not self._entries.empty():
            group.append(self._entries.get())
        if not group:
            return
        left = self._store(group)
        if self._kept and not left:
            log.info("the database can be written again: %d audit entries were stored", len(group))
        if len(left) > MOST_KEPT:
            log.error("%d audit entries are lost: %d wait and no more are kept", len(left) - MOST_KEPT, MOST_KEPT)
        self._kept = left[-MOST_KEPT:]

    def _store(self, group: list[E]) -> list[E]:
        """Store a group and return what has to wait; an entry that cannot be built is lost alone."""
        try:
            with self._database.command(wait_s=self._left(time.monotonic() + GROUP_WAIT_S)) as connection:
                self._enter_group(connection, group)
            self._commits += 1
        except StoreUnavailable as error:
            if not self._kept:
                log.warning("audit entries wait for the database: %s", error.message)
            return group
        except Exception:
            if len(group) == 1:
                log.exception("an audit entry cannot be built and is lost")
                return []
            half = len(group) // 2
            left = self._store(group[:half])
            return [*left, *group[half:]] if left else self._store(group[half:])
        return []
