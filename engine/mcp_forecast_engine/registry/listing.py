"""Bundles as they are looked through: newest first, by what they are and where they are ACTIVE."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, exists, func, not_, select, tuple_

from mcp_forecast_engine.registry.active import ACTIVE, scopes_of
from mcp_forecast_engine.registry.bundles import BUNDLE, Bundle, BundleRef, read_bundle
from mcp_forecast_engine.registry.events import EVENT
from mcp_forecast_engine.registry.judgements import Judgement, judgements
from mcp_forecast_engine.registry.scope import SCOPE_COLUMNS, Scope

BundleState = Literal["PUBLISHED", "ACTIVE", "RETIRED"]


@dataclass(frozen=True)
class BundleFilter:
    """Which bundles to list; None: all. scope: those that an event of this scope is about."""

    bundle_id: str | None = None
    kind: str | None = None
    run_id: str | None = None
    state: BundleState | None = None
    scope: Scope | None = None

    @property
    def named(self) -> frozenset[str]:
        """What is filtered by."""
        return frozenset(name for name in vars(self) if getattr(self, name) is not None)

    @property
    def values(self) -> dict[str, str]:
        """The bound values of the statement."""
        texts = {f"of_{name}": str(getattr(self, name)) for name in self.named & {"bundle_id", "kind", "run_id"}}
        places = {} if self.scope is None else {f"the_{name}": text for name, text in self.scope.columns.items()}
        return texts | places


ALL: Final = BundleFilter()


@dataclass(frozen=True)
class Listed:
    """A bundle and how it stands. seq: its place in listings; published_at: seconds since 1970, UTC."""

    bundle: Bundle
    seq: int
    published_at: float
    retired: bool
    active_in: tuple[Scope, ...]
    judgement: Judgement

    @property
    def state(self) -> BundleState:
        """RETIRED, ACTIVE somewhere, or just PUBLISHED."""
        return "RETIRED" if self.retired else "ACTIVE" if self.active_in else "PUBLISHED"


def page(
    connection: Connection, which: BundleFilter = ALL, *, after: int | None = None, limit: int = 20
) -> list[Listed]:
    """Published bundles, newest first. `after`: seq of the last one of the page before."""
    statement = _page(which.named, which.state, after is not None)
    values: dict[str, Any] = {**which.values, "most": limit}
    rows = connection.execute(statement, values if after is None else {**values, "last_seq": after}).mappings().all()
    found = [(read_bundle(row), int(row["seq"]), float(row["published_at"])) for row in rows]
    refs = [bundle.ref for bundle, _, _ in found]
    held, gone, made = scopes_of(connection, refs), _retired(connection, refs), judgements(connection, refs)
    return [
        Listed(bundle, seq, at, bundle.ref in gone, held[bundle.ref], made[bundle.ref]) for bundle, seq, at in found
    ]


def total(connection: Connection, which: BundleFilter = ALL) -> int:
    """How many bundles the filter leaves."""
    statement = select(func.count()).select_from(BUNDLE).where(*_conditions(which.named, which.state))
    return int(connection.execute(statement, which.values).scalar_one())


@cache
def _page(named: frozenset[str], state: BundleState | None, onwards: bool) -> Select[Any]:
    statement = select(BUNDLE).where(*_conditions(named, state))
    statement = statement.where(BUNDLE.c.seq < bindparam("last_seq")) if onwards else statement
    return statement.order_by(BUNDLE.c.seq.desc()).limit(bindparam("most"))


def _conditions(named: frozenset[str], state: BundleState | None) -> list[ColumnElement[bool]]:
    texts = [BUNDLE.c[name] == bindparam(f"of_{name}") for name in sorted(named & {"bundle_id", "kind", "run_id"})]
    places = [exists().where(_SAME_AS_EVENT, *_PLACE)] if "scope" in named else []
    return [*texts, *places, *(_STANDS[state] if state is not None else ())]


def _retired(connection: Connection, refs: Collection[BundleRef]) -> set[BundleRef]:
    rows = connection.execute(_RETIRED, {"refs": [tuple(ref) for ref in refs]})
    return {BundleRef(row.bundle_id, row.version) for row in rows}


_SAME_AS_EVENT: Final = and_(EVENT.c.bundle_id == BUNDLE.c.bundle_id, EVENT.c.version == BUNDLE.c.version)
_PLACE: Final = tuple(EVENT.c[name] == bindparam(f"the_{name}") for name in SCOPE_COLUMNS)
_IS_RETIRED: Final = exists().where(_SAME_AS_EVENT, EVENT.c.event_type == "BUNDLE_RETIRED")
_IS_ACTIVE: Final = exists().where(ACTIVE.c.bundle_id == BUNDLE.c.bundle_id, ACTIVE.c.version == BUNDLE.c.version)
_STANDS: Final[dict[BundleState, tuple[ColumnElement[bool], ...]]] = {
    "RETIRED": (_IS_RETIRED,),
    "ACTIVE": (_IS_ACTIVE,),
    "PUBLISHED": (not_(_IS_RETIRED), not_(_IS_ACTIVE)),
}
_RETIRED: Final = select(EVENT.c.bundle_id, EVENT.c.version).where(
    EVENT.c.event_type == "BUNDLE_RETIRED",
    tuple_(EVENT.c.bundle_id, EVENT.c.version).in_(bindparam("refs", expanding=True)),
)
