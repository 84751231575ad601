"""What a model must show before it may be published: limits by rule, as data, under a policy id and a revision."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, get_args

from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.store.identity import digest

PROFILE_RECIPE: Final = "governance_profile.v1"
# What is done again on scrambled data: the chosen model's settings and fits, or the whole choice as well.
Replay = Literal["fits", "choice"]
Rule = Literal[
    "skill", "skill_low", "skill_worst_step", "skill_worst_group", "units", "coverage_80", "coverage_95", "leaks",
    "replay_difference", "active_high", "factors", "model_bytes", "latency_ms",
]  # fmt: skip
RULES: Final[tuple[Rule, ...]] = get_args(Rule)
# What revised data must show before anything is trained on it: targets known in time, rows that contradict each other.
LabelRule = Literal["coverage", "conflicts"]
LABEL_RULES: Final[tuple[LabelRule, ...]] = get_args(LabelRule)
REPLAYS: Final[tuple[Replay, ...]] = get_args(Replay)
# Without an upper end of these nothing is evidence, whatever an operator's file says.
REQUIRED: Final[tuple[Rule, ...]] = ("leaks", "replay_difference")
PARTS: Final = frozenset(("replay", "rules", "labels"))
NAME: Final = re.compile("[a-z0-9][a-z0-9_.-]{0,63}")  # what run_training can ask for


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
    """A named set of limits of a policy's revision. labels: what is asked of revised data; {}: nothing."""

    name: str
    policy_id: str
    revision: str
    replay: Replay
    limits: Mapping[Rule, Limit]
    labels: Mapping[LabelRule, Limit] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The profile as a document."""
        return {
            "schema_version": "governance_profile.v1",
            "name": self.name,
            "policy_id": self.policy_id,
            "revision": self.revision,
            "replay": self.replay,
            "rules": {rule: limit.to_dict() for rule, limit in self.limits.items()},
            "labels": {rule: limit.to_dict() for rule, limit in self.labels.items()},
        }

    @property
    def digest(self) -> str:
        """What a request names: another limit is another profile."""
        return digest(PROFILE_RECIPE, self.to_dict())


def with_operators(data: bytes, *, file: str) -> dict[str, GovernanceProfile]:
    """The engine's profiles and those of an operator's file, which replace the engine's of the same name.

    data: JSON, `{"policy_id": …, "revision": …, "profiles": {name: {"replay": …, "rules": {rule: {"min", "max"}},
    "labels": …}}}`. file: how a refusal names it. Raises CorridorRefused (GOVERNANCE_PROFILE_INVALID).
    """
    try:
        return {**built_in(), **_operators(data)}
    except CorridorRefused as error:
        raise _invalid(f"{file}: {error.message}", error.field, error.allowed) from error


def read_profiles(document: Any) -> dict[str, GovernanceProfile]:
    """The profiles of a governance document. Raises CorridorRefused (GOVERNANCE_PROFILE_INVALID)."""
    try:
        named = {"policy_id": str(document["policy_id"]), "revision": str(document["revision"])}
        return {
            name: GovernanceProfile(
                _name(name, one),
                **named,
                replay=_replay(name, one),
                limits=_limits(name, one["rules"]),
                labels=_labels(name, one.get("labels", {})),
            )
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
    profile = {part: document[part] for part in ("replay", "rules", "labels") if part in document}
    profiles = {document.get("name"): profile}
    return read_profiles({**document, "profiles": profiles})[str(document["name"])]


def profile_named(name: str, profiles: Mapping[str, GovernanceProfile]) -> GovernanceProfile:
    """One of these profiles. Raises CorridorRefused (GOVERNANCE_PROFILE_UNRESOLVED)."""
    if name not in profiles:
        raise CorridorRefused(
            "GOVERNANCE_PROFILE_UNRESOLVED", f"there is no governance profile {name!r}", field="governance_profile",
            allowed=sorted(profiles), next_step="name one of these, or leave governance_profile out",
        )  # fmt: skip
    return profiles[name]


def _operators(data: bytes) -> dict[str, GovernanceProfile]:
    try:
        document = json.loads(data, object_pairs_hook=_once)
    except ValueError as error:  # bytes that are no UTF-8 among them
        raise _invalid(f"it is no JSON: {error}", "governance") from error
    known = {"policy_id": str, "revision": str, "profiles": dict}
    if not isinstance(document, dict) or set(document) - set(known):
        raise _invalid("it holds something else than a policy", "governance", sorted(known))
    for name, kind in known.items():
        if not isinstance(document.get(name), kind) or not document[name]:
            raise _invalid(f"{name} is {document.get(name)!r}", name, "an object" if kind is dict else "a text")
    return read_profiles(document)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose names are all different: of two limits nobody would know which one holds."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name in found if sum(name == other for other, _ in pairs) > 1)
        raise _invalid(f"{twice!r} stands there twice", twice)
    return found


def _name(name: Any, profile: Mapping[str, Any]) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise _invalid(f"a profile is named {name!r}", "profiles", allowed=NAME.pattern)
    if not_known := sorted(set(profile) - PARTS):
        raise _invalid(f"profile {name!r} has {not_known[0]!r}", f"profiles.{name}", allowed=sorted(PARTS))
    return name


def _limits(name: str, rules: Mapping[str, Any]) -> dict[Rule, Limit]:
    missing = [rule for rule in REQUIRED if "max" not in rules.get(rule, ())]
    if missing:
        raise _invalid(f"profile {name!r} lacks a max of the rule {missing[0]}", f"profiles.{name}.rules")
    return {_rule(name, rule): _limit(f"profiles.{name}.{rule}", ends) for rule, ends in sorted(rules.items())}


def _labels(name: str, rules: Mapping[str, Any]) -> dict[LabelRule, Limit]:
    return {_label(name, rule): _limit(f"profiles.{name}.labels.{rule}", ends) for rule, ends in sorted(rules.items())}


def _label(name: str, rule: str) -> LabelRule:
    for known in LABEL_RULES:
        if known == rule:
            return known
    raise _invalid(f"profile {name!r} asks {rule!r} of labels", f"profiles.{name}.labels", allowed=list(LABEL_RULES))


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
    if ends.get("min", -math.inf) > ends.get("max", math.inf):
        raise _invalid(f"{place} is {dict(ends)!r}, which nothing can keep", place, allowed="min <= max")
    return Limit(ends.get("min"), ends.get("max"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _invalid(what: str, field: str | None, allowed: Any = None) -> CorridorRefused:
    return CorridorRefused(
        "GOVERNANCE_PROFILE_INVALID", what, field=field, allowed=allowed, next_step="correct the governance file"
    )
