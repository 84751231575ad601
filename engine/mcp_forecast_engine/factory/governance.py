"""What a model must show before it may be published: limits by rule, as data, under a policy id and a revision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, get_args

from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.store.identity import digest

PROFILE_RECIPE: Final = "governance_profile.v1"
# What is done again on scrambled data: the chosen model's fits, or the whole choice as well.
Replay = Literal["fits", "choice"]
Rule = Literal[
    "skill", "skill_low", "units", "coverage_80", "coverage_95", "leaks", "replay_difference", "active_high", "factors",
    "model_bytes", "latency_ms",
]  # fmt: skip
RULES: Final[tuple[Rule, ...]] = get_args(Rule)
REPLAYS: Final[tuple[Replay, ...]] = get_args(Replay)
# Without these nothing is evidence, whatever an operator's file says.
REQUIRED: Final[tuple[Rule, ...]] = ("leaks", "replay_difference")


@dataclass(frozen=True)
class Limit:
    """What a rule allows, both ends included; None: no end on this side."""

    least: float | None
    most: float | None

    def allows(self, measured: float) -> bool:
        """Whether a measured value keeps the rule."""
        return (self.least is None or measured >= self.least) and (self.most is None or measured <= self.most)

    def to_dict(self) -> dict[str, float]:
        """Plain JSON values."""
        ends = {"min": self.least, "max": self.most}
        return {name: end for name, end in ends.items() if end is not None}


@dataclass(frozen=True)
class GovernanceProfile:
    """A named set of limits of a policy's revision."""

    name: str
    policy_id: str
    revision: str
    replay: Replay
    limits: Mapping[Rule, Limit]

    def to_dict(self) -> dict[str, Any]:
        """The profile as a document."""
        return {
            "schema_version": "governance_profile.v1",
            "name": self.name,
            "policy_id": self.policy_id,
            "revision": self.revision,
            "replay": self.replay,
            "rules": {rule: limit.to_dict() for rule, limit in self.limits.items()},
        }

    @property
    def digest(self) -> str:
        """What a request names: another limit is another profile."""
        return digest(PROFILE_RECIPE, self.to_dict())


def read_profiles(document: Any) -> dict[str, GovernanceProfile]:
    """The profiles of a governance document. Raises CorridorRefused (GOVERNANCE_PROFILE_INVALID)."""
    try:
        named = {"policy_id": str(document["policy_id"]), "revision": str(document["revision"])}
        return {
            name: GovernanceProfile(name, **named, replay=_replay(name, one), limits=_limits(name, one["rules"]))
            for name, one in document["profiles"].items()
        }
    except (TypeError, KeyError, AttributeError) as error:
        raise _invalid(f"a governance document has no {error}", "governance") from error


@cache
def built_in() -> Mapping[str, GovernanceProfile]:
    """The profiles that come with the engine."""
    return read_profiles(json.loads(files("mcp_forecast_engine.factory").joinpath("governance.json").read_bytes()))


def read_profile(document: Mapping[str, Any]) -> GovernanceProfile:
    """The profile that `to_dict` wrote. Raises CorridorRefused (GOVERNANCE_PROFILE_INVALID)."""
    profiles = {document.get("name"): {"replay": document.get("replay"), "rules": document.get("rules")}}
    return read_profiles({**document, "profiles": profiles})[str(document["name"])]


def profile_named(name: str, profiles: Mapping[str, GovernanceProfile]) -> GovernanceProfile:
    """One of these profiles. Raises CorridorRefused (GOVERNANCE_PROFILE_UNRESOLVED)."""
    if name not in profiles:
        raise CorridorRefused(
            "GOVERNANCE_PROFILE_UNRESOLVED", f"there is no governance profile {name!r}", field="governance_profile",
            allowed=sorted(profiles),
        )  # fmt: skip
    return profiles[name]


def _limits(name: str, rules: Mapping[str, Any]) -> dict[Rule, Limit]:
    missing = [rule for rule in REQUIRED if rule not in rules]
    if missing:
        raise _invalid(f"profile {name!r} lacks the rule {missing[0]}", f"profiles.{name}")
    return {_rule(name, rule): _limit(f"profiles.{name}.{rule}", ends) for rule, ends in sorted(rules.items())}


def _replay(name: str, profile: Mapping[str, Any]) -> Replay:
    for known in REPLAYS:
        if profile["replay"] == known:
            return known
    raise _invalid(f"profile {name!r} replays {profile['replay']!r}", f"profiles.{name}.replay", allowed=list(REPLAYS))


def _rule(name: str, rule: str) -> Rule:
    for known in RULES:
        if known == rule:
            return known
    raise _invalid(f"profile {name!r} has a rule {rule!r}", f"profiles.{name}", allowed=list(RULES))


def _limit(place: str, ends: Mapping[str, Any]) -> Limit:
    if not ends or set(ends) - {"min", "max"} or not all(_is_number(end) for end in ends.values()):
        raise _invalid(f"{place} is {dict(ends)!r}", place, allowed="min, max or both, as numbers")
    return Limit(ends.get("min"), ends.get("max"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _invalid(what: str, field: str, allowed: Any = None) -> CorridorRefused:
    return CorridorRefused(
        "GOVERNANCE_PROFILE_INVALID", what, field=field, allowed=allowed, next_step="correct the governance file"
    )
