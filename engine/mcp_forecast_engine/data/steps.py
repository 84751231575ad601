"""Preprocessing as data: the steps that make a regular panel of a frame, and the record of what each one changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Frame
from mcp_forecast_engine.data.frequency import DAY, parse_frequency
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.errors import DataInvalid
from mcp_forecast_engine.store.identity import digest, short_id

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
    "interpolate", a straight line, which reads later values and so needs causal=False (no other target may have it);
    "auto", decided at every gap from the values before it: zero where rows are absent from a count series that comes
    near zero, else seasonal.
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
    """Fewer, longer steps: the target's sum, mean or last value per step of `freq`, and the mean of covariates.

    A sum needs every short step: where one is absent, so is the sum. Others count as measured when half of the short
    steps are.
    """

    kind: ClassVar[str] = "resample"
    freq: str
    target: Literal["sum", "mean", "last"]


@dataclass(frozen=True)
class Outliers:
    """Values far from their season: `threshold` robust deviations from the median of the last three seasons.

    Deviations are measured on earlier values only, so clipping is causal too. What was clipped is no measured value:
    it is never scored. Default: report, change nothing.
    """

    kind: ClassVar[str] = "outliers"
    action: Literal["report", "clip"] = "report"
    threshold: float = 10.0


Step = MergeDuplicates | FillGaps | FillCovariates | Resample | Outliers
STEPS: dict[str, type[Step]] = {
    step.kind: step for step in (MergeDuplicates, FillGaps, FillCovariates, Resample, Outliers)
}
DEFAULT_STEPS: tuple[Step, ...] = (MergeDuplicates(), FillGaps(), FillCovariates(), Outliers())


PREPROCESSING_RECIPE: Final = "preprocessing.v1"
MOST_STEPS: Final = 10
MOST_THRESHOLD: Final = 1000
LONGEST_DAYS: Final = 3720  # of one step: ten years


def step_to_dict(step: Step) -> dict[str, Any]:
    """A step as JSON values, with its kind."""
    return {"kind": step.kind, **asdict(step)}


def step_from_dict(plain: Mapping[str, Any], *, field: str = "steps") -> Step:
    """The step that JSON values name; raises DataInvalid for unknown kinds and arguments, and values of another kind.

    field: where the step stands in the request, for the refusal.
    """
    kind = plain.get("kind")
    if not isinstance(kind, str) or kind not in STEPS:
        found = f"preprocessing step {kind!r} is not known"
        raise DataInvalid(found, field=f"{field}.kind", allowed=sorted(STEPS), next_step=_CORRECT)
    allowed = ALLOWED[kind]
    for name in sorted(plain.keys() - {"kind"} - allowed.keys()):
        takes = f"it takes {', '.join(allowed)}" if allowed else "it takes none"
        raise DataInvalid(
            f"step {kind!r} has no argument {name!r}; {takes}",
            field=f"{field}.{name}", allowed=list(allowed), next_step=f"leave {name!r} out, or name another kind",
        )  # fmt: skip
    needed = [f.name for f in fields(STEPS[kind]) if f.default is MISSING and f.name not in plain]
    if needed:
        raise DataInvalid(
            f"step {kind!r} needs {needed[0]!r}",
            field=f"{field}.{needed[0]}", allowed=allowed[needed[0]], next_step=_CORRECT,
        )  # fmt: skip
    made = STEPS[kind](
        **{name: _value(kind, name, plain[name], field=f"{field}.{name}") for name in allowed if name in plain}
    )
    if isinstance(made, FillGaps):
        _require_reason(made, field=f"{field}.causal")
    return made


def _require_reason(step: FillGaps, *, field: str) -> None:
    """causal=False is the price of interpolation alone: elsewhere it would promise a look ahead that nobody takes."""
    if not step.causal and step.target != "interpolate":
        raise DataInvalid(
            f"target {step.target!r} reads earlier values only, so causal=false says nothing",
            field=field, allowed=["true", "false with target interpolate"], next_step="leave causal out",
        )  # fmt: skip


def steps_from_dicts(plain: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """The steps that JSON values name, in their order. Raises DataInvalid, naming the step's place."""
    if not 1 <= len(plain) <= MOST_STEPS:
        raise DataInvalid(f"{len(plain)} steps", field="steps", allowed=f"1 to {MOST_STEPS} steps", next_step=_CORRECT)
    return tuple(step_from_dict(step, field=f"steps.{at}") for at, step in enumerate(plain))


def preprocessing_id(steps: Sequence[Step]) -> str:
    """The name of these steps, made from them with every default spelled out: the same steps, the same name."""
    named = digest(PREPROCESSING_RECIPE, {"steps": [step_to_dict(step) for step in steps]})
    return short_id("pp", named)


def stepped_frequency(freq: str, steps: Sequence[Step]) -> str:
    """The frequency of data of frequency `freq` after the steps: that of the last resampling."""
    return next((step.freq for step in reversed(steps) if isinstance(step, Resample)), freq)


_CORRECT: Final = "correct this step by `allowed`, and make the call again"
# What each argument of each kind may be: words, or a sentence where numbers, flags and frequencies are read by `_READ`.
ALLOWED: Final[dict[str, dict[str, tuple[str, ...] | str]]] = {
    "merge_duplicates": {"how": ("mean", "last", "first", "sum")},
    "fill_gaps": {"target": ("auto", "zero", "last", "seasonal", "interpolate"), "causal": "true or false"},
    "fill_covariates": {},
    "resample": {
        "freq": "a longer step of at most ten years: 15min, h, D, B, W-SUN, MS, QS, YS",
        "target": ("sum", "mean", "last"),
    },
    "outliers": {"action": ("report", "clip"), "threshold": "a number above 0, at most 1000"},
}


def _value(kind: str, name: str, value: Any, *, field: str) -> Any:
    """The value as the step keeps it, if its argument may have it. Raises DataInvalid."""
    allowed = ALLOWED[kind][name]
    if isinstance(allowed, tuple):
        kept = value if isinstance(value, str) and value in allowed else None
    else:
        kept = _READ[name](value)
    if kept is None:
        found = f"{name} of step {kind!r} is {value!r}"
        raise DataInvalid(found, field=field, allowed=allowed, next_step=_CORRECT)
    return kept


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _threshold(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 < value <= MOST_THRESHOLD else None


def _longer_step(value: Any) -> str | None:
    """One spelling for each step, so that "hourly" and "h" are the same."""
    try:
        step = parse_frequency(value if isinstance(value, str) else "")
    except DataInvalid:
        return None
    days = step.count * {"months": 31, "business": 1}.get(step.unit, 1 / DAY)
    return step.alias if step.unit != "steps" and days <= LONGEST_DAYS else None


_READ: Final[dict[str, Callable[[Any], Any]]] = {"causal": _flag, "threshold": _threshold, "freq": _longer_step}


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
    """What one step did: the step as data, how many values it changed, in words, and the first few changes.

    warnings: what a reader of a forecast must know. cautions: the same, where it makes tests flatter.
    """

    step: dict[str, Any]
    changed: int
    summary: str
    first: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True)
class PreprocessingReport:
    """What preprocessing did, step by step, and the series that it left out."""

    steps: tuple[StepRecord, ...]
    left_out: tuple[str, ...]
    season_length: int
    warnings: tuple[str, ...]

    @property
    def cautions(self) -> tuple[str, ...]:
        """What weighs against every test on this panel; also among the warnings."""
        return tuple(text for record in self.steps for text in record.cautions)

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
