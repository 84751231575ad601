"""The registry's tools: publish a run as a bundle, list bundles and events, promote one, roll a scope back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from mcp_forecast.calls.tool import Call, Outcome, Tool
from mcp_forecast.errors import Refusal
from mcp_forecast.tools.cursor import ROW, listing_of, read_cursor
from mcp_forecast.tools.length import ROOM
from mcp_forecast.tools.links import time_text
from mcp_forecast.tools.page import page_of
from mcp_forecast.tools.scope import scope_of, scope_or_none
from mcp_forecast_contracts.bundles import (
    LIST_BUNDLES,
    PROMOTE_BUNDLE,
    PUBLISH_BUNDLE,
    ROLLBACK_BUNDLE,
    ListBundlesArguments,
    PromoteBundleArguments,
    PublishBundleArguments,
    RollbackBundleArguments,
)
from mcp_forecast_engine.registry import active, bundles, events, lifecycle, listing
from mcp_forecast_engine.registry.bundles import Bundle, BundleRef
from mcp_forecast_engine.registry.events import Event, Order
from mcp_forecast_engine.registry.lifecycle import Change
from mcp_forecast_engine.registry.listing import BundleFilter, Listed
from mcp_forecast_engine.registry.scope import SCOPE_COLUMNS, Scope

if TYPE_CHECKING:
    from mcp_forecast.app import App
    from mcp_forecast_engine.registry.policy import RegistryPolicy
    from mcp_forecast_engine.registry.shelf import Draft
    from mcp_forecast_engine.runtime.run import Run

MOST_SCOPES: Final = 50
REST: Final = 1_500  # characters of a listing besides its page
_SERVE: Final = "run_inference without run_id and bundle_id is now served by what is ACTIVE in its scope"
_EMPTY: Final = (
    "nothing is ACTIVE in its scope any more: run_inference there is answered by the fallback slot or refused; "
    "promote_bundle fills it"
)
_NEXT: Final = {
    "PROMOTED": _SERVE,
    "ROLLED_BACK": _SERVE,
    "UNCHANGED": "nothing had to be done",
    "REJECTED": "read reason_codes: publish a bundle that can do what the ACTIVE one does, or use another slot",
}
_OTHER_PROFILE: Final = "train with a governance_profile that {environment} accepts ({accepted}), publish, promote that"
_COMPARABLE: Final = (
    "let it be compared with what is ACTIVE: run_training with {call}, publish, and promote that; a model for another "
    "question belongs into another slot"
)

_INCOMPARABLE: Final = (
    "it was to be compared with what is ACTIVE and could not be ({why}), and the same call is the same run: train on "
    "data or with test_windows that let it be, or use another slot, or rollback_bundle until nothing is ACTIVE there"
)
_BEHIND: Final = "it was ACTIVE there before what is now: rollback_bundle with {call} lets it answer again"


def package(app: App, call: Call, request: PublishBundleArguments) -> Draft:
    """Read, check and package every file of the run."""
    return app.engine.shelf.prepare(request.run_id)


def publish(app: App, call: Call, request: PublishBundleArguments, draft: Draft, connection: Connection) -> Outcome:
    """Put the bundle on record, or note that the storage failed."""
    made = app.engine.shelf.publish(connection, draft, _order(app, call, "published"))
    answer: dict[str, Any] = {"status": made.status, "run_id": request.run_id}
    if made.bundle is None or made.event is None:
        told = {"attempts_left": made.attempts_left, "error": draft.failure}
        return Outcome({**answer, **told, "next_step": str((made.run.error or {})["next_step"])})
    bundle = made.bundle
    files = 0 if draft.packaged is None else len(draft.packaged.document["files"])
    told = {
        **bundle.ref._asdict(), "manifest": bundle.manifest, "files": files, "registry_event_id": made.event.event_id,
        "next_step": f"promote_bundle with bundle_id {bundle.bundle_id}; list_bundles tells the scope's token",
    }  # fmt: skip
    happened = (made.event,) if made.signed is None else (made.event, made.signed)
    return Outcome({**answer, **told}, {**_bundle_refs(bundle), **_event_refs(happened)})


def published_or_retried(app: App, connection: Connection, stored: dict[str, Any]) -> dict[str, Any] | None:
    """The stored answer; None where the storage had failed, so that the same call tries again."""
    return None if stored["status"] == "PUBLISH_PENDING" else stored


def whole(app: App, call: Call, request: PromoteBundleArguments) -> Bundle:
    """The bundle, all of whose files are as they were packaged."""
    return app.engine.shelf.verified(request.bundle_id, request.version)


def promote(app: App, call: Call, request: PromoteBundleArguments, bundle: Bundle, connection: Connection) -> Outcome:
    """Let it be the ACTIVE one of the scope, unless the policy says no."""
    order = _order(app, call, request.reason)
    change = lifecycle.promote(
        connection, scope_of(app, request), bundle.ref, order, expected_token=request.expected_token
    )
    made = _changed(change, "PROMOTED", _bundle_refs(bundle))
    step = _step_after(app, connection, change, bundle, order.policy)
    return made if step is None else replace(made, result={**made.result, "next_step": step})


def _step_after(app: App, connection: Connection, change: Change, bundle: Bundle, policy: RegistryPolicy) -> str | None:
    """What helps where the policy said no for a reason of its own; None: the usual sentence."""
    environment = change.scope.environment
    if "PROFILE_NOT_ACCEPTED" in change.reason_codes:
        accepted = ", ".join(policy.accepted_profiles(environment) or ())
        return _OTHER_PROFILE.format(environment=environment, accepted=accepted)
    if "ACTIVE_NOT_COMPARED" not in change.reason_codes or change.active is None:
        return None
    place = change.scope.to_dict()
    if bundle.ref in lifecycle.ways_back(connection, change.scope):
        return _BEHIND.format(call=json.dumps({"to": str(bundle.ref), **place}))
    mine, theirs = (app.engine.run(connection, one.run_id) for one in (bundle, bundles.get(connection, change.active)))
    same, tried = {"horizon": theirs.plan["horizon"]}, mine.plan["request"]["champion"] == str(change.active)
    if tried and mine.plan["horizon"] == same["horizon"]:  # the same call would be the same run
        return _INCOMPARABLE.format(why=_why_uncompared(app, mine))
    return _COMPARABLE.format(call=json.dumps({**mine.plan["asked"], **same, **place}))


def _why_uncompared(app: App, run: Run) -> str:
    """What its gate says of the comparison that it could not make."""
    rules = app.engine.documents.trained(run)["gate"]["rules"]
    return next((rule["why"] for rule in rules if not rule.get("compared", True)), "no rule of its gate asked for it")


def whole_behind(app: App, call: Call, request: RollbackBundleArguments) -> BundleRef | None:
    """What it goes back to as the scope stands now, looked at as before a promotion."""
    return app.engine.shelf.verified_behind(scope_of(app, request), request.to, request.expected_token)


def roll_back(
    app: App, call: Call, request: RollbackBundleArguments, prepared: BundleRef | None, connection: Connection
) -> Outcome:
    """Let the scope go back, unless it moved since what it goes back to was looked at."""
    to = None if request.to is None else bundles.read_ref(connection, request.to)
    change = lifecycle.rollback(
        connection, scope_of(app, request), _order(app, call, request.reason), to=to, retire_it=request.retire,
        expected_token=request.expected_token, looked_at=() if prepared is None else (prepared,),
    )  # fmt: skip
    return _changed(change, "ROLLED_BACK", {} if change.active is None else {"bundle_id": change.active.bundle_id})


def bundles_page(app: App, call: Call, request: ListBundlesArguments) -> Outcome:
    """One page of bundles or events, and what is ACTIVE."""
    scope = scope_or_none(app, request)
    with app.database.read() as connection:
        standing = {one: found for one, found in active.rows(connection).items() if scope in (None, one)}
        page = _events_page if request.view == "events" else _bundles_page
        found = page(connection, request, scope)
    lines = [
        {"scope": str(one), **({} if ref is None else {"bundle": str(ref)}), "token": token}
        for one, (ref, token) in sorted(standing.items(), key=lambda item: str(item[0]))
    ]
    return Outcome({**found, "active": lines[:MOST_SCOPES], "active_total": len(lines)})


def _bundles_page(connection: Connection, request: ListBundlesArguments, scope: Scope | None) -> dict[str, Any]:
    which = BundleFilter(bundle_id=request.bundle_id, run_id=request.run_id, state=request.state, scope=scope)
    name = listing_of("bundles", bundle_id=request.bundle_id, run_id=request.run_id, state=request.state, scope=scope)
    after = read_cursor(name, request.cursor, ROW)
    found = listing.page(connection, which, after=after, limit=request.limit + 1)
    lines, positions = [_bundle(one, request.tenant) for one in found[: request.limit]], [one.seq for one in found]
    page = page_of("bundles", lines, listing=name, positions=positions, room=ROOM[request.response_format] - REST)
    return {**page, "total": listing.total(connection, which)}


def _events_page(connection: Connection, request: ListBundlesArguments, scope: Scope | None) -> dict[str, Any]:
    for field in ("state", "run_id"):
        if getattr(request, field) is not None:
            raise Refusal(
                "INVALID_ARGUMENTS", f"{field} is a filter of bundles, and view is events", field=field,
                allowed=["bundle_id", *SCOPE_COLUMNS], next_step="leave it out, or leave view out",
            )  # fmt: skip
    ref = None if request.bundle_id is None else bundles.named(connection, request.bundle_id).ref
    name = listing_of("events", bundle=ref, scope=scope)
    after = read_cursor(name, request.cursor, ROW)
    found = events.page(connection, scope=scope, bundle=ref, after=after, limit=request.limit + 1)
    detailed = request.response_format == "detailed"
    lines = [_event(one, detailed=detailed) for one in found[: request.limit]]
    positions, room = [one.seq for one in found], ROOM[request.response_format] - REST
    return page_of("events", lines, listing=name, positions=positions, room=room)


def _order(app: App, call: Call, reason: str) -> Order:
    """Who asks, when and why; the call's own entry in the log is its evidence."""
    source: events.SourceType = "HUMAN" if call.caller.door == "cli" else "SYSTEM"
    evidence = {"request_id": call.request_id}
    return Order(call.caller.id, call.at, source, reason, evidence, policy=app.engine.registry_policy)


