"""By whom a model was judged, in the few words that a registry and a forecast repeat: limits, trust, what it beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

# What these pass needs no remark: `strict` asks for all that `default` does, and more.
USUAL: Final = ("default", "strict")


@dataclass(frozen=True)
class Judged:
    """The limits that it kept, "name@revision", the verdict of its trust, and the ACTIVE bundle it was compared with.

    compared_with: "bundle_id@version"; None where nothing was.
    """

    profile: str
    verdict: str
    compared_with: str | None = None

    @property
    def profile_name(self) -> str:
        """The profile whatever its revision."""
        return self.profile.partition("@")[0]

    def to_dict(self) -> dict[str, str]:
        """Plain JSON values, without what there is not."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def judged(document: Mapping[str, Any], receipt: Mapping[str, Any], compared_with: str | None) -> Judged:
    """How a run was judged, by its result and its gate's receipt."""
    return Judged(_named(receipt["profile"]), document["trust"]["verdict"], compared_with)


def judged_told(document: Mapping[str, Any]) -> dict[str, str]:
    """The same for the forecasts of a training's result: the profile and the verdict; {} of releases without gates."""
    if "gate" not in document:
        return {}
    return {"profile": _named(document["gate"]["profile"]), "verdict": document["trust"]["verdict"]}


def judged_warnings(document: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader of its forecasts has to know of who judged the model, and of how far it is trusted."""
    told = judged_told(document)
    if not told:
        return ()
    found = Judged(**told)
    usual = found.profile_name in USUAL
    return (
        *(() if usual else (f"this model was judged by the profile {found.profile}, not by {' or '.join(USUAL)}",)),
        *(() if found.verdict == "trust" else (f"trust in this model is {found.verdict}: see trust.reasons",)),
    )


def _named(profile: Mapping[str, Any]) -> str:
    return f"{profile['name']}@{profile['revision']}"
