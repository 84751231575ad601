"""Values where there were none: absent rows, absent targets, absent covariates. Nothing looks ahead unless told to."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Frame
from mcp_forecast_engine.data.frequency import parse_frequency
from mcp_forecast_engine.data.grid import first_stamp, stamp_at, steps_since
from mcp_forecast_engine.data.longform import rows_after_last
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.data.steps import (
    EXAMPLES,
    Change,
    Draft,
    FillCovariates,
    FillGaps,
    StepRecord,
    first_changes,
    step_to_dict,
)
from mcp_forecast_engine.errors import DataInvalid

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Absent steps beyond this are a wrong date or a wrong frequency, not a gap.
MAX_GROWTH, MIN_STEPS = 20, 1_000_000
# Share of earlier steps at 0 or 1 that makes a count series come "near zero".
NEAR_ZERO = 0.005
# Fewer earlier values than this, or fewer than two near zero, are no evidence.
EVIDENCE = 20
# A gap longer than this many seasons is filled with the last value: older seasons say no more.
MAX_SEASONS_BACK = 64


def fill_gaps(draft: Draft, step: FillGaps, season_length: int) -> tuple[Draft, StepRecord]:
    """Add the absent rows and fill every absent target between the first and last one of a series.

    The default reads earlier values only, at every gap anew. A backtest window ends somewhere: had a gap before the
    cutoff been filled from values after it, the window would contain its own future, and the score would flatter.
    """
    if step.target == "interpolate" and step.causal:
        raise DataInvalid(
            "interpolation reads later values, which causal=True forbids",
            field="steps",
            allowed=["auto", "zero", "last", "seasonal", "interpolate with causal=False"],
            next_step="use seasonal or last, or state causal=False and accept that backtests see past the cutoff",
        )
    whole = with_all_rows(draft)
    frame = whole.frame
    last = last_seen(~np.isnan(frame.y), frame.offsets)
    rows = np.flatnonzero(np.isnan(frame.y) & (last >= 0) & ~rows_after_last(frame.y, frame.offsets))
    if not len(rows):
        return whole, StepRecord(step_to_dict(step), 0, "no target is absent")
    zero = _zeros(whole, rows, step)
    values = np.where(zero, 0.0, _filled(frame, rows, last, step, season_length))
    y = frame.y.copy()
    y[rows] = values
    absent = int((~whole.row[rows]).sum())
    summary = f"{len(rows)} targets filled ({absent} without a row): {int(zero.sum())} with 0, "
    summary += f"{int((~zero).sum())} with {'seasonal' if step.target == 'auto' else step.target} values"
    cautions = (_AHEAD.format(len(rows)),) if step.target == "interpolate" else ()
    record = StepRecord(
        step_to_dict(step), len(rows), summary, first_changes(frame, rows, "y", frame.y[rows], values),
        cautions=cautions,
    )  # fmt: skip
    return replace(whole, frame=replace(frame, y=y)), record


_AHEAD: Final = (
    "{} targets are interpolated with later values (causal=false): a test that starts inside such a gap sees what "
    "comes after it, so scores may flatter"
)


def fill_covariates(draft: Draft, step: FillCovariates) -> tuple[Draft, StepRecord]:
    """Fill covariates forward, and backward only before their first value; raises DataInvalid for empty ones by name.

    After the last target nothing is filled: a known-future value that is absent there was not sent, and what stands in
    for it is a matter of the model's contract. What all series share is known where one of them gives it.
    """
    frame = draft.frame
    tail = rows_after_last(frame.y, frame.offsets)
    covariates: dict[str, Floats] = {}
    changes: list[Change] = []
    counts: dict[str, int] = {}
    for name, values in frame.covariates.items():
        if np.isnan(values).all():
            raise DataInvalid(
                f"covariate {name!r} has no value at all", field="covariates", next_step=f"drop {name!r} or complete it"
            )
        shared = _from_others(frame, values) if frame.roles[name] == "known_future" else values
        covariates[name] = filled = _fill_column(frame, name, shared, unknown=tail)
        rows = np.flatnonzero(np.isnan(values) & ~np.isnan(filled))
        if len(rows):
            counts[name] = len(rows)
            changes += first_changes(frame, rows, name, values[rows[:EXAMPLES]], filled[rows[:EXAMPLES]])
    words = ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
    record = StepRecord(
        step_to_dict(step), sum(counts.values()), f"covariate values filled: {words}", tuple(changes[: 2 * EXAMPLES])
    )
    return replace(draft, frame=replace(frame, covariates=covariates)), record


def last_seen(present: NDArray[np.bool_], offsets: Integers) -> Integers:
    """Position of the latest present row up to each row within its series, −1 where there is none yet, int64 (N)."""
    index = np.maximum.accumulate(np.where(present, np.arange(len(present)), -1))
    starts = np.repeat(offsets[:-1], np.diff(offsets))
    return np.where(index >= starts, index, -1)


def with_all_rows(draft: Draft) -> Draft:
    """The draft with a row for every grid step between the first and last row of each series.

    Raises DataInvalid where rows share a step, and where a wrong time would make far too many rows.
    """
    frame = draft.frame
    step = parse_frequency(frame.axis.freq)
    first = first_stamp(frame.ds[frame.offsets[:-1]], step)
    old = np.diff(frame.offsets)
    index = steps_since(np.repeat(first, old), frame.ds, step)
    lengths = index[frame.offsets[1:] - 1] + 1
    if np.array_equal(lengths, old):
        return draft
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if offsets[-1] > MAX_GROWTH * len(index) + MIN_STEPS:
        raise _too_wide(frame, int(offsets[-1]))
    place = np.repeat(offsets[:-1], old) + index
    if np.any(np.diff(place) == 0):
        raise DataInvalid("rows share a step", field="steps", next_step="put merge_duplicates before this step")
    inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    ds = stamp_at(np.repeat(first, lengths), inside, step)

    def spread(values: Floats) -> Floats:
        wide = np.full(len(ds), np.nan)
        wide[place] = values
        return wide

    covariates = {name: spread(values) for name, values in frame.covariates.items()}
    masks = np.zeros((2, len(ds)), bool)
    masks[:, place] = draft.observed, draft.row
    grown = replace(frame, offsets=offsets, ds=ds, y=spread(frame.y), covariates=covariates)
    return Draft(grown, observed=masks[0], row=masks[1])


def _too_wide(frame: Frame, steps: int) -> DataInvalid:
    gaps = np.diff(frame.ds)
    gaps[frame.offsets[1:-1] - 1] = 0
    at = int(np.argmax(gaps))
    found = " and ".join(time_text(int(frame.ds[row]), frame.axis) for row in (at, at + 1))
    return DataInvalid(
        f"{len(frame.ds)} rows would need {steps} steps of {frame.axis.freq!r}; the widest gap lies between {found}",
        field="freq",
        next_step="correct the wrong time, or name a longer step with `freq`",
    )


def _zeros(draft: Draft, rows: Integers, step: FillGaps) -> NDArray[np.bool_]:
    """Which of the absent targets are zeros: all or none when told so, else decided from the values before each."""
    if step.target != "auto":
        return np.full(len(rows), step.target == "zero")
    y, starts = draft.frame.y, draft.frame.offsets[np.searchsorted(draft.frame.offsets, rows, side="right") - 1]
    known = ~np.isnan(y)
    seen = _before(known, rows, starts)
    near = _before(known & (y <= 1), rows, starts)
    others = _before(known & ((y < 0) | (y != np.floor(y))), rows, starts)
    # A row that exists but has no target says "unknown"; only a row that nobody wrote may say "nothing happened".
    return np.asarray(~draft.row[rows] & (others == 0) & (near >= NEAR_ZERO * seen) & (near > 1) & (seen >= EVIDENCE))


def _before(hits: NDArray[np.bool_], rows: Integers, starts: Integers) -> Integers:
    """How many hits each row's series has before that row."""
    total = np.concatenate([[0], np.cumsum(hits)])
    return np.asarray(total[rows] - total[starts], np.int64)


