"""How published bundles were judged, and what that says for or against letting one be ACTIVE in a scope."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, tuple_

from mcp_forecast_engine.factory.judged import USUAL, Judged
from mcp_forecast_engine.registry.active import Active
from mcp_forecast_engine.registry.bundles import BundleRef
from mcp_forecast_engine.registry.events import EVENT, read_event
from mcp_forecast_engine.registry.policy import RegistryPolicy
from mcp_forecast_engine.registry.scope import Scope

_PUBLISHED: Final = select(EVENT).where(
    EVENT.c.event_type == "BUNDLE_PUBLISHED",
    tuple_(EVENT.c.bundle_id, EVENT.c.version).in_(bindparam("refs", expanding=True)),
)


@dataclass(frozen=True)
class Judgement:
    """For which scope a bundle was made, and how it was judged; judged None: its publication did not say."""

    made_for: Scope
    judged: Judged | None

    def told(self) -> dict[str, Any]:
        """What listings say of it."""
        return {} if self.judged is None else self.judged.to_dict()


@dataclass(frozen=True)
class Weighed:
    """What the policy has against a bundle in a scope by its judgement, and what whoever promotes it has to know."""

    codes: tuple[str, ...]
    warnings: tuple[str, ...]


def judgements(connection: Connection, refs: Collection[BundleRef]) -> dict[BundleRef, Judgement]:
    """How each of these published bundles was judged."""
    found = map(read_event, connection.execute(_PUBLISHED, {"refs": [tuple(ref) for ref in refs]}).mappings())
    return {one.bundle: Judgement(one.scope, _judged(one.evidence)) for one in found if one.bundle is not None}


def weigh(connection: Connection, scope: Scope, ref: BundleRef, now: Active, policy: RegistryPolicy) -> Weighed:
    """Hold a bundle's judgement against the policy of a scope and the bundle that is ACTIVE there."""
    found = judgements(connection, [ref]).get(ref, Judgement(scope, None))
    against = None if found.judged is None else found.judged.compared_with
    uncompared = now.ref is not None and against != str(now.ref)
    required = policy.requires_comparison(scope.environment)
    accepted = policy.accepted_profiles(scope.environment)
    name = "" if found.judged is None else found.judged.profile_name
    codes = (
        ("PROFILE_NOT_ACCEPTED", accepted is not None and name not in accepted),
        ("ACTIVE_NOT_COMPARED", uncompared and required),
    )
    warnings = (
        (f"{ref} was made for {found.made_for.told_to(scope.tenant)}, and is promoted to {scope}",
         found.made_for != scope),
        (f"{ref} was measured against {against or 'no ACTIVE bundle'}, not against {now.ref}, which is ACTIVE in "
         f"{scope}: nothing says that it is no worse", uncompared),
        (f"{ref} was judged by the profile {found.judged and found.judged.profile}", bool(name) and name not in USUAL),
    )  # fmt: skip
    return Weighed(*(tuple(text for text, holds in told if holds) for told in (codes, warnings)))


def _judged(evidence: Any) -> Judged | None:
    told = evidence.get("judged")
    return None if told is None else Judged(**told)
