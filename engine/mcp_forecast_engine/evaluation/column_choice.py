"""Choosing columns: every arm answered by the same reference model; one that reads more has to earn it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcp_forecast_engine.evaluation.candidates import BASELINE, REFERENCE, Arm, Candidate, arms_of, baseline_of
from mcp_forecast_engine.evaluation.parallel import each
from mcp_forecast_engine.evaluation.progress import Progress
from mcp_forecast_engine.evaluation.trials import ArmChoice, Trials, unless_short


@dataclass(frozen=True)
class ColumnChoice:
    """The baseline and every arm that was tried, in the order of how much they read, and the one to build on.

    short: why other arms were not tried, as sentences.
    """

    arms: tuple[ArmChoice, ...]
    best: ArmChoice
    short: tuple[str, ...]

    @property
    def baseline(self) -> ArmChoice:
        """The seasonal naive, which reads no columns."""
        return self.arms[0]


def choose_columns(trials: Trials, progress: Progress) -> ColumnChoice:
    """Try the baseline and the reference model on every arm; the baseline is built on only where no arm fits."""

    def reference(arm: Arm, progress: Progress) -> ArmChoice | str:
        candidate = Candidate(arm.name, REFERENCE)
        return unless_short(arm.name, lambda: trials.arm(arm.name, trials.spec(arm), candidate, progress))

    baseline = trials.arm(BASELINE, trials.spec(Arm(BASELINE)), baseline_of(trials.plan), progress)
    references = each(reference, arms_of(trials.panel), progress, cores=trials.cores)
    arms = [arm for arm in references if isinstance(arm, ArmChoice)]
    short = tuple(told for told in references if isinstance(told, str))
    return ColumnChoice((baseline, *arms), _most_worthwhile(arms or [baseline], trials), short)


def _most_worthwhile(arms: Sequence[ArmChoice], trials: Trials) -> ArmChoice:
    best, *rest = arms
    for arm in rest:
        if trials.earns(arm, best):
            best = arm
    return best
