"""The gate: measured values against a governance profile; a failed one says which rule, and what to try next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from mcp_forecast_engine.factory.governance import LABEL_RULES, AnyRule, GovernanceProfile, Limit
from mcp_forecast_engine.factory.refinement import Room, refinement

Decision = Literal["PASS", "FAIL"]
Measured = Mapping[AnyRule, float | None]
ROOM: Final = Room()


@dataclass(frozen=True)
class RuleResult:
    """One rule: what was measured (None: it could not be) and what is allowed.

    uncompared: why there was nothing to compare with; such a rule is neither kept nor broken, and refuses nothing.
    """

    rule: AnyRule
    passed: bool
    measured: float | None
    limit: Limit
    uncompared: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; a figure that the clock measured only where it failed, so that receipts are the same."""
        told: dict[str, Any] = {} if self.passed and self.rule in _CLOCKED else {"measured": self.measured}
        if self.uncompared is not None:
            told = {"compared": False, "why": self.uncompared}
        return {
            "rule": self.rule, "passed": self.passed, **told, "limit": self.limit.to_dict(), "means": MEANING[self.rule]
        }  # fmt: skip


@dataclass(frozen=True)
class Gate:
    """What the gate says: PASS where every rule is kept. refinement: what to change, and the call to make next."""

    decision: Decision
    rules: tuple[RuleResult, ...]
    refinement: Mapping[str, Any] | None


def judge(
    measured: Measured,
    profile: GovernanceProfile,
    asked: Mapping[str, Any],
    *,
    room: Room = ROOM,
    uncompared: str | None = "nothing is ACTIVE",
) -> Gate:
    """Judge by every rule of a profile; what could not be measured fails.

    measured: by rule; of revised data the rules of labels are among them, and are kept too. asked: the arguments of the
    training call, from which the refinement's next call is made; room: what that may change. uncompared: why nothing
    was compared with the ACTIVE bundle, where nothing was; None: it was, and no figure for it is a rule that is broken.
    """
    labels = profile.labels if any(rule in measured for rule in LABEL_RULES) else {}
    limits: list[tuple[AnyRule, Limit]] = [*profile.limits.items(), *labels.items()]
    results = tuple(_result(rule, limit, measured.get(rule), uncompared) for rule, limit in limits)
    failed = [result.rule for result in results if not result.passed]
    if not failed:
        return Gate("PASS", results, None)
    return Gate("FAIL", results, refinement(failed, asked, room))


def _result(rule: AnyRule, limit: Limit, value: float | None, uncompared: str | None) -> RuleResult:
    if rule == "active_high" and value is None and uncompared is not None:
        # No reason to refuse a model; a promotion looks at it again.
        return RuleResult(rule, True, None, limit, uncompared)
    return RuleResult(rule, value is not None and limit.allows(value), value, limit)


_CLOCKED: Final[tuple[AnyRule, ...]] = ("latency_ms",)
MEANING: Final[dict[AnyRule, str]] = {
    "skill": "share of MASE saved against repeating the last season",
    "skill_low": "lower end of the 95 % interval of the share of MASE saved against repeating the last season",
    "skill_worst_step": "share of |y - median| / scale saved against seasonal naive on the worst range of steps ahead",
    "skill_worst_group": "share of |y - median| / scale saved against seasonal naive on the worst group of series, on "
    "all where there are no groups",
    "units": "test windows, or series where there are many, that the intervals rest on",
    "coverage_80": "share of the truth inside the 80 % intervals",
    "coverage_95": "share of the truth inside the 95 % intervals",
    "leaks": "guards against leakage that did not pass, a look ahead that was asked for among them",
    "replay_difference": "largest difference of a replayed forecast, in units of the target",
    "active_high": "upper end of the 95 % interval of the share of MASE saved against the ACTIVE bundle",
    "factors": "factors that the explanation names",
    "model_bytes": "size of the exported model",
    "latency_ms": "median time of a forecast of one series by the exported model, ms",
    "coverage": "share of targets that were known",
    "conflicts": "share of rows that contradict one of the same series, time and observed time",
}
