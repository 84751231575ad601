"""What a model must show before it may be published: limits by rule, as data, under a policy id and a revision."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, TypeVar, get_args

from mcp_forecast_engine.errors import CorridorRefused, DataInvalid
from mcp_forecast_engine.store.identity import MOST_INT, canonical_bytes, digest

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
AnyRule = Rule | LabelRule
REPLAYS: Final[tuple[Replay, ...]] = get_args(Replay)
# With any of these nothing is evidence, whatever an operator's file says.
REQUIRED: Final[dict[Rule, float]] = {"leaks": 0, "replay_difference": 0.0}
PARTS: Final = ("replay", "rules", "labels", "promotes_to")
NAME: Final = re.compile("[a-z0-9][a-z0-9_.-]{0,63}")  # what run_training can ask for
W = TypeVar("W", bound=str)  # one of the words above


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
    """A named set of limits of a policy's revision. labels: what is asked of revised data; {}: nothing.

    promotes_to: environments that take what it judged beside the registry's own list. That is no limit of a run, so
    neither the document nor the digest says it, and an operator may change it for bundles that exist.
    """

    name: str
    policy_id: str
    revision: str
    replay: Replay
    limits: Mapping[Rule, Limit]
    labels: Mapping[LabelRule, Limit] = field(default_factory=dict)
    promotes_to: tuple[str, ...] = ()

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
    """The engine's profiles and those of an operator's file, under names of their own: a name means one thing.

    data: JSON, `{"policy_id": …, "revision": …, "profiles": {name: {"replay": …, "rules": {rule: {"min", "max"}},
    "labels": …, "promotes_to": [environment]}}}`. file: how a refusal names it. Raises CorridorRefused
    (GOVERNANCE_PROFILE_INVALID).
    """
    try:
        found = _operators(data)
        if taken := [name for name in found if name in built_in()]:
            raise _invalid(
                f"profile {taken[0]!r} is the engine's and cannot be defined anew; choose another name",
                f"profiles.{taken[0]}", f"any name but {', '.join(sorted(built_in()))}",
            )  # fmt: skip
        return {**built_in(), **found}
    except CorridorRefused as error:
        raise _invalid(f"{file}: {error.message}", error.field, error.allowed) from error


def read_profiles(document: Any) -> dict[str, GovernanceProfile]:
    """The profiles of a governance document. Raises CorridorRefused (GOVERNANCE_PROFILE_INVALID)."""
    try:
        named = {"policy_id": str(document["policy_id"]), "revision": str(document["revision"])}
        profiles = document["profiles"].items()
    except (TypeError, KeyError, AttributeError) as error:
        allowed = "an object with policy_id, revision and profiles by name"
        raise _invalid("it is no governance document", "governance", allowed) from error
    return {name: _profile(name, one, named) for name, one in profiles}


@cache
def built_in() -> Mapping[str, GovernanceProfile]:
    """The profiles that come with the engine."""
    return read_profiles(json.loads(files("mcp_forecast_engine.factory").joinpath("governance.json").read_bytes()))


def read_profile(document: Mapping[str, Any]) -> GovernanceProfile:
    """The profile that `to_dict` wrote. Raises CorridorRefused (GOVERNANCE_PROFILE_INVALID)."""
    profile = {part: document[part] for part in PARTS if part in document}
    profiles = {document.get("name"): profile}
    return read_profiles({**document, "profiles": profiles})[str(document["name"])]


def profile_named(name: str, profiles: Mapping[str, GovernanceProfile]) -> GovernanceProfile:
    """One of these profiles. Raises CorridorRefused (GOVERNANCE_PROFILE_UNRESOLVED)."""
    if name not in profiles:
        raise CorridorRefused(
            "GOVERNANCE_PROFILE_UNRESOLVED", f"there is no governance profile {name!r}", field="governance_profile",
            allowed=sorted(profiles), next_step="name one of these, or leave governance_profile out", terminal=True,
        )  # fmt: skip
    return profiles[name]


def _operators(data: bytes) -> dict[str, GovernanceProfile]:
    try:
        document = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:  # bytes that are no UTF-8 among them
        raise _invalid(f"it is no JSON: {error}", "governance") from error
    known = {"policy_id": str, "revision": str, "profiles": dict}
    if not isinstance(document, dict) or set(document) - set(known):
        raise _invalid("it holds something else than a policy", "governance", sorted(known))
    for name, kind in known.items():
        if not isinstance(document.get(name), kind) or not document[name]:
            raise _invalid(f"{name} is {document.get(name)!r}", name, "an object" if kind is dict else "a text")
    found = read_profiles(document)
    try:  # at the start, not in the first training that names one
        for profile in found.values():
            canonical_bytes(profile.to_dict())
    except DataInvalid as error:
        raise _invalid(error.message, error.field, error.allowed) from error
    return found


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose names are all different: of two limits nobody would know which one holds."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name in found if sum(name == other for other, _ in pairs) > 1)
        raise _invalid(f"{twice!r} stands there twice", twice)
    return found


def _profile(name: Any, profile: Any, named: Mapping[str, str]) -> GovernanceProfile:
    """named: policy_id and revision."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise _invalid(f"a profile is named {name!r}", "profiles", allowed=NAME.pattern)
    place = f"profiles.{name}"
    if not isinstance(profile, dict):
        raise _invalid(f"{place} is {profile!r}", place, allowed=f"an object with {', '.join(PARTS)}")
    for part in profile:
        _one_of(PARTS, part, place)
    if missing := [part for part in PARTS[:2] if part not in profile]:
        raise _invalid(f"profile {name!r} has no {missing[0]!r}", place, allowed=_PART_WORDS[missing[0]])
    return GovernanceProfile(
        name,
        **named,
        replay=_one_of(REPLAYS, profile["replay"], f"{place}.replay"),
        limits=_limits(name, profile["rules"]),
        labels=_read_limits(profile.get("labels", {}), LABEL_RULES, f"{place}.labels"),
        promotes_to=_environments(profile.get("promotes_to", []), f"{place}.promotes_to"),
    )


