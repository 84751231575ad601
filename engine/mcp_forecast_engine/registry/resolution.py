"""Which bundle answers in a scope: the tenant's ACTIVE one, everybody's, the fallback slot's, or none; always said why.

Nothing here asks for a time or for what is latest: the same rows and the same needs give the same answer, and its token
is that of the newest move it depends on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from sqlalchemy import Connection

from mcp_forecast_engine.errors import BundleIncompatible, NotFound
from mcp_forecast_engine.registry import bundles
from mcp_forecast_engine.registry.active import actives, rows
from mcp_forecast_engine.registry.bundles import Bundle, BundleRef
from mcp_forecast_engine.registry.policy import RegistryPolicy, default_policy, misfits
from mcp_forecast_engine.registry.scope import SCOPE_COLUMNS, Scope

Outcome = Literal["RESOLVED", "SAFE_FALLBACK", "FAIL_CLOSED"]


@dataclass(frozen=True)
class Needs:
    """What a caller needs a bundle to be able to do; None: whatever it does. horizon: steps, at least these.

    freq: the step of the forecasts; data_freq: that of the data it is to read, before preprocessing.
    """

    kind: str | None = None
    target: str | None = None
    freq: str | None = None
    data_freq: str | None = None
    horizon: int | None = None
    levels: tuple[float, ...] | None = None
    feature_set_id: str | None = None
    feature_set_version: str | None = None
    covariate_schema_hash: str | None = None
    input_contract_version: str | None = None
    input_spec_digest: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """What is needed, without what is not."""
        return {name: value for name, value in asdict(self).items() if value is not None}


ANYTHING: Final = Needs()


@dataclass(frozen=True)
class Looked:
    """One place that was looked at: its ACTIVE bundle (None: none) and the needs it does not meet.

    able: what it can do instead, by need.
    """

    scope: Scope
    bundle: BundleRef | None
    misfits: tuple[str, ...] = ()
    able: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Resolution:
    """The answer for a scope. served_from: the scope whose ACTIVE bundle it is; looked: every place, up to the answer.

    token: the newest move in any place that may have a say, answered or not; it never falls, and with equal needs an
    equal token is an equal answer. elsewhere: where nothing of its own answers, the scopes that have an ACTIVE bundle
    and are everybody's or this tenant's.
    """

    outcome: Outcome
    scope: Scope
    bundle: Bundle | None
    served_from: Scope | None
    reason_codes: tuple[str, ...]
    token: int
    policy_rev: dict[str, str]
    looked: tuple[Looked, ...]
    elsewhere: tuple[Scope, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a caller has to know who did not ask for the fallback: a misspelt slot is answered by it, too."""
        if self.outcome != "SAFE_FALLBACK":
            return ()
        here = (self.scope.environment, self.scope.mode)
        slots = sorted({one.slot for one in self.elsewhere if (one.environment, one.mode) == here})
        return (
            f"nothing that is ACTIVE in {self.scope} answers this: the fallback {self.served_from} does; slots with "
            f"something ACTIVE: {', '.join(slots)}",
        )

    def require(self) -> Bundle:
        """The bundle that answers. Raises NotFound where nothing is ACTIVE, BundleIncompatible where nothing fits."""
        if self.bundle is not None:
            return self.bundle
        unfit = [one for one in self.looked if one.bundle is not None]
        if not unfit:
            raise NotFound(
                f"nothing is ACTIVE for {self.scope} (token {self.token})", field=self._astray(),
                allowed=[str(one) for one in self.elsewhere] or None,
                next_step="promote_bundle makes a bundle ACTIVE; or name a run_id or bundle_id",
                reason="FAIL_CLOSED_NO_COMPATIBLE_BUNDLE",
            )  # fmt: skip
        told = "; ".join(f"{one.bundle} in {one.scope}: {', '.join(one.misfits)}" for one in unfit)
        raise BundleIncompatible(
            f"no ACTIVE bundle does what is needed: {told}", reason="FAIL_CLOSED_NO_COMPATIBLE_BUNDLE",
            field=unfit[0].misfits[0], allowed=unfit[0].able,
            next_step="ask for what they can do, or promote a bundle that can do this",
        )  # fmt: skip

    def _astray(self) -> str:
        """The first part of the scope in which it is no scope that has anything ACTIVE."""
        left = list(self.elsewhere)
        for name in SCOPE_COLUMNS:
            left = [one for one in left if getattr(one, name) == getattr(self.scope, name)]
            if not left:
                return name if self.elsewhere else "slot"
        return "slot"


