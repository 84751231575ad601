"""Changes of the registry: publish, sign, approve, promote, roll back, retire; each one event, one transaction.

A change that already holds makes no second event. What is refused is raised before anything is written; a promotion
that the policy rejects is an event of its own and a result, so that the record outlives the refusal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from sqlalchemy import Connection

from mcp_forecast_engine.errors import RegistryConflict
from mcp_forecast_engine.registry import bundles, events
from mcp_forecast_engine.registry.active import Active, active, move, require_unmoved, scopes_of
from mcp_forecast_engine.registry.bundles import Bundle, BundleRef
from mcp_forecast_engine.registry.events import Event, Order
from mcp_forecast_engine.registry.history import behind, history_of
from mcp_forecast_engine.registry.judgements import weigh
from mcp_forecast_engine.registry.policy import misfits
from mcp_forecast_engine.registry.scope import Scope


@dataclass(frozen=True)
class Publication:
    """A bundle on record and the event that published it, now or before."""

    status: Literal["PUBLISHED", "ALREADY_PUBLISHED"]
    bundle: Bundle
    event: Event


@dataclass(frozen=True)
class Change:
    """How a scope stands after a change was asked for. active, before: what is ACTIVE now, and what was; None: nothing.

    changed: False where it held already, or was rejected (reason_codes say why); token: the scope's last move; events:
    those this change made, in order; warnings: what whoever promoted has to know, which its event says too.
    """

    scope: Scope
    changed: bool
    active: BundleRef | None
    before: BundleRef | None
    token: int
    events: tuple[Event, ...] = ()
    reason_codes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def rejected(self) -> bool:
        """Whether the policy said no, which is on record as an event."""
        return bool(self.reason_codes)


def publish(connection: Connection, scope: Scope, bundle: Bundle, order: Order) -> Publication:
    """Put a bundle on record, once per id and version; it is not ACTIVE by that.

    scope: what it was made for. Raises DataInvalid for a record that says too little, RegistryConflict where another
    one has this id and version.
    """
    bundles.require_whole(bundle)
    present = bundles.find(connection, bundle.ref)
    if present is None:
        event = events.append(connection, "BUNDLE_PUBLISHED", scope, order.adding(bundle=bundle.to_dict()), bundle.ref)
        bundles.enter(connection, bundle, seq=event.seq, at=event.at)
        return Publication("PUBLISHED", bundle, event)
    if present != bundle:
        found, sent = present.to_dict(), bundle.to_dict()
        raise RegistryConflict(
            f"{bundle.ref} is published already, with another {', '.join(n for n in found if found[n] != sent[n])}",
            field="bundle_id", allowed=present.manifest, reason="PUBLISH_CONFLICT",
            next_step="a published bundle never changes: publish the other content under its own version",
        )  # fmt: skip
    return Publication("ALREADY_PUBLISHED", present, _first(connection, "BUNDLE_PUBLISHED", bundle.ref))


def sign(connection: Connection, scope: Scope, ref: BundleRef, order: Order, *, key: str, signature: str) -> Event:
    """Enter the signature of a published bundle, once a key. signature: digest of its bytes. Raises NotFound."""
    bundle = bundles.get(connection, ref)
    same = (one for one in events.signatures(connection, ref) if one.evidence["key"] == key)
    order = order.adding(key=key, signature=signature)
    return next(same, None) or events.append(connection, "BUNDLE_SIGNED", scope, order, bundle.ref)


def approve(connection: Connection, scope: Scope, ref: BundleRef, order: Order) -> Event:
    """Enter that an actor approves of a bundle in a scope, once. Raises NotFound, RegistryConflict.

    No tool calls it: the policy that comes with the engine asks for no approvals, and who embeds the engine with one
    that does (`RegistryPolicy.approvals`) says who may approve.
    """
    bundle = bundles.get(connection, ref)
    if is_retired(connection, ref):
        raise _retired(ref)
    mine = (one for one in events.approvals(connection, scope, ref) if one.actor == order.actor)
    return next(mine, None) or events.append(connection, "BUNDLE_APPROVED", scope, order, bundle.ref)


def promote(
    connection: Connection, scope: Scope, ref: BundleRef, order: Order, *, expected_token: int | None = None
) -> Change:
    """Let a published bundle be the ACTIVE one of a scope; the policy's no is an event and a result.

    expected_token: the token under which this was decided; None: whatever is ACTIVE. Raises NotFound, and
    RegistryConflict where the scope has moved since.
    """
    bundle, now = bundles.get(connection, ref), active(connection, scope)
    require_unmoved(connection, scope, now, expected_token)
    if now.ref == ref:
        return Change(scope, False, ref, ref, now.token)
    weighed = weigh(connection, scope, ref, now, order.policy)
    order = order.adding(warnings=list(weighed.warnings)) if weighed.warnings else order
    codes = (*_against(connection, scope, bundle, now, order), *weighed.codes)
    if codes:
        rejection = events.append(
            connection, "PROMOTION_REJECTED", scope, order.adding(reason_codes=list(codes)), ref, now.ref
        )
        return Change(scope, False, now.ref, now.ref, now.token, (rejection,), codes, weighed.warnings)
    event = events.append(connection, "BUNDLE_PROMOTED_ACTIVE", scope, order, ref, now.ref)
    move(connection, event)
    return Change(scope, True, ref, now.ref, event.seq, (event,), warnings=weighed.warnings)


def rollback(
    connection: Connection,
    scope: Scope,
    order: Order,
    *,
    to: BundleRef | None = None,
    retire_it: bool = False,
    expected_token: int | None = None,
    looked_at: Collection[BundleRef] | None = None,
) -> Change:
    """Go back to what was ACTIVE before, or to a named one of those; the scope is empty where there was nothing.

    retire_it: the bundle that is rolled away from is never to be ACTIVE again. expected_token: as in promote.
    looked_at: bundles whose files were read before this command: no other becomes ACTIVE by it; None: any may. Raises
    NotFound, RegistryConflict.
    """
    now = active(connection, scope)
    require_unmoved(connection, scope, now, expected_token)
    if now.ref == to:
        return Change(scope, False, to, to, now.token)
    target = way_back(connection, scope, to)
    if retire_it and now.ref is not None:
        _require_idle(connection, now.ref, but=scope)
    if target is not None and looked_at is not None and target not in looked_at:
        raise _moved_meanwhile(scope, target, now.token)
    event = events.append(connection, "BUNDLE_ROLLED_BACK", scope, order, target, now.ref)
    move(connection, event)
    gone = retire(connection, scope, now.ref, order) if retire_it and now.ref is not None else None
    return Change(scope, True, target, now.ref, event.seq, (event, gone) if gone else (event,))


def way_back(connection: Connection, scope: Scope, to: BundleRef | None = None) -> BundleRef | None:
    """What a rollback of a scope goes back to: `to`, where it was ACTIVE before, else the nearest, None: nothing.

    Raises NotFound, RegistryConflict.
    """
    ahead = ways_back(connection, scope)
    if to is not None and to not in ahead:
        bundles.get(connection, to)
        raise _not_behind(scope, to, ahead)
    return to or next(iter(ahead), None)


def ways_back(connection: Connection, scope: Scope) -> list[BundleRef]:
    """All that a rollback of a scope can go back to, the nearest first."""
    history = history_of(events.moves(connection, scope))
    return list(behind(history, partial(is_retired, connection)))


def retire(connection: Connection, scope: Scope, ref: BundleRef, order: Order) -> Event:
    """Let a bundle never be ACTIVE again, in any scope. Raises NotFound, RegistryConflict."""
    bundle = bundles.get(connection, ref)
    _require_idle(connection, ref)
    present = events.first(connection, "BUNDLE_RETIRED", ref)
    return present or events.append(connection, "BUNDLE_RETIRED", scope, order, bundle.ref)


def is_retired(connection: Connection, ref: BundleRef) -> bool:
    """Whether a bundle may no longer become ACTIVE."""
    return events.first(connection, "BUNDLE_RETIRED", ref) is not None


def _against(connection: Connection, scope: Scope, bundle: Bundle, now: Active, order: Order) -> tuple[str, ...]:
    """What the policy has against a promotion, in one order."""
    policy, able = order.policy, bundle.capabilities
    unfit = () if now.bundle is None else misfits(policy.promotion, able, now.bundle.capabilities)
    contract = able.get("input_contract_version")
    found = (
        ("GATE_FAIL", bundle.gate_decision != "PASS"),
        ("BUNDLE_RETIRED", is_retired(connection, bundle.ref)),
        ("APPROVAL_MISSING", len(events.approvals(connection, scope, bundle.ref)) < policy.approvals),
        ("CAPABILITY_MISMATCH:input_contract_version", contract not in policy.input_contracts),
    )
    return (*(code for code, holds in found if holds), *(f"CAPABILITY_MISMATCH:{name}" for name in unfit))


def _require_idle(connection: Connection, ref: BundleRef, *, but: Scope | None = None) -> None:
    busy = [str(scope) for scope in scopes_of(connection, [ref])[ref] if scope != but]
    if busy:
        raise RegistryConflict(
            f"{ref} is ACTIVE in {', '.join(busy)}, so it cannot be retired", field="bundle_id",
            allowed="a bundle that is ACTIVE nowhere", reason="BUNDLE_STILL_ACTIVE",
            next_step="promote another bundle there, or roll back, then retire it",
        )  # fmt: skip


def _first(connection: Connection, event_type: events.EventType, ref: BundleRef) -> Event:
    event = events.first(connection, event_type, ref)
    if event is None:
        raise RegistryConflict(
            f"no event of the registry explains {ref}", reason="REGISTRY_EVENT_INVALID",
            next_step=_BY_HAND,
        )  # fmt: skip
    if event.event_id != event.name_from_content():
        raise RegistryConflict(
            f"event {event.seq} about {ref} is not what it was: its content has another name than {event.event_id}",
            reason="REGISTRY_EVENT_IMMUTABILITY_VIOLATION", allowed=event.name_from_content(), next_step=_BY_HAND,
        )  # fmt: skip
    return event


_BY_HAND: Final = "the database was changed by hand: restore a backup, and see mcp-forecast audit verify"


def _moved_meanwhile(scope: Scope, target: BundleRef, token: int) -> RegistryConflict:
    return RegistryConflict(
        f"scope {scope} moved while its bundle was being checked: it goes back to {target} now, of which nothing was "
        "read", field="expected_token", allowed=token, reason="TOKEN_STALE",
        next_step="list_bundles shows what happened; make the same call again if it is still right",
    )  # fmt: skip


def _not_behind(scope: Scope, to: BundleRef, instead: Iterable[BundleRef]) -> RegistryConflict:
    return RegistryConflict(
        f"{to} is none that scope {scope} can be rolled back to", field="to", reason="BUNDLE_NOT_BEHIND",
        allowed=[str(ref) for ref in instead],
        next_step="name one of these, or none for the nearest; promote_bundle brings any other bundle forward",
    )  # fmt: skip


def _retired(ref: BundleRef) -> RegistryConflict:
    return RegistryConflict(
        f"{ref} is retired", field="bundle_id", allowed="a bundle that is not retired", reason="BUNDLE_RETIRED",
        next_step="list_bundles shows the others",
    )  # fmt: skip
