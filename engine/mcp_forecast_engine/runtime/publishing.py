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


def published(connection: Connection, run_id: str) -> Run:
    """Say that a run's bundle is on record; one that was published stays so. Raises NotFound, CorridorRefused."""
    run = one(connection, _PUBLISHED, the_run=run_id) or get(connection, run_id)
    if run.state != "PUBLISHED":
        raise _invalid(run, "PUBLISHED")
    return run


def pending(connection: Connection, run_id: str, message: str) -> Run:
    """Say that the storage failed a publication; the same call tries it again. Raises NotFound, CorridorRefused."""
    tried = attempts(get(connection, run_id)) + 1
    error: dict[str, Any] = {
        "reason": "StoreUnavailable", "disposition": "retryable", "message": message, "attempts": tried,
        "next_step": f"make the storage work, then publish_bundle again: {MOST_ATTEMPTS - tried} attempts are left",
    }  # fmt: skip
    run = one(connection, _PENDING, the_run=run_id, why=canonical_bytes(error).decode())
    if run is None:
        raise _invalid(get(connection, run_id), "PUBLISH_PENDING")
    return run


def attempts(run: Run) -> int:
    """How often the publication of a run was tried and failed."""
    return 0 if run.state != "PUBLISH_PENDING" or run.error is None else int(run.error.get("attempts", 0))


def _invalid(run: Run, state: str) -> CorridorRefused:
    return CorridorRefused(
        "INVALID_TRANSITION", f"{run.run_id} is {run.state}: it cannot become {state}", field="run_id",
        allowed=list(sources("PUBLISHED")), next_step="get_run_status says how the run stands",
    )  # fmt: skip
