"""From a frame as it was read to a panel that models can trust: regular, complete, and honest about what was filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.filling import fill_covariates, fill_gaps
from mcp_forecast_engine.data.frame import Frame, Panel
from mcp_forecast_engine.data.frequency import parse_frequency
from mcp_forecast_engine.data.frequency import season_length as usual_season
from mcp_forecast_engine.data.grid import next_stamps
from mcp_forecast_engine.data.longform import rows_after_last
from mcp_forecast_engine.data.magnitude import require_carried
from mcp_forecast_engine.data.merging import merge_duplicates, on_grid, resample
from mcp_forecast_engine.data.outliers import treat_outliers
from mcp_forecast_engine.data.steps import (
    DEFAULT_STEPS,
    Draft,
    FillCovariates,
    FillGaps,
    MergeDuplicates,
    Outliers,
    PreprocessingReport,
    Resample,
    Step,
    StepRecord,
)
from mcp_forecast_engine.errors import DataInvalid


def to_panel(
    frame: Frame, steps: Sequence[Step] = DEFAULT_STEPS, season_length: int | None = None
) -> tuple[Panel, PreprocessingReport]:
    """Make a regular panel of a frame by running the steps in order, and report what each one changed.

    season_length: steps per season, m, of the panel's frequency; the frequency's usual one when None. Rows after the
    last target of a series become `future`; rows before its first target, and series without any, are left out.
    Raises DataInvalid when the steps leave a gap, a duplicate or an absent value.
    """
    if season_length is not None and season_length < 1:
        raise DataInvalid(
            f"season_length is {season_length}", field="season_length", allowed="1 or more",
            next_step="say how many steps a season has, 1 for none; or leave `season_length` out",
        )  # fmt: skip
    known = ~np.isnan(frame.y)
    draft, records = Draft(frame, observed=known, row=np.ones(len(known), bool)), []
    for at, step in enumerate(steps):
        later = any(isinstance(other, Resample) for other in steps[at:])
        m = usual_season(draft.frame.axis.freq) if season_length is None or later else season_length
        draft, record = _run(draft, step, m)
        records.append(record)
    m = season_length or usual_season(draft.frame.axis.freq)
    return _finished(draft, records, m)


def _run(draft: Draft, step: Step, season_length: int) -> tuple[Draft, StepRecord]:
    match step:
        case MergeDuplicates():
            return merge_duplicates(draft, step)
        case FillGaps():
            return fill_gaps(draft, step, season_length)
        case FillCovariates():
            return fill_covariates(draft, step)
        case Resample():
            return resample(draft, step)
        case Outliers():
            return treat_outliers(draft, step, season_length)


def _finished(draft: Draft, records: list[StepRecord], season_length: int) -> tuple[Panel, PreprocessingReport]:
    frame = draft.frame
    tail = rows_after_last(frame.y, frame.offsets)
    seen = np.logical_or.accumulate(~np.isnan(frame.y)) if len(frame.unique_id) == 1 else _begun(frame)
    body = seen & ~tail
    sizes = np.add.reduceat(body.astype(np.int64), frame.offsets[:-1])
    some = sizes > 0
    names = tuple(name for name, kept in zip(frame.unique_id, some.tolist(), strict=True) if kept)
    if not names:
        raise _nothing_left(frame.axis.freq, records)
    offsets = np.concatenate([[0], np.cumsum(sizes[some])]).astype(np.int64)
    future, future_ds = _future(frame, tail, some)
    panel = Panel(
        unique_id=names,
        offsets=offsets,
        ds=frame.ds[body],
        y=frame.y[body],
        observed=draft.observed[body],
        covariates={name: values[body] for name, values in frame.covariates.items()},
        roles=frame.roles,
        categories=frame.categories,
        axis=frame.axis,
        season_length=season_length,
        future=future,
        future_ds=future_ds,
    )
    _check(panel, records)
    left_out = tuple(name for name, kept in zip(frame.unique_id, some.tolist(), strict=True) if not kept)
    told = [text for record in records for text in (*record.warnings, *record.cautions)]
    warnings = (*told, *_warnings(panel, left_out, seen))
    return panel, PreprocessingReport(tuple(records), left_out, season_length, warnings)


def _nothing_left(freq: str, records: list[StepRecord]) -> DataInvalid:
    if any(record.step["kind"] == "resample" for record in records):
        found, help_ = f"no whole step of {freq!r} lies in the data", "resample to a shorter step, or send more history"
        return DataInvalid(found, field="steps", next_step=help_)
    return DataInvalid("no series has a target", field="target", next_step="name the column to forecast")


def _begun(frame: Frame) -> NDArray[np.bool_]:
    """Rows at or after the first target of their series, bool (N)."""
    index = np.arange(len(frame.y))
    first = np.minimum.reduceat(np.where(np.isnan(frame.y), len(index), index), frame.offsets[:-1])
    return np.asarray(index >= np.repeat(first, np.diff(frame.offsets)))


def _future(
    frame: Frame, tail: NDArray[np.bool_], some: NDArray[np.bool_]
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
    """Known-future covariates of the steps after each series' last target, each up to the first that a series lacks."""
    names = [name for name in sorted(frame.roles) if frame.roles[name] == "known_future"]
    starts = frame.offsets[1:] - np.add.reduceat(tail.astype(np.int64), frame.offsets[:-1])
    future: dict[str, NDArray[np.float64]] = {}
    for name in names:
        absent = np.where(tail & np.isnan(frame.covariates[name]), np.arange(len(tail)), len(tail))
        end = np.minimum(np.minimum.reduceat(absent, frame.offsets[:-1]), frame.offsets[1:])
        steps = int((end - starts)[some].min())
        future[name] = frame.covariates[name][starts[some][:, None] + np.arange(steps)[None, :]]
    least = min((values.shape[1] for values in future.values()), default=0)
    return future, next_stamps(frame.ds[starts[some] - 1], least, parse_frequency(frame.axis.freq))


