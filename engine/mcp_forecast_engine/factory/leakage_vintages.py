"""The guard over what forecasts of a backtest read: looked up again in the revisions, by a reading of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Frame, Panel
from mcp_forecast_engine.data.merging import places_of
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.evaluation.members import history_before

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def read_otherwise(
    frame: Frame, observed: Integers, stood: Frame, panel: Panel, origins: Sequence[Integers], horizon: int,
    rebuild: Callable[[Frame], Panel],
) -> Iterator[str]:  # fmt: skip
    """Values that a window reads otherwise than they were known when it was forecast, the first of each window.

    That is told by the revisions alone (`data.vintages` is what is checked): a series is forecast when its last target
    before the origin was first observed; earlier rows are the newest of then or, where there was none, a gap. frame,
    observed: all revisions. stood: those that stand, whose panel `rebuild` makes. origins: int64 (S) per window.
    """
    if panel.vintages is not None and panel.vintages.settled is not None:
        yield "windows are scored by other values than those that stand"
    place = places_of(stood, panel)
    for window, origin in enumerate(origins):
        then = _then(frame, observed, stood, place, dict(zip(panel.unique_id, origin.tolist(), strict=True)))
        known = panel.as_known(origin)
        made = panel if then is None else rebuild(then)
        if (wrong := next(_unlike(known, made, origin, horizon), None)) is not None:
            yield f"window {window} reads {wrong}"
        if not np.array_equal(history_before(panel, origin, horizon).y, known.y[panel.steps < _each(origin, panel)]):
            yield f"a fit at window {window} reads other values than were known then"


def _each(origin: Integers, panel: Panel) -> Integers:
    return np.repeat(origin, panel.lengths)


def _then(frame: Frame, observed: Integers, stood: Frame, place: Integers, origin: dict[str, int]) -> Frame | None:
    """The rows as known when each series was forecast; None where nothing differs from what stands."""
    y, gone = stood.y.copy(), np.zeros(len(stood.y), bool)
    covariates = {name: values.copy() for name, values in stood.covariates.items()}
    for own, name in enumerate(stood.unique_id):
        low, high = stood.offsets[own : own + 2]
        before = [row for row in range(low, high) if place[row] < origin.get(name, -1)]
        asked = [row for row in before if not np.isnan(stood.y[row])]
        if not asked:
            continue
        at = frame.unique_id.index(name)
        revisions = np.arange(frame.offsets[at], frame.offsets[at + 1])
        about = revisions[(frame.ds[revisions] == stood.ds[asked[-1]]) & ~np.isnan(frame.y[revisions])]
        told = revisions[observed[revisions] <= observed[about].min()]
        told = told[np.argsort(observed[told], kind="stable")]
        newest = dict(zip(frame.ds[told].tolist(), told.tolist(), strict=True))  # what comes later replaces what stood
        for row in range(low, high):
            found, early = newest.get(int(stood.ds[row])), row < low + len(before)
            if early:
                y[row] = np.nan if found is None else frame.y[found]
                gone[row] = found is None and row != low
            for column, values in covariates.items():
                if early or (stood.roles[column] == "known_future" and found is not None):
                    sent = np.nan if found is None else frame.covariates[column][found]
                    values[row] = sent if early or not np.isnan(sent) else values[row]
    same = np.array_equal(y, stood.y, equal_nan=True) and not gone.any()
    if same and all(np.array_equal(v, stood.covariates[name], equal_nan=True) for name, v in covariates.items()):
        return None
    return replace(stood, y=y, covariates=covariates).only(np.flatnonzero(~gone))


def _unlike(known: Panel, made: Panel, origin: Integers, horizon: int) -> Iterator[str]:
    """Where what is read differs from a panel of what was known; an unknown beginning repeats its first step."""
    for own in np.flatnonzero(origin >= 0).tolist():
        name, low = known.unique_id[own], int(known.offsets[own])
        other = made.unique_id.index(name)
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
