"""The operator's pretrained models that what is left of a budget pays for; each answers alone, never in a combination.

A combination is one file, and these weights stay in their folder. Costs are planned from the size of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import PretrainedUnavailable
from mcp_forecast_engine.evaluation.candidates import Candidate
from mcp_forecast_engine.evaluation.members import Member
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.models.pretrained import (
    LONGEST_CONTEXT,
    context_for,
    forecast_cpu_s,
    library_of,
    read_by,
    start_cpu_s,
)
from mcp_forecast_engine.models.pretrained_checkpoint import Checkpoint
from mcp_forecast_engine.models.pretrained_folder import pretrained_folder
from mcp_forecast_engine.models.pretrained_kinds import KINDS
from mcp_forecast_engine.models.spec import ForecastSpec

PRETRAINED: Final = "pretrained"
# A shorter past is a smaller cost: the longest that is paid for is read.
_CONTEXTS: Final = (LONGEST_CONTEXT, 1_024, 512)


@dataclass(frozen=True)
class Asked:
    """A pretrained model to try, and the question with the columns that its kind reads."""

    candidate: Candidate
    spec: ForecastSpec


@dataclass(frozen=True)
class Shortlist:
    """The pretrained models to try, and why others were left out, as sentences."""

    asked: tuple[Asked, ...]
    left_out: tuple[str, ...]


def shortlist(panel: Panel, spec: ForecastSpec, plan: BacktestPlan, left: float) -> Shortlist:
    """Take the models of the operator's folder while `left` CPU seconds last, those that read covariates first.

    A model costs its start, and a forecast of every series in every window. Raises ArtifactCorrupt where a model that
    the run has pinned was changed or removed.
    """
    folder = pretrained_folder()
    found: list[Checkpoint] = []
    asked: list[Asked] = []
    left_out: list[str] = []
    for name in folder.names():
        try:
            checkpoint = folder.outline(name)
            library_of(checkpoint)
        except PretrainedUnavailable as refusal:
            left_out.append(f"{called(name)} was not tried: {refusal.message}")
            continue
        found.append(checkpoint)
    for checkpoint in sorted(found, key=lambda one: (list(KINDS).index(one.kind), one.name)):
        context, cost = _affordable(checkpoint, panel, spec, plan, left)
        name = called(checkpoint.name)
        if cost > left:
            left_out.append(f"{name} was not tried: planned {cost:.1f} CPU s, {max(left, 0):.1f} left of the budget")
            continue
        folder.checkpoint(checkpoint.name)  # only now its files are hashed, and compared with what was pinned
        left -= cost
        settings = {"model": checkpoint.name, "lookback": context}
        candidate = Candidate(name, PRETRAINED, settings, refits=1, cpu_s=round(cost, 2))
        asked.append(Asked(candidate, read_by(checkpoint.kind, spec)))
    return Shortlist(tuple(asked), tuple(left_out))


def called(name: str) -> str:
    """A model's name beside those of other candidates; a sub-folder may be called as one of them is."""
    return f"{PRETRAINED} {name}"


def provenance(member: Member) -> str:
    """What speaks against the figures of a pretrained model that answers, as a sentence."""
    return (
        f"{member.name} (licence: {member.settings['licence']}) was trained by others on data that is not known here: "
        "it may have seen the test windows, as M4 and ETT are in the training data of many, and then the measured "
        "error flatters it"
    )


def _affordable(
    checkpoint: Checkpoint, panel: Panel, spec: ForecastSpec, plan: BacktestPlan, left: float
) -> tuple[int, float]:
    """The longest past that fits what is left, else the shortest, with its cost in CPU seconds."""
    history = int(np.median(panel.lengths)) - plan.reach
    # Where nothing is fitted for the test part, the test walks the validation windows again.
    walks = plan.windows + (plan.validation_windows if plan.refits == 0 else 0)
    for most in _CONTEXTS:
        context = context_for(checkpoint, spec, min(history, most))
        each = forecast_cpu_s(checkpoint, spec, context)
        cost = start_cpu_s(checkpoint) + len(panel.unique_id) * walks * each
        if cost <= left:
            break
    return context, cost
