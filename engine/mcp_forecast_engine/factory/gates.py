"""The gate: measured values against a governance profile; a failed one says which rule, and what to try next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from mcp_forecast_engine.factory.governance import GovernanceProfile, Limit, Rule

Decision = Literal["PASS", "FAIL"]
Measured = Mapping[Rule, float | None]


@dataclass(frozen=True)
class RuleResult:
    """One rule: what was measured (None: it could not be) and what is allowed."""

    rule: Rule
    passed: bool
    measured: float | None
    limit: Limit

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; a figure that the clock measured only where it failed, so that receipts are the same."""
        told = {} if self.passed and self.rule in _CLOCKED else {"measured": self.measured}
        return {
            "rule": self.rule, "passed": self.passed, **told, "limit": self.limit.to_dict(), "means": MEANING[self.rule]
        }  # fmt: skip


@dataclass(frozen=True)
class Gate:
    """What the gate says: PASS where every rule is kept. refinement: what to change, and the call to make next."""

    decision: Decision
    rules: tuple[RuleResult, ...]
    refinement: Mapping[str, Any] | None


def judge(measured: Measured, profile: GovernanceProfile, asked: Mapping[str, Any]) -> Gate:
    """Judge by every rule of a profile; what could not be measured fails.

    measured: by rule. asked: the arguments of the training call, from which the refinement's next call is made.
    """
    results = tuple(_result(rule, limit, measured.get(rule)) for rule, limit in profile.limits.items())
    failed = [result.rule for result in results if not result.passed]
    if not failed:
        return Gate("PASS", results, None)
    return Gate("FAIL", results, _refinement(failed, asked))


def _result(rule: Rule, limit: Limit, value: float | None) -> RuleResult:
    if rule == "active_high" and value is None:  # nothing is ACTIVE there, or no interval: no reason to refuse
        return RuleResult(rule, True, None, limit)
    return RuleResult(rule, value is not None and limit.allows(value), value, limit)


def _refinement(failed: list[Rule], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The first thing that may help, in the order of the table; a large budget asks for other data instead."""
    first = next(rule for rule in _REMEDIES if rule in failed)
    change, text = _REMEDIES[first]
    if change and all(asked.get(name) == value for name, value in change.items()):
        change, text = {}, _OTHER_DATA
    call = {"tool": "run_training", "arguments": {**asked, **change}} if change else None
    return {"because": first, "change": text, **({"next_call": call} if call else {})}


_CLOCKED: Final[tuple[Rule, ...]] = ("latency_ms",)
_OTHER_DATA: Final = (
    "register more history, covariates that are known ahead, or ask for a shorter horizon; then train on that dataset"
)
MEANING: Final[dict[Rule, str]] = {
    "skill": "share of MASE saved against repeating the last season",
    "skill_low": "lower end of the 95 % interval of the share of MASE saved against repeating the last season",
    "skill_worst_step": "share of |y - median| / scale saved against seasonal naive on the worst range of steps ahead",
    "skill_worst_group": "the same on the worst group of series; where there are no groups, on all",
    "units": "test windows, or series where there are many, that the intervals rest on",
    "coverage_80": "share of the truth inside the 80 % intervals",
    "coverage_95": "share of the truth inside the 95 % intervals",
    "leaks": "guards against leakage that did not pass, a look ahead that was asked for among them",
    "replay_difference": "largest difference of a replayed forecast, in units of the target",
    "active_high": "upper end of the 95 % interval of the share of MASE saved against the ACTIVE bundle",
    "factors": "factors that the explanation names",
    "model_bytes": "size of the exported model",
    "latency_ms": "median time of a forecast of one series by the exported model, ms",
}
_REMEDIES: Final[dict[Rule, tuple[dict[str, Any], str]]] = {
    "leaks": ({}, "fill gaps from what came before them (causal), then train again"),
    "replay_difference": ({}, "report it: the same work gave other numbers"),
    "units": ({}, "send more history or more series, or ask for a shorter horizon"),
    "skill_low": ({"budget": "large"}, "try more models"),
    "skill": ({"budget": "large"}, "try more models"),
    "skill_worst_step": ({"budget": "large"}, "try more models, or ask for a horizon that ends before the worst steps"),
    "skill_worst_group": ({"budget": "large"}, "try more models, or train on the worst group by itself"),
    "coverage_80": ({"budget": "large"}, "try models that leave steadier errors, or send more history"),
    "coverage_95": ({"budget": "large"}, "try models that leave steadier errors, or send more history"),
    "active_high": ({"budget": "large"}, "keep the ACTIVE bundle, or try more models"),
    "factors": ({}, "report it: the model could not be explained"),
    "model_bytes": ({"budget": "small"}, "try fewer models"),
    "latency_ms": ({"budget": "small"}, "try fewer models"),
}
