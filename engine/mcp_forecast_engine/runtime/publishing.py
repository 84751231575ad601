"""The ledger's last states: a run that passed its gate is published, or waits for its publication to be tried again.

Nothing here works on the run again: its result stands, and only its state moves.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, bindparam, update

from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.runtime.ledger import RUN, get, one
from mcp_forecast_engine.runtime.run import Run, sources
from mcp_forecast_engine.store.identity import canonical_bytes

MOST_ATTEMPTS: Final = 3
_OF_RUN: Final = RUN.c.run_id == bindparam("the_run")
_PUBLISHED: Final = (
    update(RUN)
    .where(_OF_RUN, RUN.c.state.in_(sources("PUBLISHED")))
    .values(state="PUBLISHED", error=None)
    .returning(*RUN.c)
)
# A second failure is no transition: the run waits as it did, and has one attempt less.
_PENDING: Final = (
    update(RUN)
    .where(_OF_RUN, RUN.c.state.in_((*sources("PUBLISH_PENDING"), "PUBLISH_PENDING")))
    .values(state="PUBLISH_PENDING", error=bindparam("why"))
    .returning(*RUN.c)
)
_GRANTED: Final = (
    update(RUN).where(_OF_RUN, RUN.c.state == "PUBLISH_PENDING").values(error=bindparam("why")).returning(*RUN.c)
)


def published(connection: Connection, run_id: str) -> Run:
    """Say that a run's bundle is on record; one that was published stays so. Raises NotFound, CorridorRefused."""
    run = one(connection, _PUBLISHED, the_run=run_id) or get(connection, run_id)
    if run.state != "PUBLISHED":
        raise _invalid(run, "PUBLISHED")
    return run


def pending(connection: Connection, run_id: str, message: str) -> Run:
    """Say that the storage failed a publication; the same call tries it again. Raises NotFound, CorridorRefused."""
    before = get(connection, run_id)
    require_attempt(before)  # others may have failed since this one was prepared
    run = one(connection, _PENDING, the_run=run_id, why=_why(run_id, message, attempts(before) + 1))
    if run is None:
        raise _invalid(before, "PUBLISH_PENDING")
    return run


def grant_attempts(connection: Connection, run_id: str) -> Run:
    """Let a publication that the storage failed be tried anew, as often as at first; nothing is trained again.

    For an operator, once the storage is mended: who repeats a call in a loop must not have it. Raises NotFound,
    CorridorRefused.
    """
    run = get(connection, run_id)
    message = str((run.error or {}).get("message", ""))
    granted = one(connection, _GRANTED, the_run=run_id, why=_why(run_id, message, 0))
    if granted is None:
        raise CorridorRefused(
            "RETRY_NOT_PENDING", f"{run_id} is {run.state}: no publication of it waits to be tried again",
            field="run_id", allowed="PUBLISH_PENDING",
            next_step="list_runs with state PUBLISH_PENDING shows the runs that wait",
        )  # fmt: skip
    return granted


def require_attempt(run: Run) -> None:
    """Refuse a run whose publication failed as often as it may. Raises CorridorRefused."""
    if attempts(run) >= MOST_ATTEMPTS:
        raise CorridorRefused(
            "PUBLISH_RETRY_EXHAUSTED", f"{MOST_ATTEMPTS} publications of {run.run_id} failed in the storage",
            field="run_id", next_step=_mend(run.run_id, 0),
        )  # fmt: skip


def attempts(run: Run) -> int:
    """How often the publication of a run was tried and failed."""
    return 0 if run.state != "PUBLISH_PENDING" or run.error is None else int(run.error.get("attempts", 0))


def _why(run_id: str, message: str, tried: int) -> str:
    error: dict[str, Any] = {
        "reason": "StoreUnavailable", "disposition": "retryable", "message": message, "attempts": tried,
        "next_step": _mend(run_id, MOST_ATTEMPTS - tried),
    }  # fmt: skip
    return canonical_bytes(error).decode()


def _mend(run_id: str, left: int) -> str:
    if left:
        return f"make the storage work, then publish_bundle again: {left} attempts are left"
    return (
        f"make the storage work; then an operator grants {MOST_ATTEMPTS} more attempts with "
        f"`mcp-forecast bundles retry {run_id}`, and publish_bundle works again: nothing is trained again"
    )


def _invalid(run: Run, state: str) -> CorridorRefused:
    return CorridorRefused(
        "INVALID_TRANSITION", f"{run.run_id} is {run.state}: it cannot become {state}", field="run_id",
        allowed=list(sources("PUBLISHED")), next_step="get_run_status says how the run stands",
    )  # fmt: skip
