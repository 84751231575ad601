"""How runs ended, on record: the sealed log names the digest of every result that a worker left."""

from __future__ import annotations

from sqlalchemy import Connection

from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.entry import Entry
from mcp_forecast_engine.runtime.run import Run


def enter_end(connection: Connection, run: Run) -> None:
    """Enter the end of one attempt in the transaction that makes it; the code is the state it ended in."""
    assert run.ended_at is not None
    result = {} if run.result is None else {"result": run.result}
    entry = Entry(
        request_id=f"{run.run_id}.{run.attempt}", at=run.ended_at, caller=run.caller, door="worker", tool="run",
        code=run.state, refs={"run_id": run.run_id, **result},
    )  # fmt: skip
    audit_log.append(connection, [entry])
