"""Choosing what answers: columns first, with one reference model; then models, on those columns; all before the test.

Every decision reads the validation windows alone, which lie before the first test origin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import ArtifactCorrupt, HistoryTooShort, PretrainedUnavailable
from mcp_forecast_engine.evaluation.budget import Budget
from mcp_forecast_engine.evaluation.candidates import (
    BASELINE,
    COMBINATION,
    REFERENCE,
    Arm,
    Candidate,
    arms_of,
    line_up,
)
from mcp_forecast_engine.evaluation.combining import LITTLE, Judge, choose_mix
from mcp_forecast_engine.evaluation.members import Member, Walked, walk
from mcp_forecast_engine.evaluation.parallel import each
from mcp_forecast_engine.evaluation.plan import MANY_SERIES, BacktestPlan
from mcp_forecast_engine.evaluation.pretrained_candidates import PRETRAINED, provenance, shortlist
from mcp_forecast_engine.evaluation.progress import Progress
from mcp_forecast_engine.evaluation.report import Tried
from mcp_forecast_engine.evaluation.windows import Truth, truth_at, window_at
from mcp_forecast_engine.models.combination import Rule, combined
from mcp_forecast_engine.models.spec import ForecastSpec, spec_for
from mcp_forecast_engine.models.table import MODELS, PHASED
from mcp_forecast_engine.models.windows import seasonal_change

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Made = TypeVar("Made")

_CLASSICAL = ("theta", "ets", "ces")
MARGIN = 0.02  # a gain on validation below this is no reason to read more columns


@dataclass(frozen=True)
class ArmChoice:
    """An arm after the validation windows: the question, members and weights, and the paths it walked there."""

    name: str
    spec: ForecastSpec
    members: tuple[Member, ...]
    weights: tuple[float, ...]
    rule: Rule
    lookback: int
    paths: tuple[Floats, ...]
    validation_mase: float


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


class Chooser:
    """Walks models over the validation windows of one panel and plan."""

    def __init__(
        self,
        panel: Panel,
        plan: BacktestPlan,
        origins: Sequence[Integers],
        budget: Budget,
        progress: Progress,
        *,
        cores: int = 1,
    ) -> None:
        """cores: threads that arms and candidates are shared among; the choice is the same with any number."""
        self._panel, self._plan, self._budget, self._progress, self._cores = panel, plan, budget, progress, cores
        self._all, self._origins = origins, origins[: plan.validation_windows]
        self._later: dict[tuple[str, tuple[str, ...]], Walked] = {}
        self._before = window_at(panel, origins[plan.validation_windows], plan.horizon)
        first = next(origin for origin in self._origins if np.any(origin >= 0))
        seen = [seen_at(panel, origin, plan.horizon) for origin in self._origins]
        self._judge = Judge(seen, mase_scale(panel, plan, first), plan)

    def choose(self) -> Choice:
        """Try, compare, combine. Where no model fits, the baseline answers and the notes say why."""
        baseline = self._arm(BASELINE, self._spec(Arm(BASELINE)), Candidate(BASELINE, BASELINE), self._progress)
        references = each(self._reference, arms_of(self._panel), self._progress, cores=self._cores)
        arms = [baseline, *(arm for arm in references if isinstance(arm, ArmChoice))]
        short = [told for told in references if isinstance(told, str)]
        best = self._most_worthwhile(arms)
        members, tried, notes = self._members(arms, best)
        sturdy = self._sturdy(members, best.spec)
        together = self._combination(members, best.spec, best.name, sturdy)
        # What steadies the choice because little was seen is no matter of the smallest error.
        rivals = (baseline, best) if together is None else (together,) if sturdy else (baseline, best, together)
        final = min(rivals, key=lambda arm: _or_worst(arm.validation_mase))
        used = {final.name: 1.0}
        if final is together:
            arms.append(together)
            used = dict(zip((member.name for member in together.members), together.weights, strict=True))
        pretrained, lines, more = self._pretrained(best.spec, final, tried)
        if pretrained is not None:
            final, used = pretrained, {pretrained.members[0].name: 1.0}
            arms.append(final)
        tried += lines
        told = tuple(replace(line, weight=used.get(line.name, 0.0)) for line in tried)
        return Choice(tuple(arms), told, final.name, _reason(arms, tried, final), (*short, *notes, *more), self._later)

    def _spec(self, arm: Arm) -> ForecastSpec:
        history = int(np.median(self._panel.lengths)) - self._plan.reach
        return spec_for(self._panel, self._plan.horizon, roles=arm.roles, history=history)

    def _reference(self, arm: Arm, progress: Progress) -> ArmChoice | str:
        return _unless_short(
            arm.name, lambda: self._arm(arm.name, self._spec(arm), Candidate(arm.name, REFERENCE), progress)
        )

    def _arm(self, name: str, spec: ForecastSpec, candidate: Candidate, progress: Progress) -> ArmChoice:
        member = self._tuned(spec, candidate, progress)
        walked = self._walk(spec, member, progress)
        loss = self._judge.loss(walked.paths)
        return ArmChoice(name, spec, (member,), (1.0,), "mean", walked.lookback, walked.paths, loss)

    def _walk(self, spec: ForecastSpec, member: Member, progress: Progress) -> Walked:
        """The paths of fits from before the validation windows; those that the test part shares walk on through it."""
        never = (member.refits if self._plan.refits is None else self._plan.refits) == 0
        follow, count = follows(self._panel, self._plan) and not never, len(self._origins)
        origins = self._all if never else self._origins
        walked = walk(self._panel, member, spec, origins, starts=(0,), follow=follow)
        if never:
            self._later[member.name, spec.covariates] = Walked(walked.paths[count:], walked.lookback)
        progress.step(f"{member.name}: {count} windows before the test part", of=member.name)
        return Walked(walked.paths[:count], walked.lookback)

    def _tuned(self, spec: ForecastSpec, candidate: Candidate, progress: Progress) -> Member:
        inside = [origin[self._before.series] for origin in self._origins]
        settings = MODELS[candidate.family].tune(self._before.history, spec, inside, candidate.asked)
        progress.step(f"{candidate.name}: settings chosen", of=candidate.name)
        return Member(candidate.name, candidate.family, settings, candidate.refits)

    def _most_worthwhile(self, arms: Sequence[ArmChoice]) -> ArmChoice:
        """The arm to build on; one that reads more has to earn it."""
        best = arms[1] if len(arms) > 1 else arms[0]  # the baseline competes again at the end
        for arm in arms[2:]:
            if self._earns(arm, best):
                best = arm
        return best

    def _earns(self, more: ArmChoice, less: ArmChoice) -> bool:
        """Whether an arm that reads more is at least MARGIN better, or surely better: the smallest of several errors
        that are nearly equal is smallest by luck, and every column read is one that can go wrong."""
        if more.validation_mase < (1 - MARGIN) * less.validation_mase:
            return True
        return self._judge.surely_better(more.paths, less.paths)

    def _members(
        self, arms: Sequence[ArmChoice], best: ArmChoice
    ) -> tuple[dict[str, tuple[Member, Walked]], list[Tried], tuple[str, ...]]:
        """The reference model, the baseline and every candidate of the line-up, walked on the columns of `best`."""
        found: dict[str, tuple[Member, Walked]] = {}
        tried = [Tried(a.name, a.members[0].family, a.spec.covariates, a.validation_mase, 0.0, 0.0) for a in arms]
        for arm in (arms[0], best):
            found[arm.name] = (arm.members[0], Walked(arm.paths, arm.lookback))
        planned = line_up(self._panel, best.spec, self._plan, self._budget)
        notes = list(planned.left_out)
        for candidate, outcome in zip(
            planned.candidates, self._tries(found, best.spec, planned.candidates), strict=True
        ):
            if isinstance(outcome, str):
                notes.append(outcome)
                continue
            found[candidate.name] = outcome
            loss = self._judge.loss(outcome[1].paths)
            tried.append(Tried(candidate.name, candidate.family, best.spec.covariates, loss, candidate.cpu_s, 0.0))
        return found, tried, tuple(notes)

    def _tries(
        self, known: Mapping[str, tuple[Member, Walked]], spec: ForecastSpec, candidates: Sequence[Candidate]
    ) -> list[tuple[Member, Walked] | str]:
        """Every candidate tuned and walked, or why it was not; one that became the same as another does not walk."""

        def tune(candidate: Candidate, progress: Progress) -> Member | str:
            return _unless_short(candidate.name, lambda: self._tuned(spec, candidate, progress))

        def walk_it(tuned: Member | str, progress: Progress) -> tuple[Member, Walked] | str:
            if isinstance(tuned, str):
                return tuned
            return _unless_short(tuned.name, lambda: (tuned, self._walk(spec, tuned, progress)))

        cost = {candidate.name: candidate.cpu_s for candidate in candidates}
        tuned = each(tune, candidates, self._progress, cores=self._cores, cost=lambda candidate: candidate.cpu_s)
        apart = _told_apart([member for member, _ in known.values()], tuned)
        return each(
            walk_it, apart, self._progress, cores=self._cores,
            cost=lambda one: 0.0 if isinstance(one, str) else cost[one.name],
        )  # fmt: skip

    def _pretrained(
        self, spec: ForecastSpec, chosen: ArmChoice, tried: Sequence[Tried]
    ) -> tuple[ArmChoice | None, list[Tried], list[str]]:
        """The best of the operator's pretrained models that earn the place of what was chosen; None where none does."""
        left = self._budget.cpu_s - sum(line.planned_cpu_s for line in tried)
        short = shortlist(self._panel, spec, self._plan, left)
        lines, notes, earned = [], list(short.left_out), []
        for asked in short.asked:
            name, cost = asked.candidate.name, asked.candidate.cpu_s
            try:
                arm = self._arm(PRETRAINED, asked.spec, asked.candidate, self._progress)
            except (PretrainedUnavailable, ArtifactCorrupt) as refusal:
                notes.append(f"{name} was not tried: {refusal.message}")
                continue
            lines.append(Tried(name, PRETRAINED, asked.spec.covariates, arm.validation_mase, cost, 0.0))
            earned += [arm] if self._earns(arm, chosen) else []
        if not earned:
            return None, lines, notes
        best = min(earned, key=lambda arm: arm.validation_mase)
        (member,) = best.members
        return best, lines, [*notes, provenance(member.name, member.settings["licence"])]

    def _sturdy(self, members: Mapping[str, tuple[Member, Walked]], spec: ForecastSpec) -> tuple[str, ...]:
        """The classical three, where the windows tell little and no covariate tells more; empty elsewhere."""
        if spec.covariates or self._judge.evidence() > LITTLE or not set(_CLASSICAL) <= members.keys():
            return ()
        return _CLASSICAL

    def _combination(
        self, members: dict[str, tuple[Member, Walked]], spec: ForecastSpec, best: str, sturdy: tuple[str, ...]
    ) -> ArmChoice | None:
        """Several members that are better together than the best arm alone; None where one is enough."""
        mix = choose_mix(
            {name: walked.paths for name, (_, walked) in members.items()},
            self._judge,
            baseline=BASELINE,
            medians=not any(member.family in PHASED for member, _ in members.values()),
            sturdy=sturdy,
        )
        kept = [members[name] for name in mix.members]
        if len(kept) == 1 and mix.members[0] in (BASELINE, best):
            return None
        paths = tuple(
            combined([walked.paths[k] for _, walked in kept], mix.weights, mix.rule) for k in range(len(self._origins))
        )
        if all(member.family in PHASED for member, _ in kept):
            # Data may end elsewhere in the season than these learned: then the reference model answers alone.
            kept.append(members[best])
            mix = replace(mix, weights=(*mix.weights, 0.0))
        lookback = max(walked.lookback for _, walked in kept)
        chosen = tuple(member for member, _ in kept)
        return ArmChoice(COMBINATION, spec, chosen, mix.weights, mix.rule, lookback, paths, mix.loss)