def _changed(change: Change, done: str, refs: dict[str, str]) -> Outcome:
    status = done if change.changed else "REJECTED" if change.rejected else "UNCHANGED"
    named = {"active": change.active, "before": change.before}
    answer = {
        "status": status, "scope": str(change.scope), "token": change.token,
        **{name: str(ref) for name, ref in named.items() if ref is not None},
        **({"reason_codes": list(change.reason_codes)} if change.rejected else {}),
        "registry_event_ids": [one.event_id for one in change.events],
        "next_step": _EMPTY if change.changed and change.active is None else _NEXT[status],
    }  # fmt: skip
    before = {} if change.before is None else {"before_bundle_id": change.before.bundle_id}
    return Outcome(answer, {**refs, **before, **_event_refs(change.events)}, change.warnings)


def _bundle(one: Listed, tenant: str | None) -> dict[str, Any]:
    told = one.bundle.to_dict()
    return {
        **{name: told[name] for name in ("bundle_id", "version", "run_id", "manifest")},
        "compatibility": dict(one.bundle.compatibility), "state": one.state,
        "made_for": one.judgement.made_for.told_to(tenant), **one.judgement.told(),
        "active_in": [str(scope) for scope in one.active_in], "published_at": time_text(one.published_at),
    }  # fmt: skip


