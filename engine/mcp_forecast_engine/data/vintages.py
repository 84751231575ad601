"""What was known when each forecast of a backtest was made: the panel of every window, by its own revisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.dataset import Dataset
from mcp_forecast_engine.data.frame import Frame, Panel, Revised, Vintages
from mcp_forecast_engine.data.frequency import DAY
from mcp_forecast_engine.data.merging import places_of
from mcp_forecast_engine.data.revisions import series_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
_NEVER: Final = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Unsent:
    """Values of a covariate known ahead over the horizons of a backtest: how many there are, and how many of them
    nobody had observed when the forecast would have been made."""

    count: int
    of: int


def vintages_of(
    dataset: Dataset, stood: Frame, panel: Panel, origins: Sequence[Integers], *, horizon: int,
    maturity_days: int | None, rebuild: Callable[[Frame], Panel],
) -> tuple[Vintages | None, dict[str, Unsent]]:  # fmt: skip
    """What forecasts of windows read, where it is not what the panel holds; None where nothing differs. With it, what
    they read ahead although it was not known yet, by covariate.

    A series is forecast once the last target before the origin has become known, or when the first one from the origin
    on has: what came later is a gap. It counts as known once it is observed and old enough. Then the series' earlier
    rows are the newest revisions observed by that time, and one that was not observed yet is a gap; of later rows,
    covariates known ahead are the newest of that time, where there were any, and as they stand where there were none.
    What was not known of a series' beginning repeats its first step.

    dataset: with all revisions. stood: its rows as of label_asof, that the panel was made of. origins: int64 (S) per
    window, -1 for series that take no part. maturity_days: as for `as_of`. rebuild: makes a panel of rows, as the run's
    was made.
    """
    if dataset.observed is None:
        return None, {}
    rows = _revisions(dataset.frame, dataset.observed, stood, panel, (maturity_days or 0) * DAY)
    windows = {}
    unsent = {name: Unsent(0, 0) for name in stood.covariates if panel.roles.get(name) == "known_future"}
    for origin in origins:
        start = _by_frame(origin, panel, stood)[series_of(stood.offsets)]
        limit = _asked(rows, rows.place < start)
        newest = _newest(rows, limit)
        then = _known_at(rows, start, limit, newest)
        made = None if then is None else rebuild(then)
        windows[origin.tobytes()] = _differing(panel, made, origin, horizon)
        ahead = _ahead(rows, start, horizon)
        unsent = {name: _more(before, rows, newest, ahead, name) for name, before in unsent.items()}
    late = {name: found for name, found in unsent.items() if found.count}
    return Vintages(windows) if any(len(one.rows) for one in windows.values()) else None, late


def told(panel: Panel, origins: Sequence[Integers], unsent: Mapping[str, Unsent]) -> tuple[str, ...]:
    """What a reader of a backtest on revised data has to know, in sentences; none where no forecast read another value
    than stands now, and everything that was read ahead was known."""
    late = flattering(unsent)
    if panel.vintages is None:
        return late
    read = int(np.stack(origins).max(axis=0).clip(0).sum())
    rows = np.unique(np.concatenate([one.rows for one in panel.vintages.windows.values()]))
    return (
        f"{len(rows)} of {read} steps that forecasts read in the backtest were revised later or not known yet; each "
        "was read as it was known then",
        *late,
    )


def flattering(unsent: Mapping[str, Unsent]) -> tuple[str, ...]:
    """Why tests may flatter: covariates that were read ahead before anybody had observed them, a sentence each."""
    return tuple(
        f"{found.count} of {found.of} values of {name} over the horizons were not known yet when the forecast would "
        "have been made; the tests read them as they came later: send it as historical or send what was planned"
        for name, found in sorted(unsent.items())
    )


@dataclass(frozen=True)
class _Revisions:
    """Every revision of every row that stood, in the order of these rows and of when they became known.

    rows: all revisions (R). observed: int64 (R). series: int64 (R), places in `stood`. starts: int64 (N), where the
    revisions of each row of `stood` (N) begin. place: int64 (N), the step of the panel that each row is part of.
    first: int64 (N), when the row's first target became known and was old enough. young: seconds by which a target has
    to be older than what it is read at.
    """

    stood: Frame
    rows: Frame
    observed: Integers
    series: Integers
    starts: Integers
    place: Integers
    first: Integers
    young: int


def _revisions(frame: Frame, observed: Integers, stood: Frame, panel: Panel, young: int) -> _Revisions:
    kept = np.zeros(len(observed), bool)
    place = {name: i for i, name in enumerate(frame.unique_id)}
    for i, name in enumerate(stood.unique_id):
        own = slice(*frame.offsets[place[name] : place[name] + 2])
        kept[own] = np.isin(frame.ds[own], stood.ds[slice(*stood.offsets[i : i + 2])])
    rows, seen = frame.only(np.flatnonzero(kept)), observed[kept]
    series = series_of(rows.offsets)
    new = np.ones(len(seen), bool)
    new[1:] = (series[1:] != series[:-1]) | (rows.ds[1:] != rows.ds[:-1])
    starts = np.flatnonzero(new)
    first = np.minimum.reduceat(np.where(np.isnan(rows.y), _NEVER, seen), starts)
    if young:
        first = np.maximum(first, stood.ds + young)
    return _Revisions(stood, rows, seen, series, starts, places_of(stood, panel), first, young)


def _by_frame(origin: Integers, panel: Panel, stood: Frame) -> Integers:
    """Origins (S) by the series of the frame; -1 where one takes no part."""
    at = dict(zip(panel.unique_id, origin.tolist(), strict=True))
    return np.array([at.get(name, -1) for name in stood.unique_id], np.int64)


def _known_at(all_: _Revisions, start: Integers, limit: Integers, newest: Integers) -> Frame | None:
    """The rows as they were known when every series was forecast; later rows as they stand. None where nothing differs
    from what stands.

    start: int64 (N), the origin of each row's series. limit: int64 (S), when that was. newest: as `_newest` tells it.
    """
    stood, rows = all_.stood, all_.rows
    early = all_.place < start
    known = newest >= 0
    old_enough = known if not all_.young else known & (stood.ds <= limit[series_of(stood.offsets)] - all_.young)
    y = np.where(early, _of(rows.y, newest, old_enough), stood.y)
    covariates = {
        name: _covariate(values, _of(rows.covariates[name], newest, known), early, stood.roles[name])
        for name, values in stood.covariates.items()
    }
    kept = known | ~early
    kept[stood.offsets[:-1]] = True  # where the grid begins does not follow from what was late
    columns = [(y, stood.y), *((covariates[name], stood.covariates[name]) for name in covariates)]
    if kept.all() and all(np.array_equal(one, other, equal_nan=True) for one, other in columns):
        return None
    return replace(stood, y=y, covariates=covariates).only(np.flatnonzero(kept))


def _asked(all_: _Revisions, early: Mask) -> Integers:
    """When each series was forecast, int64 (S): its last early target had first become known, or a later one had.

    Waiting for a value that came after the truth would read everything else as revised by then. Where no early target
    came before the truth, as in a load of the newest first, it is forecast when the first early one came.
    """
    measured, starts = ~np.isnan(all_.stood.y), all_.stood.offsets[:-1]
    last = np.maximum.reduceat(np.where(measured & early, np.arange(len(early)), -1), starts)
    soonest = np.minimum.reduceat(np.where(measured & early, all_.first, _NEVER), starts)
    truth = np.minimum.reduceat(np.where(measured & ~early, all_.first, _NEVER), starts)
    return np.where(last >= 0, np.maximum(np.minimum(all_.first[last], truth), soonest), _NEVER)


def _newest(all_: _Revisions, limit: Integers) -> Integers:
    """Which revision of each row of `stood` was the newest at its series' time, int64 (N); -1 where there was none."""
    index = np.where(all_.observed <= limit[all_.series], np.arange(len(all_.observed)), -1)
    return np.asarray(np.maximum.reduceat(index, all_.starts), np.int64)


