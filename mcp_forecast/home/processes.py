"""The life of server processes, on record: a start after an unclean end says what the log may have lost."""

from __future__ import annotations

import psutil
from sqlalchemy import Connection, insert, select, update

from mcp_forecast.home.tables import ProcessRow
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.entry import Entry

_TABLE = ProcessRow.__table__  # type: ignore[attr-defined]


def begin(connection: Connection, process_id: str, *, pid: int, pid_started: float, host: str, now: float) -> None:
    """Enter a start, and every earlier process that ended without a word (its last 0.1 s of entries may be lost).

    host: where process ids mean something, "" for a home that only one machine can use; nobody can tell from here
    whether a process of another host still runs, so those are left to their own.
    """
    unended = select(_TABLE).where(_TABLE.c.ended_at.is_(None), _TABLE.c.host.in_(("", host)))
    for row in connection.execute(unended).all():
        if not _alive(row.pid, row.pid_started):
            _end(connection, row.process_id, "UNCLEAN_END", now)
    connection.execute(
        insert(_TABLE).values(
            process_id=process_id, pid=pid, pid_started=pid_started, host=host, started_at=now, ended_at=None
        )
    )
    audit_log.append(connection, [_entry(process_id, "STARTED", now)])


def end(connection: Connection, process_id: str, *, now: float) -> None:
    """Enter a clean end."""
    _end(connection, process_id, "STOPPED", now)


def end_all(connection: Connection, *, now: float) -> None:
    """Enter the end of every process in a copy of a home: none of them writes there, and their hosts may never come.

    Each ends uncleanly: what it entered after the copy was made is not in it.
    """
    unended = select(_TABLE.c.process_id).where(_TABLE.c.ended_at.is_(None)).order_by(_TABLE.c.started_at)
    for process_id in connection.execute(unended).scalars().all():
        _end(connection, process_id, "UNCLEAN_END", now)


def _end(connection: Connection, process_id: str, code: str, now: float) -> None:
    connection.execute(update(_TABLE).where(_TABLE.c.process_id == process_id).values(ended_at=now))
    audit_log.append(connection, [_entry(process_id, code, now)])


def _alive(pid: int, pid_started: float) -> bool:
    try:
        return bool(abs(psutil.Process(pid).create_time() - pid_started) < 1.0)
    except psutil.NoSuchProcess:
        return False


def _entry(process_id: str, code: str, now: float) -> Entry:
    return Entry(request_id=process_id, at=now, caller="system:server", door="process", tool="server", code=code)
