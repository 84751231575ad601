"""Where an arm is good, and where it is better than another: on every part of the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.evaluation.divisions import HORIZON, Division, is_group
from mcp_forecast_engine.evaluation.metrics import (
    EXACT,
    Scored,
    inside,
    is_exact,
    mean_of,
    mean_scaled,
    step_losses,
    weighted,
)
from mcp_forecast_engine.evaluation.resampling import block_of, skills_of, unit_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)

SAMPLES: Final = 500  # of the bootstrap: many parts, and none of them decides
DEFINITION: Final = (
    "skill = 1 - sum of |y - median| / seasonal change over that of the other arm, on the steps of the part; value "
    "added = the other's mean scaled error minus the arm's; 95 % interval of the skill from 500 samples"
)
SCORES_DEFINITION: Final = "the metrics of the whole test by their definitions, on the steps of the part alone"


@dataclass(frozen=True)
class Part:
    """One arm over another on a part of the test, `by` and `label` as in `Division`.

    steps: observed steps in it. value_added: in units of scaled error, what the arm saves per step (forecast value
    added where the other is the baseline). low, high: 95 % interval of the skill; None where there are too few windows
    or series.
    """

    arm: str
    against: str
    by: str
    label: str
    steps: int
    skill: float
    value_added: float
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class PartScores:
    """What the arms scored on a part of the test: name of the arm to name of the metric to value, NaN if undefined.

    steps, series: observed steps in the part, and of how many series.
    """

    by: str
    label: str
    steps: int
    series: int
    scores: Mapping[str, Mapping[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; an undefined number is null."""
        told = {
            arm: {name: value if np.isfinite(value) else None for name, value in found.items()}
            for arm, found in self.scores.items()
        }
        return {"by": self.by, "label": self.label, "steps": self.steps, "series": self.series, "scores": told}


def breakdown(
    arm: str, against: str, scored: Scored, other: Scored, divided: Sequence[Division], *, seed: int
) -> tuple[Part, ...]:
    """Every part with at least one step that both have a scaled error for. seed: of the bootstrap.

    A part on which the other lost nothing has no skill, and is not among them: `lost_all` finds those.
    """
    scale = np.where(scored.scale > 0, scored.scale, np.nan)[scored.series][:, None]
    mine, theirs = (np.abs(one.errors) / scale for one in (scored, other))
    seen, found = np.isfinite(mine) & np.isfinite(theirs), []
    for division in divided:
        usable = division.mask & seen
        if usable.any():
            found.append((division, int(usable.sum()), *_sums((mine, theirs), usable, scored)))
    sums, blocks = [pair for *_, pair, _ in found], [block for *_, block in found]
    skills = skills_of(sums, blocks=blocks, samples=SAMPLES, seed=seed)
    return tuple(
        Part(arm, against, at.by, at.label, steps, skill.value, float((b.sum() - a.sum()) / steps), skill.low,
             skill.high)
        for (at, steps, (a, b), _), skill in zip(found, skills, strict=True)
        if np.isfinite(skill.value)
    )  # fmt: skip


def part_scores(arms: Mapping[str, Scored], divided: Sequence[Division]) -> tuple[PartScores, ...]:
    """MASE, WQL and coverage of these arms, scored on the same rows, on every part with an observed step."""
    steps, found = {name: _steps_of(scored) for name, scored in arms.items()}, []
    one = next(iter(arms.values()))
    for division in divided:
        seen = division.mask & one.observed
        if seen.any():
            rows, ahead = (np.asarray(seen.any(axis=axis)) for axis in (1, 0))
            series, counted = one.series[rows], _cut(seen, rows, ahead)
            scores = {
                name: _scores(
                    {what: np.where(counted, _cut(of, rows, ahead), np.nan) for what, of in each.items()}, series, one
                )
                for name, each in steps.items()
            }
            found.append(PartScores(division.by, division.label, int(seen.sum()), len(np.unique(series)), scores))
    return tuple(found)


def lost_all(scores: Mapping[str, Mapping[str, float | None]], arm: str, against: str) -> bool:
    """Whether an arm lost where the other lost nothing, so that no skill can say how much. scores: of a part."""
    mine, theirs = (scores.get(name, {}).get("MASE") for name in (arm, against))
    lost = theirs == 0 and mine is not None and mine >= EXACT
    return lost and not is_exact(mine, scores[arm].get("WQL"))


def lost_most(parts: Sequence[Part], scores: Sequence[PartScores], arm: str, against: str) -> tuple[Part, ...]:
    """Of one arm over another: the range of steps ahead, and the group of series, where it loses most, if it does.

    Where the other lost nothing the skill is minus infinity, and the value added what the arm lost.
    """
    lost = [part for part in parts if (part.arm, part.against) == (arm, against) and part.skill < 0]
    lost += [
        Part(arm, against, part.by, part.label, part.steps, -inf, -part.scores[arm]["MASE"], None, None)
        for part in scores
        if lost_all(part.scores, arm, against)
    ]
    kinds = ([part for part in lost if part.by == HORIZON], [part for part in lost if is_group(part.by)])
    return tuple(min(found, key=lambda part: (part.skill, part.value_added)) for found in kinds if found)


def _steps_of(scored: Scored) -> dict[str, Floats]:
    """What each step adds to the metrics, (R, horizon): once for all parts, quantiles are the largest arrays."""
    return {
        "absolute": np.abs(scored.errors),
        "losses": step_losses(scored),
        "size": np.abs(scored.y),
        "coverage_80": inside(scored, 0.1, 0.9),
        "coverage_95": inside(scored, 0.025, 0.975),
    }


def _cut(values: NDArray[T], rows: Mask, ahead: Mask) -> NDArray[T]:
    """Only some rows and steps ahead; most parts are all of the one or of the other."""
    found = values if rows.all() else values[rows]
    return found if ahead.all() else found[:, ahead]


def _scores(steps: Mapping[str, Floats], series: Integers, scored: Scored) -> dict[str, float]:
    return {
        "MASE": mean_scaled(steps["absolute"], series, scored.scale),
        "WQL": weighted(float(np.nansum(steps["losses"])), float(np.nansum(steps["size"]))),
        "coverage_80": mean_of(steps["coverage_80"]),
        "coverage_95": mean_of(steps["coverage_95"]),
    }


def _sums(losses: tuple[Floats, Floats], usable: Mask, scored: Scored) -> tuple[tuple[Floats, Floats], int]:
    """Losses of both by unit, and the length of a block."""
    rows = usable.any(axis=1)
    windows, series = scored.window[rows], scored.series[rows]
    unit = unit_of(len(np.unique(windows)), len(np.unique(series)))
    _, group = np.unique(series if unit == "series" else windows, return_inverse=True)
    mine, theirs = (
        np.bincount(group, weights=np.where(usable[rows], loss[rows], 0.0).sum(axis=1)).astype(np.float64)
        for loss in losses
    )
    return (mine, theirs), block_of(unit, int(group.max()) + 1)
