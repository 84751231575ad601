"""The guard over what forecasts of a backtest read: looked up again in the revisions, by a reading of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Frame, Panel
from mcp_forecast_engine.data.merging import places_of
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.evaluation.members import history_before

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Told:
    """The revisions of one series in the order in which they became known.

    at: int64 (R), the row of those that stand that each is about. row: int64 (R), its place in the data. seen: int64
    (R), ascending. known: int64 (rows of the series), when a target counts as known; the largest where there is none.
    """

    at: Integers
    row: Integers
    seen: Integers
    known: Integers


def read_otherwise(
    frame: Frame, observed: Integers, stood: Frame, panel: Panel, origins: Sequence[Integers], horizon: int,
    rebuild: Callable[[Frame], Panel], *, young: int = 0,
) -> Iterator[str]:  # fmt: skip
    """Values that a window reads otherwise than they were known when it was forecast, the first of each window.

    That is told by the revisions alone (`data.vintages` is what is checked): a series is forecast when its last target
    before the origin counts as known, or a target from the origin on does, whichever comes first; but not before any
    of its targets does. Earlier rows are the newest of then or, where there was none, a gap.

    frame, observed: all revisions. stood: those that stand, whose panel `rebuild` makes. origins: int64 (S) per window.
    young: seconds after its time at which a target counts as known at the earliest.
    """
    if panel.vintages is not None and panel.vintages.settled is not None:
        yield "windows are scored by other values than those that stand"
    place, told = places_of(stood, panel), _told(frame, observed, stood, young)
    for window, origin in enumerate(origins):
        asked = dict(zip(panel.unique_id, origin.tolist(), strict=True))
        then = _then(frame, stood, told, place, asked, young)
        known = panel.as_known(origin)
        made = panel if then is None else rebuild(then)
        # One panel in both hands has nothing to compare, as where neither side found anything revised.
        unlike = iter(()) if known is made else _unlike(known, made, origin, horizon)
        if (wrong := next(unlike, None)) is not None:
            yield f"window {window} reads {wrong}"
        if not np.array_equal(history_before(panel, origin, horizon).y, known.y[panel.steps < _each(origin, panel)]):
            yield f"a fit at window {window} reads other values than were known then"


def _each(origin: Integers, panel: Panel) -> Integers:
    return np.repeat(origin, panel.lengths)


def _told(frame: Frame, observed: Integers, stood: Frame, young: int) -> list[_Told | None]:
    """The revisions of every series that stands; None for one of which every window reads what stands."""
    places = {name: at for at, name in enumerate(frame.unique_id)}
    found: list[_Told | None] = []
    for own, name in enumerate(stood.unique_id):
        rows = slice(*stood.offsets[own : own + 2])
        revisions = np.arange(*frame.offsets[places[name] : places[name] + 2])
        at = np.searchsorted(stood.ds[rows], frame.ds[revisions])
        there = stood.ds[rows][np.minimum(at, len(stood.ds[rows]) - 1)] == frame.ds[revisions]
        at, revisions = at[there], revisions[there]
        if _in_turn(at, observed[revisions], stood.y[rows]):
            found.append(None)
            continue
        known = np.full(len(stood.ds[rows]), np.iinfo(np.int64).max)
        measured = ~np.isnan(frame.y[revisions])
        np.minimum.at(known, at[measured], observed[revisions[measured]])
        known = np.maximum(known, stood.ds[rows] + young) if young else known
        order = np.argsort(observed[revisions], kind="stable")
        found.append(_Told(at[order], revisions[order], observed[revisions[order]], known))
    return found


def _in_turn(at: Integers, seen: Integers, y: Floats) -> bool:
    """Whether rows were told once each, none after a later one, and measured up to the last target: then whatever comes
    before an origin was known as it stands when the last of it was, and nothing ahead has another value."""
    count = np.count_nonzero(~np.isnan(y))
    once = len(at) == len(y) and bool(np.all(np.diff(at) > 0))
    return once and bool(np.all(np.diff(seen) >= 0)) and not np.isnan(y[:count]).any()


def _then(
    frame: Frame, stood: Frame, told: Sequence[_Told | None], place: Integers, origin: dict[str, int], young: int
) -> Frame | None:
    """The rows as known when each series was forecast; None where nothing differs from what stands."""
    y, gone = stood.y.copy(), np.zeros(len(stood.y), bool)
    covariates = {name: values.copy() for name, values in stood.covariates.items()}
    for own, (name, series) in enumerate(zip(stood.unique_id, told, strict=True)):
        low, high = stood.offsets[own : own + 2].tolist()
        count = int(np.searchsorted(place[low:high], origin.get(name, -1)))
        measured = np.flatnonzero(~np.isnan(stood.y[low:high]))
        before, after = measured[measured < count], measured[measured >= count]
        if series is None or not len(before):
            continue
        limit = min(series.known[[before[-1], *after]].tolist())
        limit = max(limit, min(series.known[before].tolist()))
        until = int(np.searchsorted(series.seen, limit, side="right"))
        newest = np.full(high - low, -1)
        newest[series.at[:until]] = series.row[:until]  # what comes later replaces what stood
        found, early = newest >= 0, np.arange(high - low) < count
        mature = found & (stood.ds[low:high] + young <= limit) if young else found
        y[low:high] = np.where(early, np.where(mature, frame.y[newest], np.nan), y[low:high])
        gone[low:high] = early & ~found
        gone[low] = False
        for column, values in covariates.items():
            sent = np.where(found, frame.covariates[column][newest], np.nan)
            told_ahead = ~np.isnan(sent) & (stood.roles[column] == "known_future")
            values[low:high] = np.where(early | told_ahead, sent, values[low:high])
    same = np.array_equal(y, stood.y, equal_nan=True) and not gone.any()
    if same and all(np.array_equal(v, stood.covariates[name], equal_nan=True) for name, v in covariates.items()):
        return None
    return replace(stood, y=y, covariates=covariates).only(np.flatnonzero(~gone))


def _unlike(known: Panel, made: Panel, origin: Integers, horizon: int) -> Iterator[str]:
    """Where what is read differs from a panel of what was known; an unknown beginning repeats its first step."""
    places = {name: at for at, name in enumerate(made.unique_id)}
    for own in np.flatnonzero(origin >= 0).tolist():
        name, low = known.unique_id[own], int(known.offsets[own])
        other = places[name]
        stamps = made.ds[slice(*made.offsets[other : other + 2])]
        ahead = np.arange(low, min(low + int(origin[own]) + horizon, int(known.offsets[own + 1])))
        rows = ahead[: int(origin[own])]
        late = int(np.searchsorted(known.ds[rows], stamps[0]))
        from_ = int(made.offsets[other]) + np.searchsorted(stamps, np.maximum(known.ds[ahead], stamps[0]))
        past = from_[: len(rows)]
        measured = made.observed[past] & (np.arange(len(rows)) >= late)
        pairs = {"the target": (known.y[rows], made.y[past]), "the mark": (known.observed[rows], measured)}
        for column in sorted(known.covariates):
            shown = known.roles[column] == "known_future"
            mine, theirs = (ahead, from_) if shown else (rows, past)
            pairs[column] = (known.covariates[column][mine], made.covariates[column][theirs])
        for what, (one, two) in pairs.items():
            for at in np.flatnonzero(one != two)[:1].tolist():
                when = time_text(int(known.ds[low + at]), known.axis)
                yield f"{what} of {name!r} at {when} as {one[at]:g}, known then was {two[at]:g}"
