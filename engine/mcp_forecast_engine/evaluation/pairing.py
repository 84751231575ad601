"""Two runs on the windows (or series) that both were tested on: who loses less, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mcp_forecast_engine.evaluation.losses import METRICS, Losses
from mcp_forecast_engine.evaluation.resampling import Skill, Unit, block_of, nothing_to_save, skill_of


@dataclass(frozen=True)
class Pairing:
    """What two runs share and how they compare on it. Without shared units `skills` is empty and `reason` says why.

    skills: by metric, of one run over the other, for the metrics that both measured in the same way.
    count: units paired, of `mine` and `theirs` units of the runs. steps: observed steps in them.
    notes: what a reader must know, as sentences that go on after the runs' names.
    """

    unit: Unit
    skills: Mapping[str, Skill]
    count: int
    mine: int
    theirs: int
    steps: int
    reason: str | None = None
    notes: tuple[str, ...] = ()


def pair(mine: Losses, arm: str, theirs: Losses, other: str) -> Pairing:
    """Compare an arm of one run with an arm of another on the units that have the same name and the same truth.

    The interval is the one of a backtest's own comparisons, with the bootstrap's seed of `theirs`.
    """
    if mine.unit != theirs.unit:
        return _apart(mine, theirs, "they were tested by other units: one on windows, the other on series")
    there = {name: place for place, name in enumerate(theirs.groups)}
    named = [(here, there[name]) for here, name in enumerate(mine.groups) if name in there]
    same = [(here, place) for here, place in named if mine.truth[here] == theirs.truth[place]]
    if not same:
        return _apart(mine, theirs, _why_apart(mine, theirs, shared=len(named)))
    skills, notes = {}, list(_notes(mine, theirs, named=len(named), same=len(same)))
    for metric in METRICS:
        if metric == "MASE" and mine.scale != theirs.scale:
            notes.append("MASE is scaled differently (another season or another history before the test), not paired")
            continue
        skill = _skill(metric, same, mine, arm, theirs, other)
        if skill is not None:
            skills[metric] = skill
    steps = sum(mine.steps[here] for here, _ in same)
    return Pairing(mine.unit, skills, len(same), len(mine.groups), len(theirs.groups), steps, notes=tuple(notes))


def _skill(
    metric: str, same: list[tuple[int, int]], mine: Losses, arm: str, theirs: Losses, other: str
) -> Skill | None:
    """None where the metric is undefined: no series has a seasonal change, or the other run alone loses nothing."""
    kept = [(here, there) for here, there in same if metric != "MASE" or mine.scaled[here]]
    if not kept:
        return None
    sums = (
        np.array([mine.arms[arm][metric][here] for here, _ in kept]),
        np.array([theirs.arms[other][metric][there] for _, there in kept]),
    )
    block = block_of(mine.unit, len(kept))
    if not any(loss.any() for loss in sums):  # neither loses anything: a constant series
        return nothing_to_save(block)
    found = skill_of(*sums, block=block, samples=theirs.samples, seed=theirs.seed)
    return found if np.isfinite(found.value) else None


def _apart(mine: Losses, theirs: Losses, reason: str) -> Pairing:
    return Pairing(mine.unit, {}, 0, len(mine.groups), len(theirs.groups), 0, reason)


def _why_apart(mine: Losses, theirs: Losses, *, shared: int) -> str:
    if mine.unit == "window" and mine.series != theirs.series:
        return "they were tested on other series"
    if not shared:
        return "they share no test window" if mine.unit == "window" else "they were tested on other series"
    word = "window" if mine.unit == "window" else "series"
    return f"the actual values (or times) in the {shared} shared test {word}{'s' * (word == 'window')} differ"


def _notes(mine: Losses, theirs: Losses, *, named: int, same: int) -> tuple[str, ...]:
    word = "test windows" if mine.unit == "window" else "series"
    found = []
    if not named == len(mine.groups) == len(theirs.groups):
        found.append(
            f"{named} {word} are in both (of {len(mine.groups)} and {len(theirs.groups)}); only these are paired"
        )
    if same < named:
        found.append(f"the actual values differ in {named - same} of {named} shared {word}; these are left out")
    return tuple(found)