def _event(event: Event, *, detailed: bool = False) -> dict[str, Any]:
    named = {"bundle": event.bundle, "before": event.before}
    return {
        "seq": event.seq, "registry_event_id": event.event_id, "event_type": event.event_type,
        "scope": str(event.scope), **{name: str(ref) for name, ref in named.items() if ref is not None},
        "actor": event.actor, "source_type": event.source_type, "reason": event.reason,
        **({"reason_codes": list(event.reason_codes)} if event.reason_codes else {}), "at": time_text(event.at),
        **({"details": {"evidence": event.evidence, "policy_rev": event.policy_rev}} if detailed else {}),
    }  # fmt: skip


def _bundle_refs(bundle: Bundle) -> dict[str, str]:
    return {"bundle_id": bundle.bundle_id, "bundle": bundle.manifest, "run_id": bundle.run_id}


def _event_refs(made: tuple[Event, ...]) -> dict[str, str]:
    return {f"registry_event_id{f'_{at}' if at else ''}": event.event_id for at, event in enumerate(made)}


REGISTRY_TOOLS: Final = (
    Tool(PUBLISH_BUNDLE, prepare=package, commit=publish, replay=published_or_retried),
    Tool(LIST_BUNDLES, read=bundles_page, short=False),
    Tool(PROMOTE_BUNDLE, prepare=whole, commit=promote),
    Tool(ROLLBACK_BUNDLE, prepare=whole_behind, commit=roll_back),
)
