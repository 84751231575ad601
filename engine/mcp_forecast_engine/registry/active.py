"""What is ACTIVE now: at most one bundle in a scope, and the number of the event that made it so."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table, bindparam, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from mcp_forecast_engine.errors import RegistryConflict
from mcp_forecast_engine.registry import events
from mcp_forecast_engine.registry.bundles import BUNDLE, Bundle, BundleRef, read_bundle
from mcp_forecast_engine.registry.events import Event
from mcp_forecast_engine.registry.scope import SCOPE_COLUMNS, Scope, read_scope
from mcp_forecast_engine.store.tables import ActiveBundleRow, table_of

ACTIVE: Final[Table] = table_of(ActiveBundleRow)
_BUNDLE_COLUMNS: Final = tuple(column.name for column in BUNDLE.c)
_KEY: Final = [ACTIVE.c[name] for name in SCOPE_COLUMNS]
# The PostgreSQL construct compiles for SQLite too (the other way round it does not).
_INSERT: Final = insert(ACTIVE)
_PUT: Final = _INSERT.on_conflict_do_update(
    index_elements=_KEY,
    set_={name: _INSERT.excluded[name] for name in ("bundle_id", "version", "seq")},
).returning(*ACTIVE.c)
_ALL: Final = select(ACTIVE).order_by(*_KEY)
# One statement: a token read apart from its bundle could be that of another one.
_AT: Final = (
    select(ACTIVE, *(BUNDLE.c[name].label(f"b_{name}") for name in _BUNDLE_COLUMNS))
    .outerjoin(BUNDLE, (ACTIVE.c.bundle_id == BUNDLE.c.bundle_id) & (ACTIVE.c.version == BUNDLE.c.version))
    .where(tuple_(*_KEY).in_(bindparam("places", expanding=True)))
)
_HOLDING: Final = select(ACTIVE).where(
    tuple_(ACTIVE.c.bundle_id, ACTIVE.c.version).in_(bindparam("refs", expanding=True))
)  # fmt: skip


class Active(NamedTuple):
    """What is ACTIVE in a scope, None: nothing; token: the number of the event that made it so, 0 before the first."""

    bundle: Bundle | None = None
    token: int = 0

    @property
    def ref(self) -> BundleRef | None:
        """The name of the ACTIVE bundle."""
        return None if self.bundle is None else self.bundle.ref


def actives(connection: Connection, scopes: Sequence[Scope]) -> dict[Scope, Active]:
    """What is ACTIVE in each of these scopes, all at one instant."""
    rows = connection.execute(_AT, {"places": [tuple(scope.columns.values()) for scope in scopes]}).mappings()
    found = {read_scope(row): Active(_bundle(row), row["seq"]) for row in rows}
    return {scope: found.get(scope, Active()) for scope in scopes}


def active(connection: Connection, scope: Scope) -> Active:
    """What is ACTIVE in a scope."""
    return actives(connection, [scope])[scope]


def scopes_of(connection: Connection, refs: Collection[BundleRef]) -> dict[BundleRef, tuple[Scope, ...]]:
    """The scopes in which each of these bundles is ACTIVE."""
    held: dict[BundleRef, tuple[Scope, ...]] = dict.fromkeys(refs, ())
    for row in connection.execute(_HOLDING, {"refs": [tuple(ref) for ref in refs]}).mappings():
        ref = BundleRef(row["bundle_id"], row["version"])
        held[ref] = (*held[ref], read_scope(row))
    return held


def rows(connection: Connection) -> dict[Scope, tuple[BundleRef | None, int]]:
    """Every scope that ever had an ACTIVE bundle: which one it has, and its token."""
    found = connection.execute(_ALL).mappings()
    return {
        read_scope(row): (None if row["bundle_id"] is None else BundleRef(row["bundle_id"], row["version"]), row["seq"])
        for row in found
    }


def move(connection: Connection, event: Event) -> None:
    """Let an event's bundle be the ACTIVE one of its scope, or nothing."""
    bundle_id, version = event.bundle or (None, None)
    connection.execute(
        _PUT, {**event.scope.columns, "bundle_id": bundle_id, "version": version, "seq": event.seq}
    ).one()


def require_unmoved(connection: Connection, scope: Scope, now: Active, expected: int | None) -> None:
    """Refuse a change that was decided before the scope's last move. Raises RegistryConflict with the current token.

    expected: any token of this home that is not older than the scope's last move; None: whatever is ACTIVE.
    """
    if expected is None or now.token <= expected <= events.newest(connection):
        return
    raise RegistryConflict(
        f"token {expected} is not that of scope {scope}, which is {now.token}: ACTIVE is {now.ref or 'nothing'}",
        field="expected_token", allowed=now.token, reason="TOKEN_STALE",
        next_step="list_bundles shows what happened; decide again, with the current token",
    )  # fmt: skip


def _bundle(row: Any) -> Bundle | None:
    if row["bundle_id"] is None:
        return None
    return read_bundle({name: row[f"b_{name}"] for name in _BUNDLE_COLUMNS})
