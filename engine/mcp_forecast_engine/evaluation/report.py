"""What a backtest found, as plain values: arms, scores with definitions, comparisons, the choice and its reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mcp_forecast_engine.evaluation.breakdown import DEFINITION as PARTS
from mcp_forecast_engine.evaluation.breakdown import SCORES_DEFINITION, Part, PartScores
from mcp_forecast_engine.evaluation.issued import Intervals
from mcp_forecast_engine.evaluation.losses import Losses
from mcp_forecast_engine.evaluation.members import ArmModel, Member
from mcp_forecast_engine.evaluation.metrics import Metric
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.models.spec import ForecastSpec


@dataclass(frozen=True)
class Tried:
    """A model that was tried on the windows before the test part, and what became of it.

    weight: its part in the combination, 0 where it was left out. planned_cpu_s: by the table of costs.
    """

    name: str
    family: str
    covariates: tuple[str, ...]
    validation_mase: float
    planned_cpu_s: float
    weight: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "covariates": list(self.covariates), "validation_mase": _number(self.validation_mase)}


@dataclass(frozen=True)
class ArmReport(ArmModel):
    """One arm: what it read, its members with the settings chosen on validation, and its scores on the test windows.

    phases: places in the season of the first forecast step in the last windows.
    validation_mase: scaled absolute error of the point path on the validation windows, by which arms are chosen.
    coverage_by_step: "80" and "95" to the coverage at each step ahead.
    """

    covariates: tuple[str, ...]
    phases: tuple[int, ...]
    validation_mase: float
    metrics: tuple[Metric, ...]
    coverage_by_step: Mapping[str, tuple[float, ...]]
    intervals: Intervals

    @property
    def family(self) -> str:
        """The family of the only member, or "combination"."""
        return self.members[0].family if len(self.members) == 1 else "combination"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the only member; else those of every member by name, with rule and weights."""
        if len(self.members) == 1:
            return dict(self.members[0].settings)
        each = {member.name: dict(member.settings) for member in self.members}
        weights = {member.name: weight for member, weight in zip(self.members, self.weights, strict=True)}
        return {"rule": self.rule, "weights": weights, "members": each}

    def metric(self, name: str) -> float:
        """A test score by name; NaN where it is undefined."""
        return next(m.value for m in self.metrics if m.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "family": self.family,
            "covariates": list(self.covariates),
            "spec": self.spec.to_dict(),
            "settings": self.settings,
            "members": [member.to_dict() for member in self.members],
            "weights": list(self.weights),
            "rule": self.rule,
            "lookback": self.lookback,
            "phases": list(self.phases),
            "validation_mase": _number(self.validation_mase),
            "metrics": [metric.to_dict() for metric in self.metrics],
            "coverage_by_step": {k: [_number(x) for x in v] for k, v in self.coverage_by_step.items()},
            "intervals": self.intervals.to_dict(),
        }


def chosen_arm(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The arm that a stored report says was chosen, as `ArmReport.to_dict` wrote it."""
    arm: dict[str, Any] = next(arm for arm in plain["arms"] if arm["name"] == plain["chosen"])
    return arm


def read_arm(plain: Mapping[str, Any]) -> ArmReport:
    """The arm that `to_dict` wrote: what is needed to fit and serve it; scores stay what they were."""
    spec, intervals = dict(plain["spec"]), plain["intervals"]
    lists = {name: tuple(value) for name, value in spec.items() if isinstance(value, list)}
    return ArmReport(
        name=plain["name"],
        covariates=tuple(plain["covariates"]),
        spec=ForecastSpec(**{**spec, **lists}),
        members=tuple(Member(**member) for member in plain["members"]),
        weights=tuple(plain["weights"]),
        rule=plain["rule"],
        lookback=plain["lookback"],
        phases=tuple(plain["phases"]),
        validation_mase=_float(plain["validation_mase"]),
        metrics=tuple(Metric(m["name"], _float(m["value"]), m["definition"]) for m in plain["metrics"]),
        coverage_by_step={k: tuple(_float(x) for x in v) for k, v in plain["coverage_by_step"].items()},
        intervals=Intervals(
            offsets=tuple(tuple(row) for row in intervals["offsets"]),
            transform=intervals["transform"],
            spread=intervals["spread"],
            phase=intervals["phase"],
            residuals=intervals["residuals"],
            widening=intervals["widening"],
            lookback=intervals.get("lookback"),
            stillness=tuple(intervals.get("stillness", (0.0, 0.0))),
            intermittent=intervals.get("intermittent", False),
        ),
    )


@dataclass(frozen=True)
class Comparison:
    """How much better one arm is than another on the same windows: skill = 1 - loss / loss of the other.

    low, high: 95 % interval from a bootstrap of paired windows (or series); None where there are too few.
    """

    arm: str
    against: str
    metric: str
    skill: float
    low: float | None
    high: float | None
    definition: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "arm": self.arm,
            "against": self.against,
            "metric": self.metric,
            "skill": _number(self.skill),
            "low": self.low,
            "high": self.high,
            "definition": self.definition,
        }


@dataclass(frozen=True)
class BacktestReport:
    """Everything a backtest found; `arm(report.chosen)` is the one to serve, chosen before the test windows.

    series: how many took part. scored_steps: observed steps in the test windows. first_test_ds, last_test_ds:
    timestamps of the first and the last test step. tried: every model of the line-up. parts: where arms differ.
    part_scores: what the arms that decide scored on each part.
    losses: of the chosen arm and of seasonal naive, to compare runs by. warnings: what speaks against the figures.
    notes: what was not tried and why, and whose weights were; nothing against the figures.
    """

    plan: BacktestPlan
    series: int
    scored_steps: int
    first_test_ds: int
    last_test_ds: int
    arms: tuple[ArmReport, ...]
    tried: tuple[Tried, ...]
    comparisons: tuple[Comparison, ...]
    chosen: str
    choice: str
    parts: tuple[Part, ...]
    part_scores: tuple[PartScores, ...]
    losses: Losses
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def arm(self, name: str) -> ArmReport:
        """The report of one arm."""
        return next(arm for arm in self.arms if arm.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: no NaN, no arrays; the same run gives the same values, bit for bit."""
        return {
            "plan": self.plan.to_dict(),
            "series": self.series,
            "scored_steps": self.scored_steps,
            "first_test_ds": self.first_test_ds,
            "last_test_ds": self.last_test_ds,
            "arms": [arm.to_dict() for arm in self.arms],
            "tried": [tried.to_dict() for tried in self.tried],
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "chosen": self.chosen,
            "choice": self.choice,
            "parts": [part.to_dict() for part in self.parts],
            "parts_definition": PARTS,
            "part_scores": [part.to_dict() for part in self.part_scores],
            "part_scores_definition": SCORES_DEFINITION,
            "losses": self.losses.to_dict(),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _float(value: float | None) -> float:
    return math.nan if value is None else value
