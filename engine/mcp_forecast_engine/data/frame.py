"""Series in memory: the long frame as it was read, and the panel on a regular grid that models see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Role = Literal["historical", "known_future", "static"]


@dataclass(frozen=True)
class TimeAxis:
    """How `ds` counts.

    kind: "calendar" (`ds` is seconds since 1970-01-01 of the local wall clock, no zone) or "integer" (`ds` is a step).
    freq: offset alias, e.g. "15min", "h", "D", "B", "W-FRI", "MS", "ME", "QS", "YS"; "1" for integer time.
    """

    kind: Literal["calendar", "integer"]
    freq: str


@dataclass(frozen=True)
class Frame:
    """Long rows (`unique_id, ds, y`, covariates), sorted by series and then time, exactly as they were read.

    unique_id: S names, sorted. offsets: int64 (S + 1), rows of series i are offsets[i]:offsets[i + 1].
    ds: int64 (N), strictly as read: gaps and duplicates may be present, order within a series is ascending.
    y: float64 (N), NaN where absent. covariates: name -> float64 (N), NaN where absent; booleans are 0 / 1 and
    categories are codes into `categories[name]`. roles: name -> role.
    """

    unique_id: tuple[str, ...]
    offsets: NDArray[np.int64]
    ds: NDArray[np.int64]
    y: NDArray[np.float64]
    covariates: Mapping[str, NDArray[np.float64]]
    roles: Mapping[str, Role]
    categories: Mapping[str, tuple[str, ...]]
    axis: TimeAxis

    def only(self, rows: NDArray[np.int64]) -> Frame:
        """The same with some rows only, ascending indices; a series without any is left out."""
        cuts = np.searchsorted(rows, self.offsets)
        some = np.diff(cuts) > 0
        return replace(
            self,
            unique_id=tuple(name for name, kept in zip(self.unique_id, some.tolist(), strict=True) if kept),
            offsets=np.concatenate([[0], cuts[1:][some]]).astype(np.int64),
            ds=self.ds[rows],
            y=self.y[rows],
            covariates={name: values[rows] for name, values in self.covariates.items()},
        )


@dataclass(frozen=True)
class Revised:
    """What some rows of a panel are at another time than its own.

    rows: int64 (R), ascending. y: float64 (R). observed: bool (R). covariates: name -> float64 (R), where they differ.
    """

    rows: NDArray[np.int64]
    y: NDArray[np.float64]
    observed: NDArray[np.bool_]
    covariates: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Vintages:
    """What a panel's rows were when the forecasts of some windows were made, where they were not yet what they are.

    windows: origin (int64 (S), its bytes) -> what was known then. settled: what windows turned out to be, where that is
    not what the panel holds; None: the panel holds it.
    """

    windows: Mapping[bytes, Revised]
    settled: Revised | None = None


@dataclass(frozen=True)
class Panel:
    """The same series on a regular grid: no gap, no duplicate, every value finite; what models and evaluation see.

    unique_id: S names, sorted. offsets: int64 (S + 1). ds: int64 (N), one step of `axis.freq` apart within a series.
    y: float64 (N), finite. observed: bool (N), False where preprocessing filled or clipped `y` (never scored).
    covariates: name -> float64 (N), finite. roles, categories, axis: as in Frame. season_length: steps per season, m.
    future: known-future covariates after each series' last `y`: name -> float64 (S, F), where F >= 0 steps are known
    for every series and may differ between names; future_ds: int64 (S, least F), or of no step where there is none.
    vintages: of revised data, what was known when the windows of a backtest were forecast; None: what it is now.
    """

    unique_id: tuple[str, ...]
    offsets: NDArray[np.int64]
    ds: NDArray[np.int64]
    y: NDArray[np.float64]
    observed: NDArray[np.bool_]
    covariates: Mapping[str, NDArray[np.float64]]
    roles: Mapping[str, Role]
    categories: Mapping[str, tuple[str, ...]]
    axis: TimeAxis
    season_length: int
    future: Mapping[str, NDArray[np.float64]]
    future_ds: NDArray[np.int64]
    vintages: Vintages | None = None

    def as_known(self, origin: NDArray[np.int64]) -> Panel:
        """The panel as it was known when a window was forecast, without other vintages; the only way to read an input.

        origin: int64 (S), of one of the windows. Raises KeyError for another: nobody looked up what was known there.
        """
        if self.vintages is None:
            return self
        return self._with(self.vintages.windows[np.asarray(origin, np.int64).tobytes()])

    def as_settled(self) -> Panel:
        """The panel as it stands now, without vintages: what windows are scored by."""
        if self.vintages is None:
            return self
        return replace(self, vintages=None) if self.vintages.settled is None else self._with(self.vintages.settled)

    def _with(self, other: Revised) -> Panel:
        y, observed, covariates = self.y.copy(), self.observed.copy(), dict(self.covariates)
        y[other.rows], observed[other.rows] = other.y, other.observed
        for name, values in other.covariates.items():
            covariates[name] = self.covariates[name].copy()
            covariates[name][other.rows] = values
        return replace(self, y=y, observed=observed, covariates=covariates, vintages=None)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps per series, int64 (S)."""
        return np.diff(self.offsets)

    @property
    def steps(self) -> NDArray[np.int64]:
        """The place of every row within its series, int64 (N), from 0."""
        return np.arange(len(self.ds), dtype=np.int64) - np.repeat(self.offsets[:-1], self.lengths)
