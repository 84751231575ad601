"""What happened in the registry: numbered without gaps, never changed, each named by the digest of its content."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, Literal, get_args

from sqlalchemy import Connection, RowMapping, Select, Table, bindparam, func, insert, select

from mcp_forecast_engine.registry.bundles import BundleRef
from mcp_forecast_engine.registry.policy import RegistryPolicy, default_policy
from mcp_forecast_engine.registry.scope import SCOPE_COLUMNS, Scope, read_scope
from mcp_forecast_engine.store.identity import canonical_bytes, digest, short_id
from mcp_forecast_engine.store.tables import RegistryEventRow, table_of

EVENT: Final[Table] = table_of(RegistryEventRow)
EVENT_RECIPE: Final = "registry_event.v1"
EventType = Literal[
    "BUNDLE_PUBLISHED", "BUNDLE_APPROVED", "BUNDLE_PROMOTED_ACTIVE", "BUNDLE_ROLLED_BACK", "BUNDLE_RETIRED",
    "PROMOTION_REJECTED", "BUNDLE_SIGNED",
]  # fmt: skip
EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)
MOVES: Final[tuple[EventType, ...]] = ("BUNDLE_PROMOTED_ACTIVE", "BUNDLE_ROLLED_BACK")  # what is ACTIVE changes
SourceType = Literal["HUMAN", "SYSTEM"]

_IN_SCOPE: Final = tuple(EVENT.c[name] == bindparam(f"the_{name}") for name in SCOPE_COLUMNS)
_OF_BUNDLE: Final = (EVENT.c.bundle_id == bindparam("the_bundle"), EVENT.c.version == bindparam("the_version"))
_INSERT: Final = insert(EVENT).returning(*EVENT.c)
_NEWEST: Final = select(func.max(EVENT.c.seq))
_ALL: Final = select(EVENT).order_by(EVENT.c.seq)
_MOVES: Final = (
    select(EVENT.c.event_type, EVENT.c.bundle_id, EVENT.c.version)
    .where(*_IN_SCOPE, EVENT.c.event_type.in_(MOVES))
    .order_by(EVENT.c.seq)
)
_FIRST: Final = (
    select(EVENT).where(*_OF_BUNDLE, EVENT.c.event_type == bindparam("the_type")).order_by(EVENT.c.seq).limit(1)
)
_SIGNATURES: Final = select(EVENT).where(*_OF_BUNDLE, EVENT.c.event_type == "BUNDLE_SIGNED").order_by(EVENT.c.seq)
_APPROVALS: Final = (
    select(EVENT).where(*_OF_BUNDLE, *_IN_SCOPE, EVENT.c.event_type == "BUNDLE_APPROVED").order_by(EVENT.c.seq)
)


@dataclass(frozen=True)
class Order:
    """Who asks for a change, when (seconds since 1970, UTC), why, on what evidence, and under which policy.

    evidence: JSON values, refs to artifacts among them; it is kept with the event.
    """

    actor: str
    at: float
    source_type: SourceType = "SYSTEM"
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    policy: RegistryPolicy = field(default_factory=default_policy)

    def adding(self, **evidence: Any) -> Order:
        """The same order with more evidence."""
        return replace(self, evidence={**self.evidence, **evidence})


@dataclass(frozen=True)
class Event:
    """One event as it stands. bundle: what it is about, after a move what is ACTIVE (None: nothing); before: from what.

    seq is its place among all events of a home, from 1 without gaps: the token of what it made.
    """

    seq: int
    event_id: str
    event_type: EventType
    scope: Scope
    bundle: BundleRef | None
    before: BundleRef | None
    actor: str
    source_type: SourceType
    reason: str
    evidence: Mapping[str, Any]
    policy_rev: Mapping[str, str]
    at: float

    @property
    def reason_codes(self) -> tuple[str, ...]:
        """Why a promotion was rejected; empty for other events."""
        return tuple(self.evidence.get("reason_codes", ())) if self.event_type == "PROMOTION_REJECTED" else ()

    def content(self) -> dict[str, Any]:
        """Everything but its name, as JSON values."""
        return {
            "seq": self.seq, "event_type": self.event_type, "scope": self.scope.to_dict(),
            "bundle": self.bundle and self.bundle._asdict(), "from": self.before and self.before._asdict(),
            "actor": self.actor, "source_type": self.source_type, "reason": self.reason, "evidence": self.evidence,
            "policy_rev": self.policy_rev, "at": self.at,
        }  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The event as a document."""
        return {"schema_version": EVENT_RECIPE, "registry_event_id": self.event_id, **self.content()}

    def name_from_content(self) -> str:
        """The name that an event of this content has."""
        return short_id("rev", digest(EVENT_RECIPE, self.content()))


