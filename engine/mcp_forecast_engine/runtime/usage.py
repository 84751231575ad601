"""How much a caller has used: runs asked for and seconds worked in the last 24 hours, runs open now; and the queue.

An attempt counts for who asked for it and from when it was asked, also the seconds it works later. They stand in the
run's row while it is the newest attempt, and in its own row once it is settled: then an index alone answers.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, Float, and_, bindparam, exists, func, select, update

from mcp_forecast_engine.runtime.ledger import ATTEMPT, RUN
from mcp_forecast_engine.runtime.run import OPEN

WINDOW_S: Final = 86_400.0
RECENT: Final = 200  # runs looked at for how long one takes

_CALLER: Final[BindParameter[str]] = bindparam("the_caller")
_NOW: Final[BindParameter[float]] = bindparam("now", type_=Float)
_COUNTED: Final = (ATTEMPT.c.caller == _CALLER, ATTEMPT.c.asked_at > bindparam("since", type_=Float))
_NEWEST: Final = and_(RUN.c.run_id == ATTEMPT.c.run_id, RUN.c.attempt == ATTEMPT.c.attempt)
# Zero where it has not begun: then both are now.
_OF_RUN: Final = func.coalesce(RUN.c.ended_at, _NOW) - func.coalesce(RUN.c.started_at, RUN.c.ended_at, _NOW)
_ASKED: Final = select(
    func.count().label("runs"), func.coalesce(func.sum(ATTEMPT.c.seconds), 0.0).label("seconds")
).where(*_COUNTED).subquery()  # fmt: skip
_WORKING: Final = (
    select(func.coalesce(func.sum(_OF_RUN), 0.0))
    .select_from(ATTEMPT.join(RUN, _NEWEST))
    .where(*_COUNTED, ATTEMPT.c.seconds.is_(None))
    .scalar_subquery()
)
# A scalar, no join: the few open runs are looked at, not all that this caller ever asked for.
_ASKED_BY: Final = select(ATTEMPT.c.caller).where(_NEWEST).correlate(RUN).scalar_subquery()
_OPEN: Final = (
    select(func.count()).select_from(RUN).where(RUN.c.state.in_(OPEN), _ASKED_BY == _CALLER).scalar_subquery()
)
_QUEUED: Final = select(func.count()).select_from(RUN).where(RUN.c.state == "QUEUED").scalar_subquery()
_USAGE: Final = select(_ASKED.c.runs, (_ASKED.c.seconds + _WORKING).label("seconds"), _OPEN.label("open"),
                       _QUEUED.label("queued"))  # fmt: skip
_SETTLE: Final = (
    update(ATTEMPT)
    .where(
        *_COUNTED,
        ATTEMPT.c.seconds.is_(None),
        exists().where(_NEWEST, RUN.c.ended_at.is_not(None)).correlate(ATTEMPT),
    )
    .values(seconds=select(_OF_RUN).where(RUN.c.run_id == ATTEMPT.c.run_id).correlate(ATTEMPT).scalar_subquery())
)
_ATTEMPTS: Final = (
    select(ATTEMPT.c.asked_at, func.coalesce(ATTEMPT.c.seconds, _OF_RUN, 0.0).label("seconds"))
    .select_from(ATTEMPT.outerjoin(RUN, _NEWEST))
    .where(*_COUNTED)
    .order_by(ATTEMPT.c.asked_at)
)
_RECENT: Final = select(RUN.c.started_at, RUN.c.ended_at).order_by(RUN.c.created_at.desc()).limit(RECENT)


@dataclass(frozen=True)
class Usage:
    """What one caller has used. runs, seconds: in the last 24 hours. open: queued and running; queued: of the home."""

    runs: int
    seconds: float
    open: int
    queued: int


def usage(connection: Connection, caller: str, *, now: float) -> Usage:
    """What this caller has used up to now."""
    row = connection.execute(_USAGE, _window(caller, now)).one()
    return Usage(row.runs, max(0.0, row.seconds), row.open, row.queued)


def settle(connection: Connection, caller: str, *, now: float) -> None:
    """Enter what this caller's ended attempts have worked, so that counting them later costs no look at their runs."""
    connection.execute(_SETTLE, _window(caller, now))


def runs_fall_to(connection: Connection, caller: str, *, fewer_than: int, now: float) -> float | None:
    """Seconds until fewer than so many runs count, if nothing new is asked for; None: never."""
    asked = [row.asked_at for row in connection.execute(_ATTEMPTS, _window(caller, now))]
    leave = len(asked) - fewer_than
    return asked[leave] + WINDOW_S - now if fewer_than > 0 and leave >= 0 else None


def seconds_fall_to(connection: Connection, caller: str, *, less_than: float, now: float) -> float | None:
    """Seconds until less work than this counts, if no run works on; None: never."""
    attempts = connection.execute(_ATTEMPTS, _window(caller, now)).all()
    left = sum(row.seconds for row in attempts)
    for row in attempts:
        left -= row.seconds
        if left < less_than:
            return float(row.asked_at) + WINDOW_S - now
    return None


def usual_seconds(connection: Connection, *, otherwise: float) -> float:
    """The median of the seconds that the last runs worked which a worker has ended; `otherwise` where there is none."""
    rows = connection.execute(_RECENT)
    worked = [row.ended_at - row.started_at for row in rows if row.started_at is not None and row.ended_at is not None]
    # A forecast that was computed inline starts and ends at once: it never waited for a worker.
    worked = [seconds for seconds in worked if seconds > 0]
    return statistics.median(worked) if worked else otherwise


def _window(caller: str, now: float) -> dict[str, Any]:
    return {"the_caller": caller, "since": now - WINDOW_S, "now": now}