def _filled(frame: Frame, rows: Integers, last: Integers, step: FillGaps, season_length: int) -> Floats:
    if step.target == "interpolate":
        return _interpolated(frame, rows)
    if step.target in ("last", "zero"):
        return np.asarray(frame.y[last[rows]], np.float64)
    starts = frame.offsets[np.searchsorted(frame.offsets, rows, side="right") - 1]
    source, known, left = last[rows], ~np.isnan(frame.y), np.arange(len(rows))
    for back in range(season_length, MAX_SEASONS_BACK * season_length + 1, season_length):
        at = rows[left] - back
        left, at = left[at >= starts[left]], at[at >= starts[left]]
        source[left[known[at]]] = at[known[at]]
        left = left[~known[at]]
        if not len(left) or season_length == 1:
            break
    return np.asarray(frame.y[source], np.float64)


def _interpolated(frame: Frame, rows: Integers) -> Floats:
    # Rows are between two targets of their own series, so neighbours in the whole column are neighbours in the series.
    known = np.flatnonzero(~np.isnan(frame.y))
    return np.interp(rows, known, frame.y[known])


def _from_others(frame: Frame, values: Floats) -> Floats:
    """Fill a covariate that all series share at every time from the series that give it."""
    if len(frame.unique_id) == 1 or not np.isnan(values).any():
        return values
    times, at = np.unique(frame.ds, return_inverse=True)
    low, high = np.full(len(times), np.inf), np.full(len(times), -np.inf)
    present = ~np.isnan(values)
    np.minimum.at(low, at[present], values[present])
    np.maximum.at(high, at[present], values[present])
    # Once two series disagree it is no shared covariate from then on; judged by time, so that nothing looks ahead.
    shared = ~np.logical_or.accumulate(low < high) & np.isfinite(low)
    return np.where(present | ~shared[at], values, low[at])


def _fill_column(frame: Frame, name: str, values: Floats, *, unknown: NDArray[np.bool_]) -> Floats:
    present = ~np.isnan(values)
    if present.all():
        return values
    last = last_seen(present, frame.offsets)
    index = np.arange(len(values))
    first = np.minimum.reduceat(np.where(present, index, len(values)), frame.offsets[:-1])
    empty = np.flatnonzero(first >= frame.offsets[1:])
    if len(empty) and name in frame.categories:
        raise DataInvalid(
            f"covariate {name!r} has no value in {len(empty)} series, the first is {frame.unique_id[int(empty[0])]!r}",
            field="covariates",
            next_step=f"complete it, or drop {name!r}",
        )
    opening = np.where(first < frame.offsets[1:], values[np.minimum(first, len(values) - 1)], 0.0)
    filled = np.where(last >= 0, values[np.maximum(last, 0)], np.repeat(opening, np.diff(frame.offsets)))
    return np.where(unknown & ~present, np.nan, filled)
