"""Contract of the comparison: finished training runs side by side."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from mcp_forecast_contracts.contract import Contract
from mcp_forecast_contracts.schema import Answer, Arguments, ResponseFormat, RunId


class CompareRunsArguments(Arguments):
    """Which runs, and which of them the others are measured against."""

    run_ids: Annotated[
        list[RunId], Field(min_length=2, max_length=8, description="training runs with a result, 2 to 8 different ones")
    ]
    baseline_run_id: Annotated[
        RunId | None, Field(description="the run the others are measured against; left out: the first of run_ids")
    ] = None
    response_format: ResponseFormat = "concise"


class ComparedRun(Answer):
    """One run: what it chose and what that scored on its own test windows."""

    run_id: str
    chosen: Annotated[str, Field(description="the arm that serves")]
    covariates: Annotated[list[str], Field(description="what that arm reads; the first ones")]
    covariates_total: int | None = None
    verdict: Literal["trust", "caution", "do_not_trust"]
    metrics: Annotated[dict[str, float], Field(description="on the run's own test windows, see definitions")]
    windows: int
    series: int
    steps: Annotated[int, Field(description="observed steps scored")]
    request: Annotated[dict[str, Any], Field(description="what was asked")]
    details: Annotated[
        dict[str, Any] | None, Field(description="detailed: plan, trust, every arm with its metrics, warnings")
    ] = None


class Difference(Answer):
    """A field of the configuration in which the runs differ."""

    field: str
    values: Annotated[list[str], Field(description="one per run, in the order of runs")]
    shared: Annotated[int | None, Field(description="of a list: how many names are in all runs, not repeated")] = None


class PairedSkill(Answer):
    """One run against the baseline by one metric, on the units both were tested on; not corrected for many runs."""

    run_id: str
    metric: Literal["MASE", "WQL", "MAE"]
    skill: Annotated[float, Field(description="share of the baseline's loss that the run saves; negative: it adds")]
    low: Annotated[float | None, Field(description="95 % interval of skill; absent: too few units")] = None
    high: float | None = None
    probability_better: Annotated[
        float | None, Field(description="part of widened resamples with the smaller loss")
    ] = None
    unit: Annotated[Literal["window", "series"], Field(description="what was paired and drawn again")]
    count: Annotated[int, Field(description="units paired")]
    steps: int


class Lead(Answer):
    """The leading run over one other."""

    run_id: str
    skill: float
    low: float | None = None
    high: float | None = None
    probability_better: float | None = None


class Best(Answer):
    """Which run is better, if the tests can tell."""

    run_id: Annotated[str | None, Field(description="absent: no run is surely better than all others")] = None
    sure: Annotated[bool, Field(description="every interval of the leader leaves out zero")]
    metric: Annotated[Literal["MASE", "WQL"] | None, Field(description="what it is judged by")] = None
    sentence: str
    by: Annotated[list[Lead], Field(description="the leading run over each other one, uncorrected")]


class Apart(Answer):
    """A run that could not be paired with the baseline."""

    run_id: str
    reason: str


class CompareRunsAnswer(Answer):
    """Metrics side by side, what differs, paired differences and which run is better."""

    baseline: str
    comparable: Annotated[bool, Field(description="false: at least one run could not be paired, see apart")]
    apart: Annotated[list[Apart], Field(description="runs that could not be paired with the baseline")]
    best: Best
    pairs: Annotated[
        list[PairedSkill],
        Field(description="each run against the baseline, on what both were tested on; not corrected for many runs"),
    ]
    runs: list[ComparedRun]
    differences: Annotated[list[Difference], Field(description="only what differs")]
    differences_total: int | None = None
    definitions: dict[str, str]
    next_step: str


COMPARE_RUNS: Final = Contract(
    name="compare_runs",
    version="0.1.0",
    title="Compare training runs",
    description=(
        "Put 2 to 8 finished training runs side by side: scores with definitions, every setting in which they differ, "
        "and each run against the baseline on the test windows (or series) both share, with 95 % intervals. `best` "
        "names a run only if its interval against every other leaves out zero; otherwise it says that the tests show "
        "no difference. `pairs` and `by` are pairwise, uncorrected for the number of runs: no ranking. Runs "
        "on different datasets pair where series, times and actual values are the same; others get metrics side by "
        "side and the reason. Read best.sentence first."
    ),
    arguments=CompareRunsArguments,
    result=CompareRunsAnswer,
    effect="read",
    errors=("NOT_FOUND", "RUN_NOT_READY", "RUN_FAILED", "ARTIFACT_CORRUPT"),
    examples=(
        {"run_ids": ["run_0123456789abcdef01234567", "run_89abcdef0123456789abcdef"]},
        {
            "run_ids": ["run_0123456789abcdef01234567", "run_89abcdef0123456789abcdef"],
            "baseline_run_id": "run_89abcdef0123456789abcdef",
        },
    ),
)
