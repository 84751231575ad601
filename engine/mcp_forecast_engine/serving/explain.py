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
from mcp_forecast_engine.serving.categories import recoded
from mcp_forecast_engine.serving.forecast import BATCH
from mcp_forecast_engine.serving.session import ModelSession
from mcp_forecast_engine.serving.usual import usual_inputs

Floats = NDArray[np.float64]
Kind = Literal["covariate", "history", "calendar"]

_MOST_COVARIATES: Final = 6  # groups of covariates; with the calendar 7, so at most 128 coalitions
_MOST_CELLS = 4_000_000  # numbers in one call of the model


@dataclass(frozen=True)
class Group:
    """Inputs that come and go together: one covariate, several that matter little, the recent history, the calendar.

    Of a covariate known ahead it is the future; its past is a part of the recent history.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """What every group adds to the median of S series: base + sum of contributions = median, to float32.

    base: (S, horizon), the mean of what the model says after usual histories (`serving.usual`). contributions:
    (S, horizon, G), in the series' units: the Shapley value of each group, that is, what it changes when it becomes
    real, averaged over every order in which the groups could (Shapley 1953; Lundberg and Lee 2017). The history comes
    first in each of them (Frye, Rowat and Feige 2020): it came first, and it sets the units in which all others count,
    so that their contributions move as a what-if of them does. Groups whose inputs are as usual in every series are
    left out: they change nothing. read, usual: (S, G), the mean over the
    horizon of a single numeric covariate that is known ahead, as it is and as it usually is; NaN for the other groups.
    """

    groups: tuple[Group, ...]
    base: Floats
    contributions: Floats
    read: Floats
    usual: Floats


def explain(session: ModelSession, panel: Panel, *, on_progress: OnProgress | None = None) -> Explanation:
    """Explain the forecast from the end of every series of the panel; what `on_progress` raises ends it in between.

    Each series is forecast once per set of groups, 129 at most; six times for those sets in which some of its past is
    as usual. Beyond six covariates the five that matter most alone keep their names and the others are one group.
    Raises what `forecast` raises about the columns.
    """
    layout = session.contract.layout
    panel = recoded(panel, session.contract.categories)
    real = tail_inputs(panel, layout)
    game = _Game(session, layout, real, usual_inputs(panel, layout, real))
    groups = _merged(game, game.movable())
    first = np.array([group.kind == "history" for group in groups], bool)
    others = _coalitions(int((~first).sum()))
    coalitions = np.ones((len(others) + 1, len(groups)), bool)
    coalitions[0], coalitions[1:, ~first] = False, others
    base, *given = game.medians(groups, coalitions, on_progress)
    found = np.repeat((given[0] - base)[:, :, None], len(groups), axis=2)
    found[:, :, ~first] = np.einsum("gc,csh->shg", _shapley_weights(others), np.stack(given))
    read, usual = game.ahead(groups, panel)
    return Explanation(groups, base, found, read, usual)


@dataclass(frozen=True)
class _Game:
    """A model between the inputs of windows as they are and as they usually are, which is a few histories of each."""

    session: ModelSession
    layout: Layout
    real: Inputs
    usual: tuple[Inputs, ...]

    def movable(self) -> list[Group]:
        """One group per covariate, history and calendar: those whose inputs are not as usual everywhere."""
        names = dict.fromkeys((*self.layout.cov_hist, *self.layout.static))
        every = [Group(name, "covariate", (name,)) for name in names]
        every += [Group("recent history", "history"), Group("calendar", "calendar")]
        return [group for group in every if not self._as_usual(self.inputs([group]))]

    def _as_usual(self, found: tuple[Inputs, ...]) -> bool:
        pairs = zip(found * (len(self.usual) // len(found)), self.usual, strict=True)
        return all(_same(one, usual) for one, usual in pairs)

    def inputs(self, groups: Sequence[Group]) -> tuple[Inputs, ...]:
        """The windows with these groups as they are and all others as usual: once for each usual history, if it is
        read, and once if not.
        """
        names = {name for group in groups for name in group.columns}
        kinds = {group.kind for group in groups}
        usual, history = self.usual[0], "history" in kinds
        ahead, fixed = (
            np.array([name in names for name in columns], bool)
            for columns in (self.layout.known_future, self.layout.static)
        )
        # The past of what is known ahead goes with the target that it made: apart, each would contradict the other.
        past = np.array([name in names for name in self.layout.historical] + [history] * len(ahead), bool)
        mixed = replace(
            self.real if history else usual,
            calendar=self.real.calendar if "calendar" in kinds else usual.calendar,
            cov_future=np.where(ahead, self.real.cov_future, usual.cov_future),
            static=np.where(fixed, self.real.static, usual.static),
        )
        found = []
        for one in self.usual[:1] if history and past.all() else self.usual:
            read = mixed if history else replace(mixed, target=one.target, known=one.known)
            found.append(replace(read, cov_hist=np.where(past, self.real.cov_hist, one.cov_hist)))
        return tuple(found)

    def medians(
        self, groups: Sequence[Group], coalitions: NDArray[np.bool_], on_progress: OnProgress | None = None
    ) -> Floats:
        """The medians under every coalition, (C, S, horizon); coalitions: (C, G), which groups are as they are.

        Where something of the past is as usual: the mean over the usual histories.
        """
        size, at_once = len(self.real), self._at_once()
        progress, found = Progress(-(-len(coalitions) // at_once), on_progress), []
        for start in range(0, len(coalitions), at_once):
            some = coalitions[start : start + at_once]
            made = [self.inputs([g for g, on in zip(groups, row, strict=True) if on]) for row in some]
            told = self.session.run(_stacked([one for several in made for one in several]))[:, :, MEDIAN]
            ends = np.cumsum([len(several) for several in made])[:-1]
            parts = np.split(told.reshape(-1, size, told.shape[1]), ends)
            found.append(np.stack([part.mean(axis=0) for part in parts]))
            progress.step(f"explained by {min(start + at_once, len(coalitions))} of {len(coalitions)} forecasts")
        return np.concatenate(found)

    def _at_once(self) -> int:
        """How many coalitions go into one call of the model."""
        cells = sum(int(getattr(self.real, name).size) for name in self.real.__dataclass_fields__) * len(self.usual)
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
            usual[:, place] = self.usual[0].cov_future[:, :, column].mean(axis=1)
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
