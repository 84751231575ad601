"""Trials before the test part: a model is tuned, walks the validation windows and is judged there.

Every decision reads these windows alone, which lie before the first test origin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.intermittent import mostly_zero
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.evaluation.candidates import BASELINE, Arm, Candidate
from mcp_forecast_engine.evaluation.combining import Judge
from mcp_forecast_engine.evaluation.members import ArmModel, Member, Walked
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.evaluation.progress import Progress
from mcp_forecast_engine.evaluation.walks import before_test
from mcp_forecast_engine.evaluation.windows import Truth, truth_at, window_at
from mcp_forecast_engine.models.spec import ForecastSpec, never_negative, spec_for
from mcp_forecast_engine.models.table import MODELS
from mcp_forecast_engine.models.windows import seasonal_change

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Made = TypeVar("Made")

MARGIN: Final = 0.02  # a gain on validation below this is no reason to read more columns


@dataclass(frozen=True)
class ArmChoice(ArmModel):
    """An arm after the validation windows, and the paths it walked there.

    validation_mase is told; loss decides, and is the same but where the target is mostly zero (see `Judge`).
    """

    paths: tuple[Floats, ...]
    validation_mase: float
    loss: float


class Trials:
    """The validation windows of one panel and plan, which every model that is tried walks alike."""

    def __init__(self, panel: Panel, plan: BacktestPlan, origins: Sequence[Integers], *, cores: int) -> None:
        """origins: int64 (S) per window, those of the test part last. cores: threads that trials are shared among."""
        self.panel, self.plan, self.cores = panel, plan, cores
        self.later: dict[tuple[str, tuple[str, ...]], Walked] = {}
        self._all, self.origins = origins, origins[: plan.validation_windows]
        self._before = window_at(panel, origins[plan.validation_windows], plan.horizon)
        self._nonnegative = never_negative(self._before.history)
        first = next(origin for origin in self.origins if np.any(origin >= 0))
        seen = [seen_at(panel, origin, plan.horizon) for origin in self.origins]
        squared = mostly_zero(self._before.history) is not None
        self.judge = Judge(seen, mase_scale(panel, plan, first), plan, squared=squared)

    def spec(self, arm: Arm) -> ForecastSpec:
        """The question with the columns of an arm; that it is never below zero is read off before the test part."""
        history = int(np.median(self.panel.lengths)) - self.plan.reach
        spec = spec_for(self.panel, self.plan.horizon, roles=arm.roles, history=history)
        ahead = tuple(name for name in spec.known_future if arm.reads(name))
        # What the baseline repeats has to be read, also where models ask for less.
        lookback = max(spec.lookback, self.plan.baseline_season) if arm.name == BASELINE else spec.lookback
        return replace(spec, lookback=lookback, known_future=ahead, nonnegative=self._nonnegative)

    def tuned(self, spec: ForecastSpec, candidate: Candidate, progress: Progress) -> Member:
        """A candidate with settings chosen on what lies before the test part. Raises HistoryTooShort."""
        inside = [origin[self._before.series] for origin in self.origins]
        settings = MODELS[candidate.family].tune(self._before.history, spec, inside, candidate.asked)
        progress.step(f"{candidate.name}: settings chosen", of=candidate.name)
        return Member(candidate.name, candidate.family, settings, candidate.refits)

    def walk(self, spec: ForecastSpec, member: Member, progress: Progress) -> Walked:
        """The paths of fits from before the validation windows; those that the test part shares walk on through it and
        are kept in `later`. Raises HistoryTooShort."""
        walked, later = before_test(self.panel, member, spec, self.plan, self._all)
        if later is not None:
            self.later[member.name, spec.covariates] = later
        progress.step(f"{member.name}: {len(self.origins)} windows before the test part", of=member.name)
        return walked

    def arm(self, name: str, spec: ForecastSpec, candidate: Candidate, progress: Progress) -> ArmChoice:
        """One candidate that answers alone, tuned and walked. Raises HistoryTooShort."""
        member = self.tuned(spec, candidate, progress)
        walked = self.walk(spec, member, progress)
        mase, loss = self.judge.mase(walked.paths), self.judge.loss(walked.paths)
        return ArmChoice(name, spec, (member,), (1.0,), "mean", walked.lookback, walked.paths, mase, loss)

    def earns(self, more: ArmChoice, less: ArmChoice) -> bool:
        """Whether an arm that reads more is at least MARGIN better, or surely better: the smallest of several errors
        that are nearly equal is smallest by luck, and every column read is one that can go wrong."""
        if more.loss < (1 - MARGIN) * less.loss:
            return True
        return self.judge.surely_better(more.paths, less.paths)


def unless_short(name: str, work: Callable[[], Made]) -> Made | str:
    """What the work makes, or the sentence that says why the history is too short for it."""
    try:
        return work()
    except HistoryTooShort as refusal:
        return f"{name} was not tried: {refusal.message}"


def seen_at(panel: Panel, origin: Integers, horizon: int) -> tuple[Integers, Truth]:
    """The series of a window and what it turned out to be; only scorers ask for it."""
    return np.flatnonzero(origin >= 0).astype(np.int64), truth_at(panel, origin, horizon)


def mase_scale(panel: Panel, plan: BacktestPlan, until: Integers) -> Floats:
    """MASE's scale: seasonal change before an origin (S), zero (left out) where there is none.

    Of the baseline's season: a season that the data do not have makes any model look small beside its change.
    """
    until = np.where(until >= 0, until, 0)
    return np.nan_to_num(seasonal_change(panel.as_settled(), plan.scale_season, until))
