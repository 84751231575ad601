"""Whether revised data say enough to be trained on: known targets and contradictions, held against the profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mcp_forecast_engine.data.labels import Coverage
from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.factory.gates import MEANING
from mcp_forecast_engine.factory.governance import GovernanceProfile, LabelRule
from mcp_forecast_engine.factory.inputs import Made
from mcp_forecast_engine.factory.refinement import REMEDIES


def require_labels(plan: Mapping[str, Any], profile: GovernanceProfile, read: Callable[[], Made]) -> None:
    """Refuse a plan whose revised values were known too little, or contradict each other too much, at its label_asof.

    Data without observed times have nothing to be judged by, and are not read. read: what the plan trains on. Raises
    CorridorRefused (COVERAGE_POLICY_VIOLATION, LABEL_GATE_UNSATISFIED), and what `read` raises.
    """
    if plan["label_asof"] is not None and (coverage := read().coverage) is not None:
        judge_labels(coverage, profile)


def judge_labels(coverage: Coverage, profile: GovernanceProfile) -> None:
    """The same of what was measured. Raises CorridorRefused with what was measured, the limit, and what may help."""
    measured = label_figures(coverage)
    for rule, limit in profile.labels.items():
        if not limit.allows(measured[rule]):
            allowed = limit.to_dict()
            raise CorridorRefused(
                _REASONS[rule],
                f"the {MEANING[rule]} is {measured[rule]:.4g} as of {coverage.label_asof} (up to {coverage.end})",
                field="label_asof", allowed=[f"{end} {value:g}" for end, value in allowed.items()],
                next_step=f"{REMEDIES[rule][1]}; an operator may allow more than {profile.name!r} does",
                details={"rule": rule, "measured": measured[rule], "limit": allowed, "profile": profile.name},
            )  # fmt: skip


def label_figures(coverage: Coverage | None) -> dict[LabelRule, float]:
    """What the rules of labels are held against, by rule; {} where nothing is revised."""
    return {} if coverage is None else {"coverage": coverage.share, "conflicts": coverage.conflict_share}


_REASONS: Final[dict[LabelRule, str]] = {
    "coverage": "COVERAGE_POLICY_VIOLATION",
    "conflicts": "LABEL_GATE_UNSATISFIED",
}
