"""Choosing what answers, all before the test part: columns first, then models on them, then pretrained ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.intermittent import sparse
from mcp_forecast_engine.errors import PretrainedUnavailable
from mcp_forecast_engine.evaluation.budget import Budget
from mcp_forecast_engine.evaluation.candidates import COMBINATION
from mcp_forecast_engine.evaluation.column_choice import choose_columns
from mcp_forecast_engine.evaluation.members import Walked
from mcp_forecast_engine.evaluation.model_choice import choose_models
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.evaluation.pretrained_candidates import PRETRAINED, shortlist
from mcp_forecast_engine.evaluation.progress import Progress
from mcp_forecast_engine.evaluation.report import Tried
from mcp_forecast_engine.evaluation.trials import MARGIN, ArmChoice, Trials
from mcp_forecast_engine.models.spec import ForecastSpec

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """All arms in the order of how much they read, what else was tried, the arm to serve and why.

    later: test paths, by name and columns, of members whose fit from before the validation windows answers them too.
    """

    arms: tuple[ArmChoice, ...]
    tried: tuple[Tried, ...]
    chosen: str
    reason: str
    notes: tuple[str, ...]
    later: Mapping[tuple[str, tuple[str, ...]], Walked]

    def arm(self, name: str) -> ArmChoice:
        """One arm by name."""
        return next(arm for arm in self.arms if arm.name == name)


def choose(
    panel: Panel,
    plan: BacktestPlan,
    origins: Sequence[Integers],
    budget: Budget,
    progress: Progress,
    *,
    cores: int = 1,
) -> Choice:
    """Try, compare, combine. Where no model fits, the baseline answers and the notes say why.

    origins: int64 (S) per window, -1 for series that take no part; those of the test part, last, decide nothing.
    cores: threads that arms and candidates are shared among; the choice is the same with any number.
    """
    trials = Trials(panel, plan, origins, cores=cores)
    columns = choose_columns(trials, progress)
    models = choose_models(columns, trials, budget, progress)
    arms, tried, final = columns.arms, models.tried, models.final
    used = {final.name: 1.0}
    if models.together is not None and final is models.together:
        arms = (*arms, final)
        used = dict(zip((member.name for member in final.members), final.weights, strict=True))
    left = budget.cpu_s - sum(line.planned_cpu_s for line in tried)
    pretrained, lines, notes = _pretrained(trials, columns.best.spec, final, left, progress)
    if pretrained is not None:
        final, used = pretrained, {pretrained.members[0].name: 1.0}
        arms = (*arms, final)
    tried = (*tried, *lines)
    told = tuple(replace(line, weight=used.get(line.name, 0.0)) for line in tried)
    steadied = models.steadied if final is models.final else ()
    reason = _reason(arms, tried, final, squared=trials.judge.squared, steadied=steadied)
    notes = [*columns.short, *models.notes, *notes, *sparse(panel)]
    return Choice(arms, told, final.name, reason, tuple(notes), trials.later)


def _pretrained(
    trials: Trials, spec: ForecastSpec, chosen: ArmChoice, left: float, progress: Progress
) -> tuple[ArmChoice | None, list[Tried], list[str]]:
    """The best of the operator's pretrained models that earn the place of what was chosen; None where none does.

    left: CPU seconds of the budget.
    """
    short = shortlist(trials.panel, spec, trials.plan, left)
    lines, notes, earned = [], list(short.left_out), []
    for asked in short.asked:
        name, cost = asked.candidate.name, asked.candidate.cpu_s
        try:
            arm = trials.arm(PRETRAINED, asked.spec, asked.candidate, progress)
        except PretrainedUnavailable as refusal:
            notes.append(f"{name} was not tried: {refusal.message}")
            continue
        lines.append(Tried(name, PRETRAINED, asked.spec.covariates, arm.validation_mase, cost, 0.0))
        earned += [arm] if trials.earns(arm, chosen) else []
    if not earned:
        return None, lines, notes
    return min(earned, key=lambda arm: arm.loss), lines, notes


def _reason(
    arms: Sequence[ArmChoice], tried: Sequence[Tried], final: ArmChoice, *, squared: bool, steadied: Sequence[str]
) -> str:
    """The choice in words, with the numbers it was made by, and the rule that it was made by."""
    lines = [*((line.name, line.validation_mase) for line in tried)]
    lines += [(arm.name, arm.validation_mase) for arm in arms if arm.name == COMBINATION]
    told = [
        f"{name} {error:.4g}" if np.isfinite(error) else f"{name} undefined (nothing to scale errors by)"
        for name, error in lines
    ]
    if steadied:
        rule = f"little was seen: half of the answer is the mean of {', '.join(steadied)}"
    else:
        rule = (
            f"an arm that reads more has to be at least {MARGIN:.0%} better than one that reads less, or surely better"
        )
    if any(line.family == PRETRAINED for line in tried):
        rule += f"; a pretrained model has to be {MARGIN:.0%} better than what is trained here, or surely better"
    if squared:
        rule += ", all by squared errors, for where most steps are zero absolute ones favour what always says zero"
    return f"MASE on the windows before the test part: {', '.join(told)}; {rule}, so {final.name}"
