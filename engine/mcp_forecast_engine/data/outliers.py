"""Values far from what their season led to expect, judged by earlier values only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.steps import Draft, Outliers, StepRecord, first_changes, step_to_dict

Floats = NDArray[np.float64]

BLOCK = 64
MEMORY = 1_024
# The median absolute deviation of a normal distribution is 0.6745 standard deviations.
MAD_TO_DEVIATION = 1.4826


def treat_outliers(draft: Draft, step: Outliers, season_length: int) -> tuple[Draft, StepRecord]:
    """Report, or clip, targets further from the median of the last three seasons than `threshold` deviations."""
    y = draft.frame.y
    middle = _seasonal_median(y, draft.frame.offsets, season_length)
    limit = step.threshold * _past_deviation(y - middle, draft.frame.offsets)
    # A deviation of zero (a flat stretch) says nothing about what is far.
    far = draft.observed & (limit > 0) & (np.abs(y - middle) > limit)
    rows = np.flatnonzero(far)
    clipped = np.clip(y[rows], middle[rows] - limit[rows], middle[rows] + limit[rows])
    after = clipped if step.action == "clip" else y[rows]
    changes = first_changes(draft.frame, rows, "y", y[rows], after)
    verb = "clipped: not measured, so never scored" if step.action == "clip" else "found and left as they are"
    summary = f"{len(rows)} targets beyond {step.threshold:g} robust deviations of their season {verb}"
    record = StepRecord(step_to_dict(step), len(rows) if step.action == "clip" else 0, summary, changes)
    if step.action == "report" or not len(rows):
        return draft, record
    values = y.copy()
    values[rows] = clipped
    observed = draft.observed & ~far  # a bound is no truth that a forecast could be held against
    return replace(draft, frame=replace(draft.frame, y=values), observed=observed), record


def _seasonal_median(y: Floats, offsets: NDArray[np.int64], season_length: int) -> Floats:
    """The median of the values one, two and three seasons earlier, NaN before the fourth season."""
    middle = np.full(len(y), np.nan)
    m = season_length
    if len(y) <= 3 * m:
        return middle
    a, b, c = y[2 * m : -m], y[m : -2 * m], y[: -3 * m]
    middle[3 * m :] = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    inside = np.arange(len(y)) - np.repeat(offsets[:-1], np.diff(offsets))
    middle[inside < 3 * m] = np.nan
    return middle


def _past_deviation(gaps: Floats, offsets: NDArray[np.int64]) -> Floats:
    """The robust deviation of the earlier gaps of each series, renewed every 64 steps; NaN before there are 64."""
    deviation = np.full(len(gaps), np.nan)
    size = np.abs(gaps)
    for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        finite = np.flatnonzero(~np.isnan(size[start:end]))
        if len(finite) <= BLOCK:
            continue
        opening = start + int(finite[0])
        for at in range(opening + BLOCK, end, BLOCK):
            past = size[max(opening, at - MEMORY) : at]
            deviation[at : min(at + BLOCK, end)] = MAD_TO_DEVIATION * np.nanmedian(past)
    return deviation
