"""Contracts of the operations tools."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from mcp_forecast_contracts.contract import Contract
from mcp_forecast_contracts.schema import Answer, Arguments


class GetServiceStatusArguments(Arguments):
    """Whether to count what was done, too."""

    work: Annotated[
        bool,
        Field(
            description="also count trainings, gates and bundles of this home, and compare rows with what is on record"
        ),
    ] = False


class Reconciled(Answer):
    """One number told twice: by the rows, and by events or log entries that are never changed."""

    check: str
    rows: int
    events: int
    agrees: bool


class Work(Answer):
    """What was done, counted from rows, and whether rows and events agree about it."""

    counters: Annotated[
        dict[str, int],
        Field(
            description="since the home was made: train_requested, train_completed, eval_pass, eval_fail, "
            "bundle_published; anomalies: the sum of those below"
        ),
    ]
    anomalies: Annotated[
        dict[str, int],
        Field(
            description="train_failed: list_runs with state FAILED; publish_pending: follow the run's next_step; "
            "promotion_rejected: by policy; disagreements: of the checks below"
        ),
    ]
    reconciliation: Annotated[
        list[Reconciled], Field(description="numbers told twice: by rows, and by events or entries never changed")
    ]
    unexplained: Annotated[
        list[str], Field(description="what of the registry its events do not explain; empty: all is")
    ]


class ServiceStatusAnswer(Answer):
    """How the service is: versions, store, queue, limits, what this caller may do."""

    version: str
    caller: str
    scopes: list[str]
    home: str
    roots: Annotated[list[str], Field(description="folders that files may be read from")]
    store: Annotated[dict[str, Any], Field(description="database kind, version, schema revision, guard")]
    runs: Annotated[dict[str, int], Field(description="runs by state")]
    limits: Annotated[dict[str, Any], Field(description="rate, burst, workers, lease, wall limit")]
    policy: Annotated[dict[str, str], Field(description="policy id, revision, digest")]
    audit: Annotated[dict[str, Any], Field(description="entries, those sealed, whether sealing works, its checkpoint")]
    work: Annotated[Work | None, Field(description="with work: what was done, as of one instant")] = None


GET_SERVICE_STATUS: Final = Contract(
    name="get_service_status",
    version="0.3.0",
    title="Service status",
    description=(
        "How the service is: version, store, runs by state, limits, allowed folders and what you may do; with work "
        "also how many trainings, gates and bundles there were, reconciled with the log."
    ),
    arguments=GetServiceStatusArguments,
    result=ServiceStatusAnswer,
    effect="read",
    errors=(),
    examples=({}, {"work": True}),
)
