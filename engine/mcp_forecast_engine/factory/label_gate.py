"""Whether revised data say enough to be trained on: known targets and contradictions, held against the profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp_forecast_engine.data.dataset import decode
from mcp_forecast_engine.data.labels import Coverage, as_of
from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.factory.governance import GovernanceProfile, LabelRule
from mcp_forecast_engine.store.artifacts import ArtifactStore


def require_labels(plan: Mapping[str, Any], profile: GovernanceProfile, artifacts: ArtifactStore) -> None:
    """Refuse a plan whose revised values were known too little, or contradict each other too much, at its label_asof.

    Data without observed times have nothing to be judged by. Raises CorridorRefused (COVERAGE_POLICY_VIOLATION,
    LABEL_GATE_UNSATISFIED, and what `as_of` refuses), DataInvalid, ArtifactCorrupt.
    """
    if plan["label_asof"] is None:
        return
    dataset = decode(artifacts.get(plan["dataset_digest"]))
    known = as_of(dataset, plan["label_asof"], maturity_days=plan["maturity_days"])
    if known.coverage is not None:
        judge_labels(known.coverage, profile)


def judge_labels(coverage: Coverage, profile: GovernanceProfile) -> None:
    """The same of what was measured. Raises CorridorRefused with what was measured, the limit, and what may help."""
    measured: dict[LabelRule, float] = {"coverage": coverage.share, "conflicts": coverage.conflict_share}
    for rule, limit in profile.labels.items():
        if not limit.allows(measured[rule]):
            reason, meaning, help_ = _RULES[rule]
            allowed = limit.to_dict()
            raise CorridorRefused(
                reason, f"{meaning} is {measured[rule]:.4g} as of {coverage.label_asof} (up to {coverage.end})",
                field="label_asof", allowed=[f"{end} {value:g}" for end, value in allowed.items()],
                next_step=f"{help_}; or name a governance_profile that asks for less than {profile.name!r}",
                details={"rule": rule, "measured": measured[rule], "limit": allowed, "profile": profile.name},
            )  # fmt: skip


_RULES: Final[dict[LabelRule, tuple[str, str, str]]] = {
    "coverage": (
        "COVERAGE_POLICY_VIOLATION", "the share of targets that were known",
        "pass a later label_asof, when more of them are known",
    ),
    "conflicts": (
        "LABEL_GATE_UNSATISFIED", "the share of rows that contradict one of the same series, time and observed time",
        "correct these rows and register the data again, or name a label_asof before them",
    ),
}  # fmt: skip
