"""Preprocessing as data: the steps that make a regular panel of a frame, and the record of what each one changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Frame
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.errors import DataInvalid

EXAMPLES = 5


@dataclass(frozen=True)
class MergeDuplicates:
    """One row per series and step: rows off the grid move to the nearest step, then rows of one step are merged.

    Covariates take the mean when the target takes mean or sum (the last value for categories), else as the target.
    """

    kind: ClassVar[str] = "merge_duplicates"
    how: Literal["mean", "last", "first", "sum"] = "mean"


@dataclass(frozen=True)
class FillGaps:
    """A row for every step, and a target in each. Filled steps are marked as not observed and never scored.

    target: "zero"; "last" value; "seasonal", the latest value of the same season step, else the last value;
    "interpolate", a straight line, which reads later values and so needs causal=False; "auto", decided at every gap
    from the values before it: zero where rows are absent from a count series that comes near zero, else seasonal.
    """

    kind: ClassVar[str] = "fill_gaps"
    target: Literal["auto", "zero", "last", "seasonal", "interpolate"] = "auto"
    causal: bool = True


@dataclass(frozen=True)
class FillCovariates:
    """A value for every covariate: the last one before, and only where nothing came before, the first one after.

    A known-future covariate that all series share (a holiday) takes what the other series say about that time.
    A number that one series never gives is 0 there; a category that one series never gives is refused.
    """

    kind: ClassVar[str] = "fill_covariates"


@dataclass(frozen=True)
class Resample:
    """Fewer, longer steps: the target's sum, mean or last value per step of `freq`, and the mean of covariates."""

    kind: ClassVar[str] = "resample"
    freq: str
    target: Literal["sum", "mean", "last"]


@dataclass(frozen=True)
class Outliers:
    """Values far from their season: `threshold` robust deviations from the median of the last three seasons.

    Deviations are measured on earlier values only, so clipping is causal too. Default: report, change nothing.
    """

    kind: ClassVar[str] = "outliers"
    action: Literal["report", "clip"] = "report"
    threshold: float = 10.0


Step = MergeDuplicates | FillGaps | FillCovariates | Resample | Outliers
STEPS: dict[str, type[Step]] = {
    step.kind: step for step in (MergeDuplicates, FillGaps, FillCovariates, Resample, Outliers)
}
DEFAULT_STEPS: tuple[Step, ...] = (MergeDuplicates(), FillGaps(), FillCovariates(), Outliers())


def step_to_dict(step: Step) -> dict[str, Any]:
    """A step as JSON values, with its kind."""
    return {"kind": step.kind, **asdict(step)}


def step_from_dict(plain: Mapping[str, Any]) -> Step:
    """The step that JSON values name; raises DataInvalid for unknown kinds and arguments."""
    kind = plain.get("kind")
    if kind not in STEPS:
        raise DataInvalid(f"preprocessing step {kind!r} is not known", field="steps", allowed=sorted(STEPS))
    known = [field.name for field in fields(STEPS[kind])]
    unknown = sorted(plain.keys() - {"kind", *known})
    if unknown:
        raise DataInvalid(f"step {kind!r} has no argument {unknown[0]!r}", field="steps", allowed=known)
    try:
        return STEPS[kind](**{name: plain[name] for name in known if name in plain})
    except TypeError as refusal:
        raise DataInvalid(f"step {kind!r} lacks an argument: {refusal}", field="steps", allowed=known) from refusal


@dataclass(frozen=True)
class Change:
    """One changed value: series, time in words, column ("y" or a covariate), value before (None: absent) and after."""

    series: str
    ds: str
    column: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class StepRecord:
    """What one step did: the step as data, how many values it changed, in words, and the first few changes."""

    step: dict[str, Any]
    changed: int
    summary: str
    first: tuple[Change, ...] = ()


@dataclass(frozen=True)
class PreprocessingReport:
    """What preprocessing did, step by step, and the series that it left out."""

    steps: tuple[StepRecord, ...]
    left_out: tuple[str, ...]
    season_length: int
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Draft:
    """A frame between two steps. observed: bool (N), the target was measured; row: bool (N), the file had the row."""

    frame: Frame
    observed: NDArray[np.bool_]
    row: NDArray[np.bool_]


def first_changes(
    frame: Frame, rows: NDArray[np.int64], column: str, before: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[Change, ...]:
    """The first few changes of one column. rows: positions in `frame`; before, after: float64, as long as `rows`."""
    series = np.searchsorted(frame.offsets, rows[:EXAMPLES], side="right") - 1
    return tuple(
        Change(
            series=frame.unique_id[int(s)],
            ds=time_text(int(frame.ds[row]), frame.axis),
            column=column,
            before=None if np.isnan(old) else float(old),
            after=None if np.isnan(new) else float(new),
        )
        for s, row, old, new in zip(series, rows[:EXAMPLES], before, after, strict=False)
    )
