"""The models that a budget allows for a panel: planned from a table of costs, so that the same request tries the same.

Costs plan (`model_lines`); no clock decides what is tried.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from mcp_forecast_engine.data.derived import is_holiday
from mcp_forecast_engine.data.frame import Panel, Role
from mcp_forecast_engine.evaluation.budget import Budget, installed_extras
from mcp_forecast_engine.evaluation.model_lines import MODEL_LINES
from mcp_forecast_engine.evaluation.model_size import size_of
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.pretrained_folder import pretrained_folder
from mcp_forecast_engine.models.spec import BASELINE_FAMILY, ForecastSpec

BASELINE: Final = BASELINE_FAMILY
TARGET_ONLY: Final = "target_only"
COMBINATION: Final = "combination"
REFERENCE: Final = "direct_ridge"  # the family that every arm is compared with: same model, other columns


@dataclass(frozen=True)
class Arm:
    """Which covariates may be read, by role; holidays: only those computed from the time stamps, or all but those."""

    name: str
    roles: tuple[Role, ...] = ()
    holidays: Literal["as well", "only", "left out"] = "as well"

    def reads(self, column: str) -> bool:
        """Whether a column of these roles is read."""
        return self.holidays == "as well" or is_holiday(column) == (self.holidays == "only")


WITH_COVARIATES: Final = Arm("with_covariates", ("known_future", "static"))
WITH_HOLIDAYS: Final = Arm("with_holidays", ("known_future",), "only")
WITHOUT_HOLIDAYS: Final = Arm("without_holidays", ("known_future", "static"), "left out")
WITH_ALL_COVARIATES: Final = Arm("with_all_covariates", ("known_future", "historical", "static"))


@dataclass(frozen=True)
class Candidate:
    """A model to try: family, the settings that are fixed, fits over the test windows, planned CPU seconds."""

    name: str
    family: str
    asked: Settings = field(default_factory=dict)
    refits: int = 1
    cpu_s: float = 0.0


@dataclass(frozen=True)
class LineUp:
    """The candidates that fit the budget, and why others were left out, as sentences."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[str, ...]


def arms_of(panel: Panel) -> tuple[Arm, ...]:
    """Target only; with known-future and static covariates; with all of them.

    Past-only covariates get an arm of their own: on real data they hurt as often as they help. So do holidays that were
    derived from the time stamps, beside columns that were supplied: on months they are hardly more than noise.
    """
    roles = set(panel.roles.values())
    arms = [Arm(TARGET_ONLY)]
    if len({is_holiday(name) for name, role in panel.roles.items() if role != "historical"}) == 2:
        arms += [WITH_HOLIDAYS, WITHOUT_HOLIDAYS]
    if roles & {"known_future", "static"}:
        arms.append(WITH_COVARIATES)
    if "historical" in roles:
        arms.append(WITH_ALL_COVARIATES)
    return tuple(arms)


def baseline_of(plan: BacktestPlan) -> Candidate:
    """The baseline of a plan: the season's repetition, of the plan's own season unless it says another one."""
    return Candidate(BASELINE, BASELINE, {"period": plan.baseline_season} if plan.baseline_season else {})


def reads_covariates(arm: str) -> bool:
    """Whether an arm is the reference model with covariates: what it gains over the target alone is their worth.

    A combination may read them too, but what it gains has other reasons as well.
    """
    return arm in {known.name for known in (WITH_HOLIDAYS, WITHOUT_HOLIDAYS, WITH_COVARIATES, WITH_ALL_COVARIATES)}


def most_candidates(budget: Budget) -> int:
    """How many candidates a line-up can have, pretrained models beside it."""
    return sum(budget.name in line.budgets for line in MODEL_LINES) + len(pretrained_folder().names())


def line_up(panel: Panel, spec: ForecastSpec, plan: BacktestPlan, budget: Budget) -> LineUp:
    """Take the table's lines from the top while the budget lasts; fits are repeated in the test part where it allows.

    A candidate costs its choice of settings, one fit before the validation windows, its refits and the final fit.
    """
    size, left, installed = size_of(panel, spec, plan), budget.cpu_s, _extras(budget)
    taken: list[Candidate] = []
    left_out: list[str] = []
    for line in MODEL_LINES:
        if budget.name not in line.budgets or not line.suits(size, spec):
            continue
        if line.needs and line.needs not in installed:
            left_out.append(f"{line.name} was not tried: {line.needs} is not installed")
            continue
        wanted = line.refits(size) if budget.name == "large" else min(line.refits(size), 1)
        fewer = (wanted, 1, 0) if wanted else (0,)
        for refits in dict.fromkeys(fewer if plan.refits is None else (plan.refits,)):
            cost = line.tune(size) + line.fit(size) * (2 + refits)
            if cost <= left:
                break
        else:
            left_out.append(f"{line.name} was not tried: planned {cost:.1f} CPU s, {left:.1f} left of the budget")
            continue
        left -= cost
        taken.append(Candidate(line.name, line.family, line.asked, refits, round(cost, 2)))
    return LineUp(tuple(taken), tuple(left_out))


def _extras(budget: Budget) -> tuple[str, ...]:
    return installed_extras() if budget.extras is None else budget.extras
