"""Contract of run_preprocessing: steps as data, what each of them changed, and a name to train by."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from mcp_forecast_contracts.contract import Contract
from mcp_forecast_contracts.data import Freq
from mcp_forecast_contracts.schema import Answer, Arguments, DatasetId, Int, Key, PreprocessingId

StepKind = Literal["merge_duplicates", "fill_gaps", "fill_covariates", "resample", "outliers"]


class StepArguments(Arguments):
    """One step. Each kind takes some of the others: one flat object, because clients handle unions badly."""

    kind: Annotated[
        StepKind,
        Field(
            description="merge_duplicates (how), fill_gaps (target, causal), fill_covariates, resample (freq, target),"
            " outliers (action, threshold); a step takes no others"
        ),
    ]
    how: Annotated[
        Literal["mean", "last", "first", "sum"] | None,
        Field(description="merge_duplicates: one value of several; default mean"),
    ] = None
    target: Annotated[
        Literal["auto", "zero", "last", "seasonal", "interpolate", "sum", "mean"] | None,
        Field(
            description="fill_gaps: auto (default), zero, last, seasonal, or interpolate with causal false; "
            "resample: sum, mean or last, required"
        ),
    ] = None
    causal: Annotated[
        bool | None,
        Field(description="fill_gaps: default true; false only with interpolate, which sees past the tests' cutoffs"),
    ] = None
    freq: Annotated[Freq | None, Field(description="resample: the longer step, e.g. D, W-SUN or MS; required")] = None
    action: Annotated[
        Literal["report", "clip"] | None, Field(description="outliers: report (default) or clip them")
    ] = None
    threshold: Annotated[
        float | None,
        Field(ge=0.1, le=1000, description="outliers: robust deviations from the season that are far; default 10"),
    ] = None


class RunPreprocessingArguments(Arguments):
    """Which data, and which steps: given, by reference, or the default ones. At most one of the two may be given."""

    dataset_id: DatasetId
    steps: Annotated[
        list[StepArguments] | None,
        Field(min_length=1, max_length=10, description="steps in the order they run; left out: the default steps"),
    ] = None
    preprocessing_id: Annotated[
        PreprocessingId | None, Field(description="instead of steps: those of an earlier answer, e.g. pp_0123…")
    ] = None
    season_length: Annotated[
        Int | None, Field(ge=1, le=8784, description="steps per season, after resampling, if not the usual one")
    ] = None
    idempotency_key: Key | None = None


class ChangeAnswer(Answer):
    """One changed value; no `before`: there was none."""

    step: Annotated[int, Field(description="position in steps, from 0")]
    series: str
    ds: str
    column: str
    before: float | None = None
    after: float | None = None


class StepAnswer(Answer):
    """One step as applied, with every default spelled out, and what it did."""

    kind: StepKind
    how: str | None = None
    target: str | None = None
    causal: bool | None = None
    freq: str | None = None
    action: str | None = None
    threshold: float | None = None
    changed: Annotated[int, Field(description="values or rows changed")]
    summary: str


class PanelAnswer(Answer):
    """The regular panel that training would see."""

    freq: str
    season_length: int
    series_count: int
    steps: Annotated[int, Field(description="of all series together")]
    filled: Annotated[int, Field(description="steps whose target is filled or clipped; never scored")]
    shortest: int
    longest: int
    start: str
    end: str
    future_steps: Annotated[int, Field(description="steps after the last target with known-future values")]


class PreprocessingAnswer(Answer):
    """What the steps make of the dataset, and their name."""

    preprocessing_id: str
    created: Annotated[bool, Field(description="false: the same steps had this name before")]
    dataset_id: str
    rows_before: int
    rows_after: Annotated[int, Field(description="the panel's steps, of all series together")]
    steps: list[StepAnswer]
    changes: Annotated[
        list[ChangeAnswer],
        Field(description="the first of each step; no `before`: there was none; the report artifact has more"),
    ]
    panel: PanelAnswer
    left_out: Annotated[list[str], Field(description="series without any target, the first ones")]
    left_out_total: int
    report: Annotated[str, Field(description="digest of the whole report, a JSON artifact")]
    next_step: str


RUN_PREPROCESSING: Final = Contract(
    name="run_preprocessing",
    version="0.1.0",
    title="See and choose preprocessing",
    description=(
        "Apply preprocessing steps to a dataset and see what each one changes: duplicates merged, gaps filled, "
        "outliers found or clipped, steps aggregated. The dataset itself stays as it is. The answer names the steps "
        "as preprocessing_id: pass it to run_training, and training and every later forecast apply exactly these "
        "steps. Without `steps` it shows the default ones, which run_training applies anyway. The same steps always "
        "have the same id, on any dataset."
    ),
    arguments=RunPreprocessingArguments,
    result=PreprocessingAnswer,
    effect="command",
    errors=("NOT_FOUND", "DATA_INVALID", "IDEMPOTENCY_CONFLICT", "ARTIFACT_CORRUPT"),
    examples=(
        {"dataset_id": "ds_0123456789abcdef01234567"},
        {
            "dataset_id": "ds_0123456789abcdef01234567",
            "steps": [
                {"kind": "merge_duplicates", "how": "last"},
                {"kind": "fill_gaps", "target": "zero"},
                {"kind": "fill_covariates"},
                {"kind": "outliers", "action": "clip", "threshold": 8},
            ],
        },
        {"dataset_id": "ds_89abcdef0123456789abcdef", "preprocessing_id": "pp_0123456789abcdef01234567"},
    ),
)
