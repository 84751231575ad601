"""Noise in the place of everything that a forecast may not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Frame, Panel, Revised, Vintages

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_FAR: Final = 3.0  # spreads of a column by which what replaces it scatters


def with_noise(frame: Frame, panel: Panel, cutoffs: Integers, seed: int) -> Frame:
    """The raw rows with noise for every target and historical covariate from the first test step on.

    What is absent stays absent, and the first value of a covariate in a series stays too: the rows before it repeat it.
    """
    never = np.iinfo(np.int64).max
    inside = np.minimum(panel.offsets[:-1] + cutoffs, panel.offsets[1:] - 1)
    stamps = np.where(cutoffs < panel.lengths, panel.ds[inside], never)
    since = dict(zip(panel.unique_id, stamps.tolist(), strict=True))
    late = frame.ds >= np.repeat([since.get(name, never) for name in frame.unique_id], np.diff(frame.offsets))
    draw = np.random.default_rng(seed)
    covariates = dict(frame.covariates)
    for name in sorted(frame.covariates):
        if panel.roles.get(name) == "historical":
            words = len(frame.categories.get(name, ()))
            values = frame.covariates[name]
            covariates[name] = _noisy(values, late & ~_first(values, frame.offsets), draw, words)
    return replace(frame, y=_noisy(frame.y, late, draw, 0), covariates=covariates)


def _noisy(values: Floats, late: NDArray[np.bool_], draw: np.random.Generator, words: int) -> Floats:
    rows = np.flatnonzero(late & ~np.isnan(values))
    if words:
        noise = draw.integers(0, words, size=len(rows)).astype(np.float64)
    else:
        known = values[~np.isnan(values)]
        spread = float(known.std()) if len(known) else 1.0
        noise = (known.mean() if len(known) else 0.0) + _FAR * (spread or 1.0) * draw.normal(size=len(rows))
    found = values.copy()
    found[rows] = noise
    return found


def _first(values: Floats, offsets: Integers) -> NDArray[np.bool_]:
    """The first row of each series that has a value."""
    known = ~np.isnan(values)
    count = np.cumsum(known)
    before = np.repeat(np.concatenate([[0], count])[offsets[:-1]], np.diff(offsets))
    return np.asarray(known & (count - before == 1))


def unsettled(panel: Panel, true: Panel, origins: Sequence[Integers], window: int) -> Panel:
    """A panel of revised data in which what was not yet known at a window is mirrored, but where it may be read.

    As known at this window and the ones before it are the true values of then, and what has turned out since is the
    panel's own; whoever reads the rows past both reads what never was. true: the run's panel, whose vintages count; it
    has none: the panel as it is. origins: int64 (S) per window, validation first.
    """
    if true.vintages is None:
        return panel
    late = true.vintages.windows[origins[window].tobytes()]
    settled = Revised(
        late.rows, panel.y[late.rows], panel.observed[late.rows],
        {name: panel.covariates[name][late.rows] for name in late.covariates},
    )  # fmt: skip
    covariates = {name: _mirrored(panel.covariates[name], late.rows) for name in late.covariates}
    shown = replace(
        panel, y=_mirrored(panel.y, late.rows), covariates={**panel.covariates, **covariates}, vintages=None
    )
    told = {origin.tobytes(): _as_then(shown, true, origin, late.rows) for origin in origins[: window + 1]}
    nothing = Revised(late.rows[:0], shown.y[:0], shown.observed[:0], {})
    later = {origin.tobytes(): nothing for origin in origins[window + 1 :]}
    return replace(shown, vintages=Vintages({**later, **told}, settled))


def _mirrored(values: Floats, rows: Integers) -> Floats:
    """Other values of the same range, so that nothing but a number changes."""
    found = values.copy()
    found[rows] = values.min() + values.max() - values[rows]
    return found


def _as_then(shown: Panel, true: Panel, origin: Integers, rows: Integers) -> Revised:
    """The true values as known at a window, wherever they are not what is shown: before its origin, and known ahead."""
    then = true.as_known(origin)
    assert true.vintages is not None
    rows = np.union1d(rows, true.vintages.windows[origin.tobytes()].rows)
    early = shown.steps[rows] < np.repeat(origin, shown.lengths)[rows]
    covariates = {
        name: np.where(early | (shown.roles[name] == "known_future"), then.covariates[name][rows], values[rows])
        for name, values in shown.covariates.items()
    }
    y = np.where(early, then.y[rows], shown.y[rows])
    return Revised(rows, y, np.where(early, then.observed[rows], shown.observed[rows]), covariates)
