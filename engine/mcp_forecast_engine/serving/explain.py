"""Why a forecast is what it is: how much each covariate, the recent history and the calendar moved it, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import factorial
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.progress import OnProgress, Progress
from mcp_forecast_engine.models.features import Inputs, Layout, tail_inputs
from mcp_forecast_engine.models.spec import MEDIAN
from mcp_forecast_engine.serving.forecast import BATCH, recoded
from mcp_forecast_engine.serving.session import ModelSession
from mcp_forecast_engine.serving.usual import usual_inputs

Floats = NDArray[np.float64]
Kind = Literal["covariate", "history", "calendar"]

_MOST_COVARIATES: Final = 6  # groups of covariates; with history and calendar 8, so at most 256 coalitions
_MOST_CELLS = 4_000_000  # numbers in one call of the model


@dataclass(frozen=True)
class Group:
    """Inputs that come and go together: one covariate, several that matter little, the recent history, the calendar."""

    name: str
    kind: Kind
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """What every group adds to the median of S series: base + sum of contributions = median, to float32.

    base: (S, horizon), what the model would say after a usual season (`serving.usual`). contributions:
    (S, horizon, G), in the series' units: the Shapley value of each group, that is, what it changes when it becomes
    real, averaged over every order in which the groups could (Shapley 1953; Lundberg and Lee 2017). Groups whose
    inputs are as usual in every series are left out: they change nothing. read, usual: (S, G), the mean over the
    horizon of a single numeric covariate that is known ahead, as it is and as it usually is; NaN for the other groups.
    """

    groups: tuple[Group, ...]
    base: Floats
    contributions: Floats
    read: Floats
    usual: Floats


def explain(session: ModelSession, panel: Panel, *, on_progress: OnProgress | None = None) -> Explanation:
    """Explain the forecast from the end of every series of the panel; what `on_progress` raises ends it in between.

    Each series is forecast once per set of groups, 256 times at most. Beyond six covariates the five that matter most
    alone keep their names and the others are one group. Raises what `forecast` raises about the columns.
    """
    layout = session.contract.layout
    panel = recoded(panel, session.contract.categories)
    real = tail_inputs(panel, layout)
    game = _Game(session, layout, real, usual_inputs(panel, layout, real))
    groups = _merged(game, game.movable())
    coalitions = _coalitions(len(groups))
    medians = game.medians(groups, coalitions, on_progress)
    found = np.einsum("gc,csh->shg", _shapley_weights(coalitions), medians)
    read, usual = game.ahead(groups, panel)
    return Explanation(groups, medians[0], found, read, usual)


@dataclass(frozen=True)
class _Game:
    """A model between two sets of inputs of the same windows: as they are, and as they usually are."""

    session: ModelSession
    layout: Layout
    real: Inputs
    usual: Inputs

    def movable(self) -> list[Group]:
        """One group per covariate, history and calendar: those whose inputs are not as usual everywhere."""
        names = dict.fromkeys((*self.layout.cov_hist, *self.layout.static))
        every = [Group(name, "covariate", (name,)) for name in names]
        every += [Group("recent history", "history"), Group("calendar", "calendar")]
        return [group for group in every if not _same(self.inputs([group]), self.usual)]

    def inputs(self, groups: Sequence[Group]) -> Inputs:
        """The windows with these groups as they are and all others as usual."""
        names = {name for group in groups for name in group.columns}
        kinds = {group.kind for group in groups}
        past, ahead, fixed = (
            np.array([name in names for name in columns], bool)
            for columns in (self.layout.cov_hist, self.layout.known_future, self.layout.static)
        )
        return replace(
            self.usual,
            target=self.real.target if "history" in kinds else self.usual.target,
            calendar=self.real.calendar if "calendar" in kinds else self.usual.calendar,
            cov_hist=np.where(past, self.real.cov_hist, self.usual.cov_hist),
            cov_future=np.where(ahead, self.real.cov_future, self.usual.cov_future),
            static=np.where(fixed, self.real.static, self.usual.static),
        )

    def medians(
        self, groups: Sequence[Group], coalitions: NDArray[np.bool_], on_progress: OnProgress | None = None
    ) -> Floats:
        """The medians under every coalition, (C, S, horizon); coalitions: (C, G), which groups are as they are."""
        size, at_once = len(self.real), self._at_once()
        progress, found = Progress(-(-len(coalitions) // at_once), on_progress), []
        for start in range(0, len(coalitions), at_once):
            some = coalitions[start : start + at_once]
            made = [self.inputs([g for g, on in zip(groups, row, strict=True) if on]) for row in some]
            found.append(self.session.run(_stacked(made))[:, :, MEDIAN].reshape(len(some), size, -1))
            progress.step(f"explained by {min(start + at_once, len(coalitions))} of {len(coalitions)} forecasts")
        return np.concatenate(found)

    def _at_once(self) -> int:
        """How many coalitions go into one call of the model."""
        cells = sum(int(getattr(self.real, name).size) for name in self.real.__dataclass_fields__)
        return max(min(BATCH // len(self.real), _MOST_CELLS // max(cells, 1)), 1)

    def ahead(self, groups: Sequence[Group], panel: Panel) -> tuple[Floats, Floats]:
        """Means over the horizon of the groups that are one numeric covariate known ahead, real and usual, (S, G)."""
        read, usual = (np.full((len(self.real), len(groups)), np.nan) for _ in range(2))
        for place, group in enumerate(groups):
            if len(group.columns) != 1 or group.columns[0] not in self.layout.known_future:
                continue
            if group.columns[0] in panel.categories:
                continue
            column = self.layout.known_future.index(group.columns[0])
            read[:, place] = self.real.cov_future[:, :, column].mean(axis=1)
            usual[:, place] = self.usual.cov_future[:, :, column].mean(axis=1)
        return read, usual


def _same(one: Inputs, other: Inputs) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in one.__dataclass_fields__)


def _stacked(parts: Sequence[Inputs]) -> Inputs:
    return Inputs(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in parts[0].__dataclass_fields__})


def _merged(game: _Game, groups: list[Group]) -> tuple[Group, ...]:
    """At most eight groups: the five covariates without which the forecast changes most, and the others as one."""
    covariates = [group for group in groups if group.kind == "covariate"]
    others = [group for group in groups if group.kind != "covariate"]
    if len(covariates) <= _MOST_COVARIATES:
        return tuple(groups)
    # All groups as they are, and each covariate alone as usual.
    without = np.ones((len(covariates) + 1, len(groups)), bool)
    without[np.arange(1, len(without)), [groups.index(group) for group in covariates]] = False
    medians = game.medians(groups, without)
    level = np.abs(medians[0]).mean(axis=1) + np.finfo(np.float64).tiny
    change = (np.abs(medians[1:] - medians[0]).mean(axis=2) / level).mean(axis=1)
    order = np.argsort(-change, kind="stable")
    named = {covariates[i].name for i in order[: _MOST_COVARIATES - 1]}
    kept = [group for group in covariates if group.name in named]
    rest = tuple(group.name for group in covariates if group.name not in named)
    return (*kept, Group(f"{len(rest)} other covariates", "covariate", rest), *others)


def _coalitions(groups: int) -> NDArray[np.bool_]:
    """Every set of groups, bool (2^G, G): none of them first, all of them last."""
    return np.asarray((np.arange(2**groups)[:, None] >> np.arange(groups)) % 2 == 1, np.bool_)


def _shapley_weights(coalitions: NDArray[np.bool_]) -> Floats:
    """(G, 2^G): what the forecast of each coalition counts in the value of each group.

    Of a coalition with s other groups, (s! (G - s - 1)!) / G! with the group, and the same, negative, without it.
    """
    count = coalitions.shape[1]
    chance = np.array([factorial(s) * factorial(count - s - 1) / factorial(count) for s in range(count)])
    size = coalitions.sum(axis=1)[:, None]
    others = np.where(coalitions, size - 1, size)
    # Without a group there is at least one fewer than all: `others` is a place in `chance` for every pair.
    return np.asarray(np.where(coalitions, 1.0, -1.0) * chance[others], np.float64).T if count else np.zeros((0, 1))
