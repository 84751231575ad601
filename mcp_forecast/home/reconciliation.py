"""Whether rows and what is on record agree: the ledger with the log, the registry with its events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from mcp_forecast_audit.page import Filter, entries_count
from mcp_forecast_engine.registry.counters import PASSED, Counted, count
from mcp_forecast_engine.registry.explain import explain


@dataclass(frozen=True)
class Check:
    """One thing told twice: by rows, which change, and by events or entries, which never do."""

    check: str
    rows: int
    events: int

    @property
    def agrees(self) -> bool:
        """Whether both tell the same number."""
        return self.rows == self.events


def reconciled(connection: Connection) -> dict[str, Any]:
    """The counters of the factory, what is unusual, and whether rows and events agree.

    The connection has to see one instant. Only ends that a worker makes are in the log: what a supervisor ends (FAILED
    by a lost worker, CANCELLED while queued) has no entry, so those states are not compared.
    """
    counted, explained = count(connection), explain(connection)
    checks = tuple(_checks(connection, counted))
    disagreements = sum(not check.agrees for check in checks) + len(explained.faults)
    anomalies = {**counted.anomalies, "disagreements": disagreements}
    return {
        "counters": {**counted.counters, "anomalies": sum(anomalies.values())},
        "anomalies": anomalies,
        "reconciliation": [{**asdict(check), "agrees": check.agrees} for check in checks],
        "unexplained": list(explained.faults),
    }


def _checks(connection: Connection, counted: Counted) -> Iterator[Check]:
    passed = sum(counted.trainings[state] for state in PASSED)
    yield Check("trainings that passed their gate", passed, _ends(connection, "PASS"))
    yield Check("trainings that failed their gate", counted.trainings["FAIL"], _ends(connection, "FAIL"))
    yield Check("published bundles", counted.bundles, counted.events["BUNDLE_PUBLISHED"])
    yield Check("runs in PUBLISHED, and those that bundles are of", counted.trainings["PUBLISHED"],
                counted.published_runs)  # fmt: skip


def _ends(connection: Connection, state: str) -> int:
    """How many runs ended so by the log; these states are final, so each has one entry."""
    return entries_count(connection, Filter(tool="run", code=state))
