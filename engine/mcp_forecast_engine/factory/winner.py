"""Which of several runs is better, if the windows can tell: a winner needs an interval that leaves out zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mcp_forecast_engine.evaluation.pairing import Pairing
from mcp_forecast_engine.evaluation.resampling import Skill, Unit


class Named(Protocol):
    """A run, as far as this needs to know it."""

    @property
    def run_id(self) -> str: ...


R = TypeVar("R", bound=Named)


@dataclass(frozen=True)
class Winner:
    """The run with the smallest loss; `sure` when it surely beats each of the others.

    over: the leader's skill over each other run, each by itself: of many equal runs, the luckiest has some interval
    without zero. To beat all of them it has to beat the nearest, so no correction for
    the number of runs is needed. warnings: where another metric surely says the opposite.
    """

    leader: str
    metric: str
    sure: bool
    over: Mapping[str, Skill]
    sentence: str
    warnings: tuple[str, ...] = ()


def judged_by(pairings: Sequence[Pairing]) -> str | None:
    """The metric that decides: MASE, by which arms are chosen too, where every pair has it, else WQL; named beforehand,
    so that none is picked for its result. None where there is nothing to judge."""
    for metric in ("MASE", "WQL"):
        if pairings and all(metric in found.skills for found in pairings):
            return metric
    return None


def winner_of(runs: Sequence[R], metric: str, paired: Callable[[R, R], Pairing]) -> Winner:
    """The leader among runs that can all be paired with the first one by this metric, and whether it is sure."""
    gains = [0.0, *(paired(run, runs[0]).skills[metric].value for run in runs[1:])]
    leader = runs[max(range(len(runs)), key=lambda at: gains[at])]  # of equal ones the first
    found = {run.run_id: paired(leader, run) for run in runs if run is not leader}
    over = {name: one.skills[metric] for name, one in found.items() if metric in one.skills}
    sure = len(over) == len(found) and all(skill.low is not None and skill.low > 0 for skill in over.values())
    unit = next(iter(found.values())).unit
    apart = [name for name in found if name not in over]
    sentence = _sentence(leader.run_id, metric, over, unit, sure=sure)
    sentence += f"; not paired with {', '.join(apart)}" if apart and over else ""
    return Winner(leader.run_id, metric, sure, over, sentence, _opposed(leader.run_id, found) if sure else ())


def _sentence(leader: str, metric: str, over: Mapping[str, Skill], unit: Unit, *, sure: bool) -> str:
    tests = {"window": "windows", "series": "series"}[unit]
    if not over:
        return f"no difference that can be shown: {leader} shares no test {tests} with the others"
    nearest = min(over, key=lambda name: (_low(over[name]), over[name].value))
    skill = over[nearest]
    gain = f"{_percent(abs(skill.value))} % {'less' if skill.value >= 0 else 'more'} error ({metric})"
    between = "" if skill.low is None else f", 95 % interval {_percent(skill.low)} to {_percent(skill.high or 0.0)} %"
    if sure and len(over) == 1:
        return f"{leader} is better than {nearest}: {gain}{between}"
    if sure:
        return f"{leader} is better than each of the other {len(over)}: {gain} than {nearest}, the nearest{between}"
    who = "" if len(over) == 1 else " between the leading runs"
    told = f"no difference{who} that these {tests} could show: "
    if skill.low is None:
        return f"{told}too few for an interval; on them {leader} has {gain} than {nearest}"
    if skill.value == skill.low == skill.high == 0:
        return f"{told}{leader} and {nearest} lose the same in all of them"
    return f"{told}{leader} has {gain} than {nearest}{between}"


def _low(skill: Skill) -> float:
    return -math.inf if skill.low is None else skill.low


def _opposed(leader: str, found: Mapping[str, Pairing]) -> tuple[str, ...]:
    return tuple(
        f"by {metric}, {leader} is surely worse than {name}"
        for name, one in found.items()
        for metric, skill in one.skills.items()
        if skill.high is not None and skill.high < 0
    )


def _percent(share: float) -> str:
    return f"{float(f'{100 * share:.2g}'):g}"
