"""The one thread of a process that writes: commands one by one, and the entries of reads in groups between them."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection

from mcp_forecast_engine.store.database import Database

E = TypeVar("E")
R = TypeVar("R")
GROUP_S: Final = 0.1
log = logging.getLogger(__name__)


class Writer(Generic[E]):
    """Commands and grouped entries of one process, on one connection, in the order they came.

    enter_group(connection, entries) stores a group in a transaction of its own, at most GROUP_S after its first entry.
    """

    def __init__(self, database: Database, enter_group: Callable[[Connection, Sequence[E]], None]) -> None:
        self._database, self._enter_group = database, enter_group
        self._jobs: queue.SimpleQueue[tuple[Callable[[Connection], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._entries: queue.SimpleQueue[E] = queue.SimpleQueue()
        self._due = 0.0
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], R]) -> Future[R]:
        """Run `work` in one transaction; the future holds its value, or its exception after the rollback."""
        future: Future[R] = Future()
        self._jobs.put((work, future))
        return future

    def enter(self, entry: E) -> None:
        """Store an entry soon (within GROUP_S), off the caller's path."""
        self._entries.put(entry)

    def close(self) -> None:
        """Finish what was submitted, store the last group, end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=GROUP_S)
            except queue.Empty:
                self._store_group()
                continue
            if job is None:
                self._store_group()
                return
            self._command(*job)
            if time.monotonic() >= self._due:
                self._store_group()

    def _command(self, work: Callable[[Connection], Any], future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            with self._database.command() as connection:
                value = work(connection)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(value)

    def _store_group(self) -> None:
        self._due = time.monotonic() + GROUP_S
        group = []
        while not self._entries.empty():
            group.append(self._entries.get())
        if not group:
            return
        try:
            with self._database.command() as connection:
                self._enter_group(connection, group)
        except Exception:
            log.exception("a group of %d audit entries was lost", len(group))
