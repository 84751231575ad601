"""Contracts of the registry: publish a run as a bundle, list bundles and events, promote one, roll back."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from mcp_forecast_contracts.contract import Contract
from mcp_forecast_contracts.schema import (
    TEXT,
    Answer,
    Arguments,
    BundleId,
    Cursor,
    Int,
    Key,
    Place,
    ResponseFormat,
    RunId,
    Version,
)

BundleState = Literal["PUBLISHED", "ACTIVE", "RETIRED"]
Reason = Annotated[
    str, Field(min_length=1, max_length=400, pattern=TEXT, description="why, in a sentence; it stays in the record")
]
ScopeText = Annotated[str, Field(description="environment/mode/slot, and /tenant where it is one tenant's")]
Token = Annotated[
    Int | None,
    Field(ge=0, description="the scope's token as list_bundles told it: refused if the scope has moved since"),
]


class ScopeArguments(Arguments):
    """A place with at most one ACTIVE bundle; what is left out has the usual value."""

    environment: Annotated[Place | None, Field(description="default: the server's, local")] = None
    mode: Annotated[Place | None, Field(description="default live")] = None
    slot: Annotated[Place | None, Field(description="default primary")] = None
    tenant: Annotated[Place | None, Field(description="default: everybody's")] = None


class PublishBundleArguments(Arguments):
    """Which run to publish."""

    run_id: Annotated[RunId, Field(description="a training run whose state is PASS, or PUBLISH_PENDING")]
    idempotency_key: Key


class ListBundlesArguments(ScopeArguments):
    """Which bundles, or which events, newest first."""

    view: Annotated[
        Literal["bundles", "events"],
        Field(description="bundles: what is published; events: what happened, in a scope or to a bundle"),
    ] = "bundles"
    state: Annotated[BundleState | None, Field(description="only bundles that stand so (view bundles)")] = None
    run_id: Annotated[RunId | None, Field(description="only the bundle of this run (view bundles)")] = None
    bundle_id: BundleId | None = None
    limit: Annotated[Int, Field(ge=1, le=100, description="lines per page, at most")] = 20
    cursor: Cursor | None = None
    response_format: ResponseFormat = "concise"


class PromoteBundleArguments(ScopeArguments):
    """Which bundle becomes the ACTIVE one of a scope, and why."""

    bundle_id: BundleId
    version: Version | None = None
    expected_token: Token = None
    reason: Reason
    idempotency_key: Key


class RollbackBundleArguments(ScopeArguments):
    """Which scope goes back, to what, and why."""

    to: Annotated[
        str | None,
        Field(
            pattern="^bnd_[0-9a-f]{24}(@[a-z0-9.-]{1,40})?$",
            description="a bundle that was ACTIVE there before, id or id@version; left out: the one before",
        ),
    ] = None
    retire: Annotated[bool, Field(description="the bundle it goes away from is never to be ACTIVE again, anywhere")] = (
        False
    )
    expected_token: Token = None
    reason: Reason
    idempotency_key: Key


class EventAnswer(Answer):
    """One thing that happened in the registry."""

    seq: Annotated[int, Field(description="from 1 without gaps; after a move it is the scope's token")]
    registry_event_id: str
    event_type: Annotated[str, Field(description="BUNDLE_PUBLISHED, BUNDLE_PROMOTED_ACTIVE, BUNDLE_ROLLED_BACK, …")]
    scope: ScopeText
    bundle: Annotated[str | None, Field(description="id@version; after a move what is ACTIVE, absent: nothing")] = None
    before: Annotated[str | None, Field(description="id@version that was ACTIVE")] = None
    actor: str
    source_type: Literal["HUMAN", "SYSTEM"]
    reason: str
    reason_codes: Annotated[list[str] | None, Field(description="why a promotion was rejected")] = None
    at: str
    details: Annotated[dict[str, Any] | None, Field(description="detailed: evidence and the policy's revision")] = None


class BundleLine(Answer):
    """One published bundle."""

    bundle_id: str
    version: str
    state: BundleState
    active_in: Annotated[list[str], Field(description="scopes whose ACTIVE bundle it is")]
    run_id: str
    compatibility: Annotated[dict[str, Any], Field(description="what it can do: target, freq, horizon, levels, …")]
    manifest: Annotated[str, Field(description="digest of bundle.json, which names every file")]
    made_for: Annotated[str, Field(description="scope it was trained for")]
    profile: Annotated[str | None, Field(description="whose limits its gate kept, name@revision")] = None
    verdict: Annotated[str | None, Field(description="of its trust")] = None
    compared_with: Annotated[str | None, Field(description="ACTIVE bundle it was measured against")] = None
    published_at: str


class ActiveLine(Answer):
    """What is ACTIVE in a scope now."""

    scope: ScopeText
    bundle: Annotated[str | None, Field(description="id@version; absent: rolled back to nothing")] = None
    token: Annotated[int, Field(description="number of the event that made it so; pass it as expected_token")]


class ListBundlesAnswer(Answer):
    """A page of bundles or of events, and what is ACTIVE where."""

    bundles: list[BundleLine] | None = None
    events: list[EventAnswer] | None = None
    active: Annotated[list[ActiveLine], Field(description="of the named scope, or of all; the first 50")]
    active_total: int
    total: Annotated[int | None, Field(description="bundles that fit the filter")] = None
    has_more: bool
    next_cursor: str | None = None


class PublishBundleAnswer(Answer):
    """The bundle of a run, on record; it is not ACTIVE by that."""

    status: Literal["PUBLISHED", "ALREADY_PUBLISHED", "PUBLISH_PENDING"]
    run_id: str
    bundle_id: str | None = None
    version: str | None = None
    manifest: Annotated[str | None, Field(description="digest of bundle.json")] = None
    files: Annotated[int | None, Field(description="files that were read and checked")] = None
    registry_event_id: Annotated[str | None, Field(description="of the event that published it")] = None
    attempts_left: Annotated[int | None, Field(description="PUBLISH_PENDING: how often it may be tried again")] = None
    error: Annotated[str | None, Field(description="PUBLISH_PENDING: what the storage said")] = None
    next_step: str


class ScopeChangeAnswer(Answer):
    """How a scope stands after a promotion or a rollback."""

    status: Annotated[
        Literal["PROMOTED", "ROLLED_BACK", "UNCHANGED", "REJECTED"],
        Field(description="UNCHANGED: it held already; REJECTED: on record as an event, reason_codes say why"),
    ]
    scope: ScopeText
    active: Annotated[str | None, Field(description="id@version that is ACTIVE now; absent: nothing")] = None
    before: Annotated[str | None, Field(description="id@version that was ACTIVE")] = None
    token: Annotated[int, Field(description="the scope's token now")]
    reason_codes: list[str] | None = None
    registry_event_ids: Annotated[list[str], Field(description="events this call made; list_bundles tells them")]
    next_step: str


PUBLISH_BUNDLE: Final = Contract(
    name="publish_bundle",
    version="0.1.0",
    title="Publish a trained run as a bundle",
    description=(
        "Put a training run whose gate said PASS on record as an immutable bundle: every file of it is read, checked "
        "and named by digest. A run that failed its gate is refused with the rules, the limits and what to try next. "
        "The same run is the same bundle. Nothing is ACTIVE by that: promote_bundle makes it so. PUBLISH_PENDING: the "
        "storage failed; call again, nothing is trained again."
    ),
    arguments=PublishBundleArguments,
    result=PublishBundleAnswer,
    effect="command",
    errors=(
        "NOT_FOUND", "RUN_NOT_READY", "RUN_FAILED", "PUBLISH_REFUSED", "EVIDENCE_INVALID", "REQUEST_REFUSED",
        "REGISTRY_CONFLICT", "DATA_INVALID", "ARTIFACT_CORRUPT", "IDEMPOTENCY_CONFLICT",
    ),
    examples=({"run_id": "run_0123456789abcdef01234567", "idempotency_key": "publish-1"},),
    room="registry",
)  # fmt: skip
LIST_BUNDLES: Final = Contract(
    name="list_bundles",
    version="0.1.0",
    title="List bundles, what is ACTIVE, and events",
    description=(
        "Published bundles, newest first, by state, run, id or scope, page by page; and what is ACTIVE in each scope "
        "with its token, which promote_bundle and rollback_bundle take as expected_token. With view=events: who "
        "published, promoted, rolled back or retired what, when, why and from which bundle."
    ),
    arguments=ListBundlesArguments,
    result=ListBundlesAnswer,
    effect="read",
    errors=("CURSOR_INVALID", "NOT_FOUND"),
    examples=({}, {"state": "ACTIVE"}, {"view": "events", "slot": "primary", "limit": 5}),
    room="registry",
)
PROMOTE_BUNDLE: Final = Contract(
    name="promote_bundle",
    version="0.1.0",
    title="Make a bundle ACTIVE",
    description=(
        "Let a published bundle be the one that answers in a scope; run_inference without run_id and bundle_id is then "
        "served by it. Its files are checked first, and it must be able to do all that the ACTIVE one does: what the "
        "policy rejects is a durable record with reason codes. That it was not measured against the ACTIVE one "
        "is a warning, in prod a rejection. Read the scope's token with list_bundles and pass it, so that nobody's "
        "change is overwritten unseen."
    ),
    arguments=PromoteBundleArguments,
    result=ScopeChangeAnswer,
    effect="command",
    errors=("NOT_FOUND", "REGISTRY_CONFLICT", "ARTIFACT_CORRUPT", "EVIDENCE_INVALID", "IDEMPOTENCY_CONFLICT"),
    examples=(
        {
            "bundle_id": "bnd_0123456789abcdef01234567",
            "reason": "the gate passed, and the error is smaller",
            "idempotency_key": "promote-1",
        },
    ),
    room="registry",
)
ROLLBACK_BUNDLE: Final = Contract(
    name="rollback_bundle",
    version="0.1.0",
    title="Roll a scope back",
    description=(
        "Let the bundle answer again that was ACTIVE in a scope before, or a named one of those; where there was none, "
        "nothing is ACTIVE then. With retire the bundle it goes away from can never be ACTIVE again. Every move is an "
        "event; forecasts that were made stay as they are."
    ),
    arguments=RollbackBundleArguments,
    result=ScopeChangeAnswer,
    effect="command",
    errors=("NOT_FOUND", "REGISTRY_CONFLICT", "ARTIFACT_CORRUPT", "EVIDENCE_INVALID", "IDEMPOTENCY_CONFLICT"),
    examples=({"reason": "its forecasts came out too low", "idempotency_key": "rollback-1"},),
    destructive=True,
    room="registry",
)
