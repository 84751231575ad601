"""Where an arm is better than another: by steps ahead, by place in the season and by group of series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.metrics import Scored
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.evaluation.resampling import block_of, skills_of, unit_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

MOST_PARTS: Final = 8
SAMPLES: Final = 500  # of the bootstrap: many parts, and none of them decides
DEFINITION: Final = (
    "skill = 1 - sum of |y - median| / seasonal change over that of the other arm, on the steps of the part; value "
    "added = the other's mean scaled error minus the arm's; 95 % interval of the skill from 500 samples"
)


@dataclass(frozen=True)
class Part:
    """One arm over another on a part of the test: `by` "horizon", "season" or the name of a static covariate.

    label: steps ahead "1-6", places in the season "0-3" or the value of the covariate. steps: observed steps in it.
    value_added: in units of scaled error, what the arm saves per step (forecast value added where the other is the
    baseline). low, high: 95 % interval of the skill; None where there are too few windows or series.
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


def breakdown(
    arm: str, against: str, scored: Scored, other: Scored, panel: Panel, plan: BacktestPlan, phase: Integers
) -> tuple[Part, ...]:
    """Every part with at least one scored step. phase: int64 (R), place of each row's first step within the season."""
    scale = np.where(scored.scale > 0, scored.scale, np.nan)[scored.series][:, None]
    mine, theirs = (np.abs(one.errors) / scale for one in (scored, other))
    seen, found = np.isfinite(mine) & np.isfinite(theirs), []
    for by, label, mask in _masks(scored, panel, plan, phase):
        usable = mask & seen
        if usable.any():
            found.append((by, label, int(usable.sum()), *_sums((mine, theirs), usable, scored)))
    sums, blocks = [pair for *_, pair, _ in found], [block for *_, block in found]
    skills = skills_of(sums, blocks=blocks, samples=SAMPLES, seed=plan.seed)
    return tuple(
        Part(arm, against, by, label, steps, skill.value, float((b.sum() - a.sum()) / steps), skill.low, skill.high)
        for (by, label, steps, (a, b), _), skill in zip(found, skills, strict=True)
        if np.isfinite(skill.value)
    )


def _sums(losses: tuple[Floats, Floats], usable: Mask, scored: Scored) -> tuple[tuple[Floats, Floats], int]:
    """Losses of both by unit, and the length of a block."""
    rows = usable.any(axis=1)
    windows, series = scored.window[rows], scored.series[rows]
    unit = unit_of(len(np.unique(windows)), len(np.unique(series)))
    _, group = np.unique(series if unit == "series" else windows, return_inverse=True)
    mine, theirs = (
        np.bincount(group, weights=np.where(usable, loss, 0.0)[rows].sum(axis=1)).astype(np.float64) for loss in losses
    )
    return (mine, theirs), block_of(unit, int(group.max()) + 1)


def _masks(scored: Scored, panel: Panel, plan: BacktestPlan, phase: Integers) -> Iterator[tuple[str, str, Mask]]:
    horizon, m = plan.horizon, max(plan.season_length, 1)
    step = np.arange(horizon)
    everywhere = np.ones(scored.y.shape, bool)
    for first, last in _ranges(horizon):
        yield "horizon", _label(first + 1, last + 1), everywhere & ((step >= first) & (step <= last))
    if m > 1:
        place = (phase[:, None] + step) % m
        for first, last in _ranges(m):
            yield "season", _label(first, last), (place >= first) & (place <= last)
    for name, role in sorted(panel.roles.items()):
        if role == "static" and name in panel.categories:
            yield from _groups(name, scored, panel)


def _groups(name: str, scored: Scored, panel: Panel) -> Iterator[tuple[str, str, Mask]]:
    """The values of a static covariate that most series have."""
    codes = panel.covariates[name][panel.offsets[:-1]].astype(np.int64)
    counts = np.bincount(codes[codes >= 0], minlength=len(panel.categories[name]))
    for code in np.argsort(-counts, kind="stable")[:MOST_PARTS]:
        rows = codes[scored.series] == code
        yield name, str(panel.categories[name][code]), np.repeat(rows[:, None], scored.y.shape[1], axis=1)


def _ranges(count: int) -> list[tuple[int, int]]:
    """At most MOST_PARTS ranges of neighbours that cover 0 .. count - 1."""
    edges = np.unique(np.linspace(0, count, min(count, MOST_PARTS) + 1).round().astype(int))
    return [(int(a), int(b) - 1) for a, b in pairwise(edges)]


def _label(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