def _ahead(all_: _Revisions, start: Integers, horizon: int) -> Mask:
    """Which rows of `stood` a forecast reads ahead, bool (N); those after the last target count with its step."""
    measured = np.where(np.isnan(all_.stood.y), -1, np.arange(len(start)))
    last = np.maximum.reduceat(measured, all_.stood.offsets[:-1])[series_of(all_.stood.offsets)]
    over = (all_.place >= start) & (all_.place < start + horizon)
    return np.asarray(over & (start >= 0) & (np.arange(len(start)) <= last), bool)


def _more(before: Unsent, all_: _Revisions, newest: Integers, ahead: Mask, name: str) -> Unsent:
    """With the values of a covariate that another window reads ahead."""
    given = ahead & ~np.isnan(all_.stood.covariates[name])
    sent = _of(all_.rows.covariates[name], newest, newest >= 0)
    return Unsent(before.count + int((given & np.isnan(sent)).sum()), before.of + int(given.sum()))


def _of(values: Floats, newest: Integers, known: Mask) -> Floats:
    return np.where(known, values[newest], np.nan)


def _covariate(stood: Floats, then: Floats, early: Mask, role: str) -> Floats:
    """Early values as known then; ahead those that were sent by then, where the role says that some can be."""
    ahead = np.where(np.isnan(then), stood, then) if role == "known_future" else stood
    return np.where(early, then, ahead)


def _differing(panel: Panel, made: Panel | None, origin: Integers, horizon: int) -> Revised:
    """Where another panel of the same series differs in what the forecasts of a window read."""
    nothing = np.zeros(0, np.int64)
    if made is None:
        return Revised(nothing, np.zeros(0), np.zeros(0, bool), {})
    source, there = _matched(panel, made)
    start = np.repeat(origin, panel.lengths)
    early, shown = panel.steps < start, panel.steps < start + np.where(start >= 0, horizon, 0)
    y = np.where(early, made.y[source], panel.y)
    observed = np.where(early, made.observed[source] & there, panel.observed)
    covariates = {
        name: np.where(shown if panel.roles[name] == "known_future" else early, made.covariates[name][source], values)
        for name, values in panel.covariates.items()
    }
    other = {name: values != panel.covariates[name] for name, values in covariates.items()}
    rows = np.flatnonzero(np.any([y != panel.y, observed != panel.observed, *other.values()], axis=0))
    changed: Mapping[str, Floats] = {name: covariates[name][rows] for name, where in other.items() if where.any()}
    return Revised(rows.astype(np.int64), y[rows], observed[rows], changed)


def _matched(panel: Panel, made: Panel) -> tuple[Integers, Mask]:
    """For every row of a panel the row of another one at its time, or the next one there is; and which of both."""
    place = {name: i for i, name in enumerate(made.unique_id)}
    source = np.empty(len(panel.ds), np.int64)
    for i, name in enumerate(panel.unique_id):
        own, other = slice(*panel.offsets[i : i + 2]), slice(*made.offsets[place[name] : place[name] + 2])
        at = np.searchsorted(made.ds[other], panel.ds[own])
        source[own] = other.start + np.minimum(at, other.stop - other.start - 1)
    return source, made.ds[source] == panel.ds