def append(
    connection: Connection,
    event_type: EventType,
    scope: Scope,
    order: Order,
    bundle: BundleRef | None,
    before: BundleRef | None = None,
) -> Event:
    """Add one event; the caller's transaction commits it with everything else, or not at all.

    Commands are one at a time in a home, so that the next number can be read here and no gap is left.
    """
    nameless = Event(
        seq=newest(connection) + 1, event_id="", event_type=event_type, scope=scope, bundle=bundle, before=before,
        actor=order.actor, source_type=order.source_type, reason=order.reason, evidence=order.evidence,
        policy_rev=order.policy.stamp, at=round(order.at, 6),
    )  # fmt: skip
    event = replace(nameless, event_id=nameless.name_from_content())
    return read_event(connection.execute(_INSERT, _row(event)).mappings().one())


def newest(connection: Connection) -> int:
    """The number of the newest event, 0 where there is none."""
    return int(connection.execute(_NEWEST).scalar() or 0)


def first(connection: Connection, event_type: EventType, bundle: BundleRef) -> Event | None:
    """The first event of this type about a bundle, in any scope, or None."""
    row = connection.execute(_FIRST, {**_bundle(bundle), "the_type": event_type}).mappings().one_or_none()
    return None if row is None else read_event(row)


def approvals(connection: Connection, scope: Scope, bundle: BundleRef) -> list[Event]:
    """The approvals of a bundle in this scope, one of each actor."""
    rows = connection.execute(_APPROVALS, {**_bundle(bundle), **_scope(scope)}).mappings()
    return [read_event(row) for row in rows]


def signatures(connection: Connection, bundle: BundleRef) -> list[Event]:
    """The signatures of a bundle, one of each key; evidence names the key and the signature's digest."""
    return [read_event(row) for row in connection.execute(_SIGNATURES, _bundle(bundle)).mappings()]


def moves(connection: Connection, scope: Scope) -> list[tuple[EventType, BundleRef | None]]:
    """The types of the events that changed what is ACTIVE in a scope, and what that was then, oldest first."""
    return [(row.event_type, _ref(row.bundle_id, row.version)) for row in connection.execute(_MOVES, _scope(scope))]


def every(connection: Connection) -> Iterator[Event]:
    """All events, oldest first."""
    return (read_event(row) for row in connection.execute(_ALL).mappings())


def page(
    connection: Connection,
    *,
    scope: Scope | None = None,
    bundle: BundleRef | None = None,
    after: int | None = None,
    limit: int = 20,
) -> list[Event]:
    """Events newest first, of one scope or about one bundle if named. `after`: the last seq of the page before."""
    values: dict[str, Any] = {"most": limit} | (_scope(scope) if scope else {}) | (_bundle(bundle) if bundle else {})
    statement = _page(scope is not None, bundle is not None, after is not None)
    rows = connection.execute(statement, values if after is None else {**values, "last_seq": after})
    return [read_event(row) for row in rows.mappings()]


def read_event(row: RowMapping) -> Event:
    """An event from a row of the table `registry_event`."""
    plain = {name: row[name] for name in ("seq", "event_id", "event_type", "actor", "source_type", "reason", "at")}
    return Event(
        **plain, scope=read_scope(row), bundle=_ref(row["bundle_id"], row["version"]),
        before=_ref(row["from_bundle_id"], row["from_version"]), evidence=json.loads(row["evidence"]),
        policy_rev=json.loads(row["policy_rev"]),
    )  # fmt: skip


@cache
def _page(in_scope: bool, of_bundle: bool, onwards: bool) -> Select[Any]:
    statement = select(EVENT).order_by(EVENT.c.seq.desc()).limit(bindparam("most"))
    statement = statement.where(*_IN_SCOPE) if in_scope else statement
    statement = statement.where(*_OF_BUNDLE) if of_bundle else statement
    return statement.where(EVENT.c.seq < bindparam("last_seq")) if onwards else statement


def _row(event: Event) -> dict[str, Any]:
    bundle, before = event.bundle or (None, None), event.before or (None, None)
    return {
        "seq": event.seq, "event_id": event.event_id, "event_type": event.event_type, **event.scope.columns,
        "bundle_id": bundle[0], "version": bundle[1], "from_bundle_id": before[0], "from_version": before[1],
        "actor": event.actor, "source_type": event.source_type, "reason": event.reason,
        "evidence": canonical_bytes(event.evidence).decode(), "policy_rev": canonical_bytes(event.policy_rev).decode(),
        "at": event.at,
    }  # fmt: skip


def _scope(scope: Scope) -> dict[str, str]:
    return {f"the_{name}": text for name, text in scope.columns.items()}


def _bundle(bundle: BundleRef) -> dict[str, str]:
    return {"the_bundle": bundle.bundle_id, "the_version": bundle.version}


def _ref(bundle_id: str | None, version: str | None) -> BundleRef | None:
    return None if bundle_id is None or version is None else BundleRef(bundle_id, version)
