"""Several rows into one: duplicates of one step, and short steps into longer ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.filling import with_all_rows
from mcp_forecast_engine.data.frame import Frame, Panel, TimeAxis
from mcp_forecast_engine.data.frequency import DAY, Frequency, parse_frequency
from mcp_forecast_engine.data.grid import first_stamp, stamp_at, steps_since
from mcp_forecast_engine.data.steps import Draft, MergeDuplicates, Resample, StepRecord, first_changes, step_to_dict
from mcp_forecast_engine.errors import DataInvalid

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def merge_duplicates(draft: Draft, step: MergeDuplicates) -> tuple[Draft, StepRecord]:
    """Move rows to the grid and leave one per series and step."""
    frame = draft.frame
    stamps = on_grid(frame)
    groups = _group_starts(frame.offsets, stamps)
    merged, moved = len(stamps) - len(groups), int((stamps != frame.ds).sum())
    if not merged and not moved:
        return draft, StepRecord(step_to_dict(step), 0, "every row is on the grid and alone at its step")
    sizes = np.diff(np.append(groups, len(stamps)))
    rows = groups[sizes > 1]
    after = _reduced(draft, groups, stamps[groups], target=step.how, share=0)  # one measured value of two is enough
    kept = np.flatnonzero(sizes > 1)
    changes = first_changes(frame, rows, "y", frame.y[rows], after.frame.y[kept])
    summary = f"{merged} rows merged into another row of their step ({step.how}), {moved} moved to the nearest step"
    return after, StepRecord(step_to_dict(step), merged + moved, summary, changes)


def resample(draft: Draft, step: Resample) -> tuple[Draft, StepRecord]:
    """Aggregate to a coarser frequency. Raises DataInvalid when it is finer or of another kind, or rows share a step.

    The first and the last step of a series lose their target when they are not covered whole: half a month's sum is
    no month's sum. The last one then counts as the first future step. For the same reason a sum is absent where one of
    its short steps is.
    """
    fine, coarse = parse_frequency(draft.frame.axis.freq), parse_frequency(step.freq)
    if draft.frame.axis.kind == "integer" or coarse.unit == "steps" or _days(coarse) <= _days(fine):
        found = f"freq {step.freq!r} is not coarser than the data's {draft.frame.axis.freq!r}"
        raise DataInvalid(found, field="steps", next_step="name a longer step, or leave resample out")
    draft = with_all_rows(draft)  # so that each longer step holds all of its short ones, also those without a row
    frame = draft.frame
    labels = _labels(frame.ds, coarse)
    groups = _group_starts(frame.offsets, labels)
    head, foot, between = _edges(frame, labels, fine, coarse)
    covered = between & ~head & ~foot
    holes = np.add.reduceat((np.isnan(frame.y) & covered).astype(np.int64), groups) > 0
    lost = np.repeat(holes, np.diff(np.append(groups, len(labels)))) & (step.target == "sum")
    whole = replace(draft, frame=replace(frame, y=np.where(covered & ~lost, frame.y, np.nan)))
    after = _reduced(whole, groups, labels[groups], target=step.target, share=0.5)
    after = replace(after, frame=replace(after.frame, axis=TimeAxis("calendar", coarse.alias)))
    known = ~np.isnan(frame.y)
    summary = f"{len(frame.ds)} steps of {fine.alias!r} became {len(groups)} of {coarse.alias!r} ({step.target}); "
    cut = int((known & ~covered).sum())
    summary += f"{cut} targets lie in a first or last step that is not whole and were left out"
    if holes.any():
        rule = {"sum": "have no sum", "mean": "count as measured if half are there", "last": "take the last there"}
        summary += f"; {int(holes.sum())} steps of {coarse.alias!r} lack some of their targets and {rule[step.target]}"
    warnings = _ends(int(np.logical_or.reduceat(foot & known, frame.offsets[:-1]).sum()), frame, coarse)
    return after, StepRecord(step_to_dict(step), len(frame.ds) - len(groups), summary, warnings=warnings)


def _ends(count: int, frame: Frame, coarse: Frequency) -> tuple[str, ...]:
    """What a reader of a forecast must know where `count` series end within a longer step."""
    if not count:
        return ()
    where = "" if len(frame.unique_id) == 1 else f" in {count} of {len(frame.unique_id)} series"
    return (
        f"the data ends within a step of {coarse.alias!r}{where}: its targets were not used, and the forecast starts "
        "with that step",
    )


def on_grid(frame: Frame) -> Integers:
    """The grid stamp nearest to each row, int64 (N)."""
    step = parse_frequency(frame.axis.freq)
    starts = np.repeat(first_stamp(frame.ds[frame.offsets[:-1]], step), np.diff(frame.offsets))
    return stamp_at(starts, steps_since(starts, frame.ds, step), step)


def places_of(frame: Frame, panel: Panel) -> Integers:
    """The step of its series in a panel that each row of the frame is part of, int64 (N).

    Rows before its first step and behind its last one count with these; -1 for a series that the panel lacks."""
    step, stamps = parse_frequency(panel.axis.freq), on_grid(frame)
    ends = step.at_end or "W-" in step.alias  # the stamp of a month's end and of a week is the last of its days
    place = {name: i for i, name in enumerate(panel.unique_id)}
    found = np.full(len(stamps), -1, np.int64)
    for i, name in enumerate(frame.unique_id):
        if name in place:
            rows, own = slice(*frame.offsets[i : i + 2]), slice(*panel.offsets[place[name] : place[name] + 2])
            at = np.searchsorted(panel.ds[own], stamps[rows], side="left" if ends else "right")
            found[rows] = at if ends else at - 1
    return found


def _group_starts(offsets: Integers, stamps: Integers) -> Integers:
    new = np.ones(len(stamps), bool)
    new[1:] = stamps[1:] != stamps[:-1]
    new[offsets[:-1]] = True
    return np.flatnonzero(new)


def _reduced(draft: Draft, groups: Integers, stamps: Integers, *, target: str, share: float) -> Draft:
    """One row per group; numbers and flags take their mean where the target is a mean or sum, else one value.

    share: of the rows of a group, how many have to be measured for their mean or sum to be.
    """
    frame = draft.frame
    covariates = {}
    for name, values in frame.covariates.items():
        blend = "mean" if target in ("mean", "sum") else target
        covariates[name] = _reduce(values, groups, "last" if name in frame.categories else blend)
    merged = replace(
        frame,
        offsets=np.searchsorted(groups, frame.offsets).astype(np.int64),
        ds=stamps,
        y=_reduce(frame.y, groups, target),
        covariates=covariates,
    )
    if target in ("first", "last"):  # the value that was taken is a measured one, or is not
        observed = _reduce(np.where(np.isnan(frame.y), np.nan, draft.observed), groups, target) == 1
    else:
        count = np.add.reduceat(draft.observed.astype(np.int64), groups)
        observed = (count > 0) & (count >= share * np.diff(np.append(groups, len(frame.y))))
    row = np.add.reduceat(draft.row.astype(np.int64), groups) > 0
    return Draft(merged, observed=observed & ~np.isnan(merged.y), row=row)


def _reduce(values: Floats, groups: Integers, how: str) -> Floats:
    """Sum, mean, first or last of the finite values of each group; NaN where a group has none."""
    finite = ~np.isnan(values)
    count = np.add.reduceat(finite.astype(np.int64), groups)
    if how in ("first", "last"):
        index = np.arange(len(values))
        if how == "last":
            at = np.maximum.reduceat(np.where(finite, index, -1), groups)
        else:
            at = np.minimum.reduceat(np.where(finite, index, len(values)), groups)
        return np.where(count > 0, values[np.clip(at, 0, len(values) - 1)], np.nan)
    total = np.add.reduceat(np.where(finite, values, 0.0), groups)
    return np.where(count > 0, total / np.maximum(count, 1) if how == "mean" else total, np.nan)


def _days(step: Frequency) -> float:
    return {"months": 30.4 * step.count, "business": 1.4}.get(step.unit, step.count / DAY)


def _labels(ds: Integers, step: Frequency) -> Integers:
    """The stamp of the longer step that holds each time: its end for weeks and month ends, else its start."""
    if step.unit == "months":
        month = ds.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
        inside = (month - step.phase) % step.count
        month = month + (step.count - inside) % step.count if step.at_end else month - inside
        return first_stamp((month.astype("datetime64[M]").astype("datetime64[s]")).astype(np.int64), step)
    if step.unit == "business":
        return first_stamp(ds // DAY * DAY, step)
    if step.alias.endswith(("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")):
        day = ds // DAY
        end = day + (step.phase - (day + 3)) % 7
        weeks = step.count // (7 * DAY)
        # Day 4 + 7 k is a Monday for every k: count whole weeks from the anchor of the first one.
        week = (end - (step.phase + 4)) // 7
        return np.asarray((end + (-week % weeks) * 7) * DAY, np.int64)
    return ds // step.count * step.count


def _edges(
    frame: Frame, labels: Integers, fine: Frequency, coarse: Frequency
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows of a first longer step that is not whole, of such a last one, and between first and last target: bool."""
    known = ~np.isnan(frame.y)
    index = np.arange(len(known))
    last = np.maximum.reduceat(np.where(known, index, -1), frame.offsets[:-1])
    first = np.minimum.reduceat(np.where(known, index, len(known)), frame.offsets[:-1])
    some = last >= 0
    lengths = np.diff(frame.offsets)
    between = np.repeat(some, lengths) & (index >= np.repeat(first, lengths)) & (index <= np.repeat(last, lengths))
    before = stamp_at(frame.ds[np.clip(first, 0, len(known) - 1)], np.full(1, -1), fine)
    after = stamp_at(frame.ds[np.clip(last, 0, None)], np.full(1, 1), fine)
    # A longer step is whole when the step before the first target, and the one after the last, belong to another.
    head, foot = _labels(before, coarse), _labels(after, coarse)
    return labels == np.repeat(head, lengths), labels == np.repeat(foot, lengths), between
