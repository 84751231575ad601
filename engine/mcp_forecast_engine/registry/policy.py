"""What a bundle must be able to do to become ACTIVE, and to answer: rules by capability, as data, under a revision."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Final

from mcp_forecast_engine.errors import DataInvalid
from mcp_forecast_engine.factory.governance import GovernanceProfile
from mcp_forecast_engine.store.identity import digest, digest_of_bytes

_NAMES: Final = {
    "policy_id", "revision", "input_contracts", "approvals", "fallback_slot", "compared_with_active", "profiles",
    "promotion", "needs",
}  # fmt: skip
ANY: Final = "*"  # every environment that is not named
_COMPARISONS: Final = ("told", "required")


@dataclass(frozen=True)
class RegistryPolicy:
    """Rules in force. promotion: what a candidate must share with the ACTIVE bundle; needs: what a caller may ask for.

    input_contracts: the versions of inputs that this engine serves; approvals: how many actors must have approved a
    bundle in the scope; fallback_slot: where a scope without a fitting bundle turns to, None: nowhere.

    By environment, "*" for every other one: compared_with_active, whether a candidate that was not measured against the
    ACTIVE bundle is refused ("required") or promoted with a warning ("told"); profiles, by which of them it must have
    been judged, any where none are listed.
    """

    policy_id: str
    revision: str
    digest: str
    input_contracts: tuple[str, ...]
    approvals: int
    fallback_slot: str | None
    compared_with_active: Mapping[str, str]
    profiles: Mapping[str, Sequence[str]]
    promotion: Mapping[str, str]
    needs: Mapping[str, str]

    @property
    def stamp(self) -> dict[str, str]:
        """What events and resolutions quote: id, revision, digest."""
        return {"policy_id": self.policy_id, "revision": self.revision, "digest": self.digest}

    def requires_comparison(self, environment: str) -> bool:
        """Whether what is promoted there must have been measured against what is ACTIVE there."""
        return self.compared_with_active.get(environment, self.compared_with_active.get(ANY)) == "required"

    def accepted_profiles(self, environment: str) -> Sequence[str] | None:
        """By which profiles a bundle may have been judged that is promoted there; None: by any."""
        return self.profiles.get(environment, self.profiles.get(ANY))


def read_policy(document: bytes) -> RegistryPolicy:
    """The policy of a JSON document. Raises DataInvalid."""
    try:
        body = json.loads(document)
    except ValueError as error:
        raise _invalid(f"it is no JSON: {error}", None) from error
    if not isinstance(body, dict) or set(body) != _NAMES:
        raise _invalid("its fields are others", sorted(_NAMES))
    for part in ("promotion", "needs"):
        unknown = sorted(set(body[part].values()) - set(FITS)) if isinstance(body[part], dict) else [str(body[part])]
        if unknown:
            raise _invalid(f"{part} has the rule {unknown[0]!r}", sorted(FITS))
    compared, profiles = body["compared_with_active"], body["profiles"]
    if not isinstance(compared, dict) or not set(compared.values()) <= set(_COMPARISONS):
        raise _invalid(f"compared_with_active is {compared!r}", list(_COMPARISONS))
    if not isinstance(profiles, dict) or not all(isinstance(names, list) for names in profiles.values()):
        raise _invalid(f"profiles is {profiles!r}", "lists of names of profiles, by environment")
    if not isinstance(body["approvals"], int) or not isinstance(body["input_contracts"], list):
        raise _invalid("approvals is no whole number, or input_contracts no list", None)
    contracts = tuple(str(name) for name in body["input_contracts"])
    return RegistryPolicy(**{**body, "input_contracts": contracts, "digest": digest_of_bytes(document)})


@cache
def default_policy() -> RegistryPolicy:
    """The policy that comes with the engine."""
    return read_policy(files("mcp_forecast_engine.registry").joinpath("promotion_policy.json").read_bytes())


def with_profiles(policy: RegistryPolicy, own: Iterable[GovernanceProfile]) -> RegistryPolicy:
    """The policy that also takes what these profiles judged where they say `promotes_to`; another digest, if any does.

    An environment that takes every profile goes on to do so.
    """
    profiles = dict(policy.profiles)
    for profile in own:
        for environment in profile.promotes_to:
            taken = profiles.get(environment, policy.accepted_profiles(environment))
            if taken is not None and profile.name not in taken:
                profiles[environment] = [*taken, profile.name]
    if profiles == dict(policy.profiles):
        return policy
    named = digest("registry_policy.v1", {"policy": policy.digest, "profiles": profiles})
    return replace(policy, profiles=profiles, digest=named)


def misfits(rules: Mapping[str, str], found: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """The capabilities that are wanted and not found, in the order of the rules; what is wanted as None is not."""
    return tuple(
        name for name, rule in rules.items()
        if wanted.get(name) is not None and not FITS[rule](found.get(name), wanted[name])
    )  # fmt: skip


def _at_least(found: Any, wanted: Any) -> bool:
    return isinstance(found, int | float) and isinstance(wanted, int | float) and found >= wanted


def _covers(found: Any, wanted: Any) -> bool:
    return all(isinstance(side, Collection) for side in (found, wanted)) and all(one in found for one in wanted)


FITS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "equal": lambda found, wanted: found == wanted,
    "at_least": _at_least,
    "covers": _covers,
}


def _invalid(what: str, allowed: Any) -> DataInvalid:
    return DataInvalid(
        f"the registry's policy cannot be read: {what}", allowed=allowed, next_step="correct the policy's file"
    )