def resolve(
    connection: Connection, scope: Scope, needs: Needs = ANYTHING, policy: RegistryPolicy | None = None
) -> Resolution:
    """Find the bundle that answers in a scope, or say that none does. policy: None is the engine's own."""
    policy = policy or default_policy()
    places = _places(scope, policy)
    found = actives(connection, places)
    token, wanted = max(one.token for one in found.values()), needs.to_dict()
    looked: list[Looked] = []
    for place in places:
        bundle = found[place].bundle
        unmet = () if bundle is None else misfits(policy.needs, bundle.capabilities, wanted)
        looked.append(Looked(place, found[place].ref, unmet, {} if bundle is None else _able(bundle, unmet)))
        if bundle is not None and not unmet:
            fallback = place.slot != scope.slot
            outcome: Outcome = "SAFE_FALLBACK" if fallback else "RESOLVED"
            codes = _codes(looked, "FALLBACK_EXPLICIT" if fallback else None)
            seen = _elsewhere(connection, scope) if fallback else ()
            return Resolution(outcome, scope, bundle, place, codes, token, policy.stamp, tuple(looked), seen)
    codes, seen = _codes(looked, "FAIL_CLOSED_NO_COMPATIBLE_BUNDLE"), _elsewhere(connection, scope)
    return Resolution("FAIL_CLOSED", scope, None, None, codes, token, policy.stamp, tuple(looked), seen)


def pinned(
    connection: Connection,
    bundle_id: str,
    version: str | None,
    needs: Needs = ANYTHING,
    policy: RegistryPolicy | None = None,
) -> Bundle:
    """The named bundle, ACTIVE or not, if it can do what is needed. Raises NotFound, BundleIncompatible."""
    bundle = bundles.named(connection, bundle_id, version)
    wanted = needs.to_dict()
    unmet = misfits((policy or default_policy()).needs, bundle.capabilities, wanted)
    if unmet:
        raise BundleIncompatible(
            f"{bundle.ref} cannot do what is needed: {', '.join(unmet)}", field=unmet[0], reason=_mismatch(unmet[0]),
            allowed=_able(bundle, unmet),
            next_step="ask for what it can do, or name another bundle",
        )  # fmt: skip
    return bundle


def _elsewhere(connection: Connection, scope: Scope) -> tuple[Scope, ...]:
    """Scopes with an ACTIVE bundle, but none of another tenant's."""
    standing = (one for one, (ref, _) in rows(connection).items() if ref is not None)
    return tuple(sorted((one for one in standing if one.tenant in (None, scope.tenant)), key=str))


def _able(bundle: Bundle, unmet: Sequence[str]) -> dict[str, Any]:
    """What a bundle can do where it does not do what is needed; levels as callers name them, in per cent."""
    found = {name: bundle.capabilities.get(name) for name in unmet}
    if "levels" in found:
        carried = bundle.compatibility["levels"]
        ends = [low for low in carried if low < 0.5 and round(1 - low, 4) in carried]
        found["levels"] = sorted(round(100 - 200 * low) for low in ends)
    return found


def _places(scope: Scope, policy: RegistryPolicy) -> Sequence[Scope]:
    """Where to look, in order, each place once."""
    last = [] if policy.fallback_slot is None else [replace(scope.everybodys, slot=policy.fallback_slot)]
    return list(dict.fromkeys([scope, scope.everybodys, *last]))


def _codes(looked: Sequence[Looked], last: str | None) -> tuple[str, ...]:
    """Why it is this answer and none before it, each reason once, in the order they came up."""
    told = [code for one in looked for code in _codes_of(one)]
    return tuple(dict.fromkeys(told if last is None else [*told, last]))


def _codes_of(looked: Looked) -> Iterator[str]:
    if looked.bundle is None:
        yield "SCOPE_NOT_FOUND"
    elif looked.misfits:
        yield "ACTIVE_BUNDLE_INCOMPATIBLE"
        yield from map(_mismatch, looked.misfits)


def _mismatch(name: str) -> str:
    return f"CAPABILITY_MISMATCH:{name}"