def _check(panel: Panel, records: list[StepRecord]) -> None:
    """Refuse a panel that is not regular and complete, or too large for models: the steps given left something out."""
    expected = on_grid(_as_frame(panel))
    places = {
        "a gap or a duplicate": bool(np.any(expected != panel.ds)) or not _one_apart(panel),
        "an absent target": bool(np.isnan(panel.y).any()),
        "an absent covariate": any(np.isnan(values).any() for values in panel.covariates.values()),
    }
    for found, wrong in places.items():
        if wrong:
            raise DataInvalid(
                f"the steps leave {found}",
                field="steps",
                allowed=[step.kind for step in DEFAULT_STEPS],
                next_step=_RESAMPLED if any(record.step["kind"] == "resample" for record in records) else _COMPLETED,
            )
    require_carried(panel.y)


_COMPLETED: Final = "use the default steps, or add merge_duplicates, fill_gaps and fill_covariates"
_RESAMPLED: Final = "fill_gaps first: put it before resample to fill short steps, or after it to fill the longer ones"


def _as_frame(panel: Panel) -> Frame:
    return Frame(
        unique_id=panel.unique_id,
        offsets=panel.offsets,
        ds=panel.ds,
        y=panel.y,
        covariates={},
        roles={},
        categories={},
        axis=panel.axis,
    )


def _one_apart(panel: Panel) -> bool:
    step = parse_frequency(panel.axis.freq)
    inside = np.ones(max(len(panel.ds) - 1, 0), bool)
    inside[panel.offsets[1:-1] - 1] = False
    expected = next_stamps(panel.ds[:-1][inside], 1, step)[:, 0]
    return bool(np.array_equal(expected, panel.ds[1:][inside]))


def _warnings(panel: Panel, left_out: tuple[str, ...], seen: NDArray[np.bool_]) -> tuple[str, ...]:
    found = []
    if left_out:
        found.append(f"{len(left_out)} series have no target and were left out, the first is {left_out[0]!r}")
    if not seen.all():
        found.append(f"{int((~seen).sum())} steps before the first target of their series were left out")
    filled = float((~panel.observed).mean())
    if filled > 0.2:
        found.append(f"{filled:.0%} of the targets are filled or clipped: scores rest on the rest alone")
    return tuple(found)
