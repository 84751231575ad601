"""Choosing models on the columns that were chosen: every candidate that the budget allows, and their mix."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from mcp_forecast_engine.evaluation.budget import Budget
from mcp_forecast_engine.evaluation.candidates import BASELINE, COMBINATION, Candidate, line_up
from mcp_forecast_engine.evaluation.column_choice import ColumnChoice
from mcp_forecast_engine.evaluation.combining import LITTLE, Judge, choose_mix
from mcp_forecast_engine.evaluation.members import Member, Walked
from mcp_forecast_engine.evaluation.parallel import each
from mcp_forecast_engine.evaluation.progress import Progress
from mcp_forecast_engine.evaluation.report import Tried
from mcp_forecast_engine.evaluation.trials import ArmChoice, Trials, unless_short
from mcp_forecast_engine.models.combination import combined
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.table import PHASED

_CLASSICAL: Final = ("theta", "ets", "ces")


@dataclass(frozen=True)
class ModelChoice:
    """What was tried, and what answers best of the baseline, the arm alone and several members together.

    together: the mix, or the one model that is enough; None where that is an arm already. tried, notes: a line a model,
    and why others were left out. steadied: models whose mean is half of `final`, because little was seen.
    """

    final: ArmChoice
    together: ArmChoice | None
    tried: tuple[Tried, ...]
    notes: tuple[str, ...]
    steadied: tuple[str, ...]


@dataclass(frozen=True)
class _Walkers:
    """Members on the columns of one arm, by name, with the paths they walked."""

    found: dict[str, tuple[Member, Walked]]
    tried: tuple[Tried, ...]
    notes: tuple[str, ...]


def choose_models(columns: ColumnChoice, trials: Trials, budget: Budget, progress: Progress) -> ModelChoice:
    """Try every candidate of the line-up on the columns to build on, then mix those that are better together."""
    walkers = _walkers(columns, trials, budget, progress)
    baseline, best = columns.baseline, columns.best
    steady = sturdy(walkers.found, best.spec, trials.judge)
    together, steadied = _combination(walkers, best, steady, trials)
    # What steadies the choice because little was seen is no matter of the smallest error.
    # Nor does one model alone win by luck against a mix that it was tried against: see `choose_mix`.
    rivals = (baseline, best) if together is None else (together,) if steady else (baseline, together)
    final = min(rivals, key=lambda arm: arm.loss if np.isfinite(arm.loss) else np.inf)
    return ModelChoice(final, together, walkers.tried, walkers.notes, steadied if final is together else ())


def _walkers(columns: ColumnChoice, trials: Trials, budget: Budget, progress: Progress) -> _Walkers:
    """The reference model, the baseline and every candidate of the line-up, walked on the columns to build on."""
    best, notes = columns.best, list[str]()
    tried = [Tried(a.name, a.members[0].family, a.spec.covariates, a.validation_mase, 0.0, 0.0) for a in columns.arms]
    found = {arm.name: (arm.members[0], Walked(arm.paths, arm.lookback)) for arm in (columns.baseline, best)}
    planned = line_up(trials.panel, best.spec, trials.plan, budget)
    known = [member for member, _ in found.values()]
    outcomes = _tries(known, best.spec, planned.candidates, trials, progress)
    for candidate, outcome in zip(planned.candidates, outcomes, strict=True):
        if isinstance(outcome, str):
            notes.append(outcome)
            continue
        found[candidate.name] = outcome
        mase = trials.judge.mase(outcome[1].paths)
        tried.append(Tried(candidate.name, candidate.family, best.spec.covariates, mase, candidate.cpu_s, 0.0))
    return _Walkers(found, tuple(tried), (*planned.left_out, *notes))


def _tries(
    known: Sequence[Member], spec: ForecastSpec, candidates: Sequence[Candidate], trials: Trials, progress: Progress
) -> list[tuple[Member, Walked] | str]:
    """Every candidate tuned and walked, or why it was not; one that became the same as another does not walk."""

    def tune(candidate: Candidate, progress: Progress) -> Member | str:
        return unless_short(candidate.name, lambda: trials.tuned(spec, candidate, progress))

    def walk_it(tuned: Member | str, progress: Progress) -> tuple[Member, Walked] | str:
        if isinstance(tuned, str):
            return tuned
        return unless_short(tuned.name, lambda: (tuned, trials.walk(spec, tuned, progress)))

    cost = {candidate.name: candidate.cpu_s for candidate in candidates}
    tuned = each(tune, candidates, progress, cores=trials.cores, cost=lambda candidate: candidate.cpu_s)
    return each(
        walk_it, _told_apart(known, tuned), progress, cores=trials.cores,
        cost=lambda one: 0.0 if isinstance(one, str) else cost[one.name],
    )  # fmt: skip


def _told_apart(known: Sequence[Member], tuned: Sequence[Member | str]) -> list[Member | str]:
    """Members in their order; a sentence for one that turned out to be the same as one before it."""
    before, found = list(known), list[Member | str]()
    for one in tuned:
        same = [] if isinstance(one, str) else [other.name for other in before if _is_same(one, other)]
        if isinstance(one, str) or not same:
            found.append(one)
            before += [] if isinstance(one, str) else [one]
        else:
            found.append(f"{one.name}: the same model as {same[0]}, not tried twice")
    return found


def _is_same(one: Member, other: Member) -> bool:
    return (one.family, dict(one.settings)) == (other.family, dict(other.settings))


def sturdy(tried: Collection[str], spec: ForecastSpec, judge: Judge) -> tuple[str, ...]:
    """The classical three of what was tried, where windows tell little and no covariate tells more; empty elsewhere."""
    if spec.covariates or judge.evidence() > LITTLE or not set(_CLASSICAL) <= set(tried):
        return ()
    return _CLASSICAL


def _combination(
    walkers: _Walkers, best: ArmChoice, steady: tuple[str, ...], trials: Trials
) -> tuple[ArmChoice | None, tuple[str, ...]]:
    """Several members that are better together than the best arm alone, or the one that is, under its own name; None
    where that arm is enough. With the models whose mean steadies them, where little was seen."""
    found = walkers.found
    mix = choose_mix(
        {name: walked.paths for name, (_, walked) in found.items()},
        trials.judge,
        baseline=BASELINE,
        medians=not any(member.family in PHASED for member, _ in found.values()),
        sturdy=steady,
    )
    kept = [found[name] for name in mix.members]
    if len(kept) == 1 and mix.members[0] in (BASELINE, best.name):
        return None, ()
    windows = zip(*(walked.paths for _, walked in kept), strict=True)
    paths = tuple(combined(list(window), mix.weights, mix.rule) for window in windows)
    if all(member.family in PHASED for member, _ in kept):
        # Data may end elsewhere in the season than these learned: then the reference model answers alone.
        kept.append(found[best.name])
        mix = replace(mix, weights=(*mix.weights, 0.0))
    lookback = max(walked.lookback for _, walked in kept)
    chosen = tuple(member for member, _ in kept)
    mase = trials.judge.mase(paths)
    name = mix.members[0] if len(mix.members) == 1 else COMBINATION
    arm = ArmChoice(name, best.spec, chosen, mix.weights, mix.rule, lookback, paths, mase, mix.loss)
    return arm, mix.steadied