def _unless_short(name: str, work: Callable[[], Made]) -> Made | str:
    """What the work makes, or the sentence that says why the history is too short for it."""
    try:
        return work()
    except HistoryTooShort as refusal:
        return f"{name} was not tried: {refusal.message}"


def _told_apart(known: Sequence[Member], tuned: Sequence[Member | str]) -> list[Member | str]:
    """Members in their order; a sentence for one that turned out to be the same as one before it."""
    before, found = list(known), list[Member | str]()
    for one in tuned:
        same = [] if isinstance(one, str) else [other.name for other in before if _is_same(one, other)]
        if isinstance(one, str) or not same:
            found.append(one)
            before += [] if isinstance(one, str) else [one]
        else:
            found.append(f"{one.name} turned out to be {same[0]}")
    return found


def _is_same(one: Member, other: Member) -> bool:
    return (one.family, dict(one.settings)) == (other.family, dict(other.settings))


def follows(panel: Panel, plan: BacktestPlan) -> bool:
    """Whether families that can are recalibrated at every window: where series are few, and the plan allows refits."""
    return plan.refits is None and len(panel.unique_id) < MANY_SERIES


def seen_at(panel: Panel, origin: Integers, horizon: int) -> tuple[Integers, Truth]:
    """The series of a window and what it turned out to be; only scorers ask for it."""
    return np.flatnonzero(origin >= 0).astype(np.int64), truth_at(panel, origin, horizon)


def mase_scale(panel: Panel, plan: BacktestPlan, until: Integers) -> Floats:
    """MASE's scale: seasonal change before an origin (S), zero (left out) where there is none."""
    until = np.where(until >= 0, until, 0)
    return np.nan_to_num(seasonal_change(panel, max(plan.season_length, 1), until))


def _or_worst(loss: float) -> float:
    return loss if np.isfinite(loss) else np.inf


def _reason(arms: Sequence[ArmChoice], tried: Sequence[Tried], final: ArmChoice) -> str:
    """The choice in words, with the numbers it was made by."""
    lines = [*((line.name, line.validation_mase) for line in tried)]
    lines += [(arm.name, arm.validation_mase) for arm in arms if arm.name == COMBINATION]
    told = [
        f"{name} {error:.4g}" if np.isfinite(error) else f"{name} undefined (nothing to scale errors by)"
        for name, error in lines
    ]
    rule = f"an arm that reads more has to be at least {MARGIN:.0%} better than one that reads less, or surely better"
    if any(line.family == PRETRAINED for line in tried):
        rule += ", and so has a pretrained model against what is trained here"
    return f"MASE on the windows before the test part: {', '.join(told)}; {rule}, so {final.name}"