def _environments(told: Any, place: str) -> tuple[str, ...]:
    if not isinstance(told, list) or not all(isinstance(name, str) and NAME.fullmatch(name) for name in told):
        raise _invalid(f"{place} is {told!r}", place, allowed='a list of environments, such as ["prod"]')
    return tuple(told)


def _limits(name: str, rules: Any) -> dict[Rule, Limit]:
    place = f"profiles.{name}.rules"
    found = _read_limits(rules, RULES, place)
    for rule, most in REQUIRED.items():
        told = found[rule].most if rule in found else None
        if told is None:
            raise _invalid(f"profile {name!r} lacks a max of the rule {rule}", place, allowed=f'{{"max": {most}}}')
        if told > most:
            raise _invalid(f"{place}.{rule} allows up to {told:g}", f"{place}.{rule}", allowed=f'{{"max": {most}}}')
    return found


def _read_limits(rules: Any, known: Sequence[W], place: str) -> dict[W, Limit]:
    if not isinstance(rules, dict):
        raise _invalid(f"{place} is {rules!r}", place, allowed=f"limits by rule; rules are {', '.join(known)}")
    return {_one_of(known, rule, place): _limit(f"{place}.{rule}", ends) for rule, ends in sorted(rules.items())}


def _one_of(known: Sequence[W], told: Any, place: str) -> W:
    for word in known:
        if word == told:
            return word
    raise _invalid(f"{place}: {told!r} is not known", place, allowed=list(known))


def _limit(place: str, ends: Any) -> Limit:
    if not isinstance(ends, dict) or not ends or set(ends) - {"min", "max"} or not all(map(_is_number, ends.values())):
        raise _invalid(f"{place} is {ends!r}", place, allowed=f"min, max or both, as numbers of at most {MOST_INT}")
    if ends.get("min", -math.inf) > ends.get("max", math.inf):
        raise _invalid(f"{place} is {ends!r}, which nothing can keep", place, allowed="min <= max")
    return Limit(ends.get("min"), ends.get("max"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST_INT  # not for NaN


_PART_WORDS: Final = {"replay": list(REPLAYS), "rules": f"limits by rule; rules are {', '.join(RULES)}"}


def _invalid(what: str, field: str | None, allowed: Any = None) -> CorridorRefused:
    return CorridorRefused(
        "GOVERNANCE_PROFILE_INVALID", what, field=field, allowed=allowed, next_step="correct the governance file"
    )
