"""How much the factory has done, counted from the rows themselves: no counter is kept that could drift from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, distinct, func, select

from mcp_forecast_engine.registry.bundles import BUNDLE
from mcp_forecast_engine.registry.events import EVENT, EVENT_TYPES
from mcp_forecast_engine.runtime.ledger import RUN
from mcp_forecast_engine.runtime.run import FINISHED, STATES

PASSED: Final = ("PASS", "PUBLISH_PENDING", "PUBLISHED")  # the states of a training that its gate let pass
_TRAININGS: Final = (
    select(RUN.c.state, func.count().label("number")).where(RUN.c.kind == "training").group_by(RUN.c.state)
)
_EVENTS: Final = select(EVENT.c.event_type, func.count().label("number")).group_by(EVENT.c.event_type)
_BUNDLES: Final = select(func.count().label("bundles"), func.count(distinct(BUNDLE.c.run_id)).label("runs"))


@dataclass(frozen=True)
class Counted:
    """Trainings by state and registry events by type, each named, and published bundles with the runs they are of."""

    trainings: Mapping[str, int]
    events: Mapping[str, int]
    bundles: int
    published_runs: int

    @property
    def counters(self) -> dict[str, int]:
        """What was asked for, what came of it, what its gates said and what was published."""
        return {
            "train_requested": sum(self.trainings.values()),
            "train_completed": self._trained(*FINISHED),
            "eval_pass": self._trained(*PASSED),
            "eval_fail": self._trained("FAIL"),
            "bundle_published": self.bundles,
        }

    @property
    def anomalies(self) -> dict[str, int]:
        """What did not go as it should, and that somebody may want to look at."""
        return {
            "train_failed": self._trained("FAILED"),
            "publish_pending": self._trained("PUBLISH_PENDING"),
            "promotion_rejected": self.events["PROMOTION_REJECTED"],
        }

    def _trained(self, *states: str) -> int:
        return sum(self.trainings[state] for state in states)


def count(connection: Connection) -> Counted:
    """Count the trainings, bundles and events of a home; a connection that sees one instant counts what fits."""
    trainings: dict[str, int] = {row.state: row.number for row in connection.execute(_TRAININGS)}
    events: dict[str, int] = {row.event_type: row.number for row in connection.execute(_EVENTS)}
    published = connection.execute(_BUNDLES).one()
    return Counted(
        trainings={state: trainings.get(state, 0) for state in STATES},
        events={kind: events.get(kind, 0) for kind in EVENT_TYPES},
        bundles=published.bundles,
        published_runs=published.runs,
    )
