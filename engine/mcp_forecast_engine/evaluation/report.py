"""What a backtest found, as plain values: arms, scores with definitions, comparisons, the choice and its reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp_forecast_engine.evaluation.losses import Losses
from mcp_forecast_engine.evaluation.metrics import Metric
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.models.calibration import Spread
from mcp_forecast_engine.models.spec import QUANTILES, ForecastSpec


@dataclass(frozen=True)
class Intervals:
    """Conformal offsets for serving: (horizon, levels), how they scale, the phase and residuals they come from.

    widening: the factor on the width that recent coverage asked for; already inside the offsets.
    """

    offsets: tuple[tuple[float, ...], ...]
    spread: Spread
    phase: int | None
    residuals: int
    widening: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "levels": list(QUANTILES),
            "offsets": [list(row) for row in self.offsets],
            "spread": self.spread,
            "phase": self.phase,
            "residuals": self.residuals,
            "widening": self.widening,
        }


@dataclass(frozen=True)
class ArmReport:
    """One arm: what it read, the settings chosen on validation, and its scores on the test windows.

    validation_mase: scaled absolute error of the point path on the validation windows, by which arms are chosen.
    coverage_by_step: "80" and "95" to the coverage at each step ahead.
    """

    name: str
    family: str
    covariates: tuple[str, ...]
    spec: ForecastSpec
    settings: Mapping[str, Any]
    validation_mase: float
    metrics: tuple[Metric, ...]
    coverage_by_step: Mapping[str, tuple[float, ...]]
    intervals: Intervals

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
            "settings": dict(self.settings),
            "validation_mase": _number(self.validation_mase),
            "metrics": [metric.to_dict() for metric in self.metrics],
            "coverage_by_step": {k: [_number(x) for x in v] for k, v in self.coverage_by_step.items()},
            "intervals": self.intervals.to_dict(),
        }


def read_arm(plain: Mapping[str, Any]) -> ArmReport:
    """The arm that `to_dict` wrote: what is needed to fit and serve it; scores stay what they were."""
    spec, intervals = dict(plain["spec"]), plain["intervals"]
    lists = {name: tuple(value) for name, value in spec.items() if isinstance(value, list)}
    return ArmReport(
        name=plain["name"],
        family=plain["family"],
        covariates=tuple(plain["covariates"]),
        spec=ForecastSpec(**{**spec, **lists}),
        settings=plain["settings"],
        validation_mase=_float(plain["validation_mase"]),
        metrics=tuple(Metric(m["name"], _float(m["value"]), m["definition"]) for m in plain["metrics"]),
        coverage_by_step={k: tuple(_float(x) for x in v) for k, v in plain["coverage_by_step"].items()},
        intervals=Intervals(
            offsets=tuple(tuple(row) for row in intervals["offsets"]),
            spread=intervals["spread"],
            phase=intervals["phase"],
            residuals=intervals["residuals"],
            widening=intervals["widening"],
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
    timestamps of the first and the last test step. losses: of the chosen arm and of seasonal naive, to compare runs by.
    """

    plan: BacktestPlan
    series: int
    scored_steps: int
    first_test_ds: int
    last_test_ds: int
    arms: tuple[ArmReport, ...]
    comparisons: tuple[Comparison, ...]
    chosen: str
    choice: str
    losses: Losses
    warnings: tuple[str, ...]

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
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "chosen": self.chosen,
            "choice": self.choice,
            "losses": self.losses.to_dict(),
            "warnings": list(self.warnings),
        }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _float(value: float | None) -> float:
    return math.nan if value is None else value
