"""Contracts of the artifacts: list what was made, read it by digest."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from mcp_forecast_contracts.contract import Contract
from mcp_forecast_contracts.schema import Answer, Arguments, Cursor, DatasetId, Int, ResponseFormat, RunId

MOST_BYTES: Final = 1 << 20
USUAL_BYTES: Final = 1 << 16
Digest = Annotated[
    str, Field(pattern="^sha256:[0-9a-f]{64}$", description="digest of an artifact, as list_artifacts gives it")
]
FileName = Annotated[
    str, Field(min_length=1, max_length=60, pattern="^[A-Za-z0-9_.-]+$", description="only this name: evaluation.json")
]


class ListArtifactsArguments(Arguments):
    """Of one run, of one dataset, or of the whole home, newest first."""

    run_id: RunId | None = None
    dataset_id: DatasetId | None = None
    name: FileName | None = None
    limit: Annotated[Int, Field(ge=1, le=100, description="artifacts per page, at most")] = 20
    cursor: Cursor | None = None
    response_format: ResponseFormat = "concise"


class ArtifactAnswer(Answer):
    """Stored bytes, named by what they are and by their digest."""

    name: Annotated[str, Field(description="e.g. dataset.npz, evaluation.json, model.onnx, gate_receipt.json")]
    digest: str
    size: Annotated[int | None, Field(description="bytes; absent where they are gone")] = None
    media_type: str
    uri: Annotated[str, Field(description="read it as this resource")]
    present: Annotated[bool, Field(description="the bytes are there; their digest is checked when they are read")]
    run_id: Annotated[str | None, Field(description="the run that made it")] = None
    dataset_id: Annotated[str | None, Field(description="the dataset that it is, or is about")] = None
    preprocessing: Annotated[str | None, Field(description="id of the steps and season length of a report")] = None
    created_at: str
    path: Annotated[str | None, Field(description="detailed, not over HTTP: where the bytes lie")] = None


class ListArtifactsAnswer(Answer):
    """A page of artifacts, newest first."""

    artifacts: list[ArtifactAnswer]
    total: int
    has_more: bool
    next_cursor: str | None = None


class ReadArtifactArguments(Arguments):
    """Which artifact, and which part of it."""

    digest: Digest
    offset: Annotated[Int, Field(ge=0, le=2**53 - 1, description="first byte")] = 0
    limit: Annotated[Int, Field(ge=1, le=MOST_BYTES, description="bytes at most")] = USUAL_BYTES


class ReadArtifactAnswer(Answer):
    """A part of an artifact, of bytes that hash to its digest."""

    digest: str
    name: str
    media_type: str
    size: Annotated[int, Field(description="bytes of the whole artifact")]
    encoding: Annotated[Literal["utf-8", "base64"], Field(description="utf-8: data is the text itself")]
    data: str
    offset: int
    has_more: bool
    next_offset: Annotated[int | None, Field(description="offset of the next part")] = None


LIST_ARTIFACTS: Final = Contract(
    name="list_artifacts",
    version="0.1.0",
    title="List artifacts",
    description=(
        "What datasets and runs have left as bytes: dataset, preprocessing, evaluation, model, result and forecast, "
        "newest first, each with digest, size, the run or dataset it belongs to, and a forecast://artifacts/ URI to "
        "read it by. Steps of runs that have not ended are listed too. Use it to check where a number comes from, or "
        "to fetch a model or an evaluation; at most one of run_id and dataset_id."
    ),
    arguments=ListArtifactsArguments,
    result=ListArtifactsAnswer,
    effect="read",
    errors=("NOT_FOUND", "CURSOR_INVALID"),
    examples=({"run_id": "run_0123456789abcdef01234567"}, {"name": "model.onnx", "limit": 5}),
)
READ_ARTIFACT: Final = Contract(
    name="read_artifact",
    version="0.1.0",
    title="Read an artifact",
    description=(
        "The bytes behind the resource forecast://artifacts/{digest}, verified against the digest, 64 KiB per call "
        "unless `limit` says more (1 MiB at most): JSON as text, everything else in base64. Only what a dataset or a "
        "run of this home names can be read. Go on at next_offset while has_more is true."
    ),
    arguments=ReadArtifactArguments,
    result=ReadArtifactAnswer,
    effect="read",
    errors=("NOT_FOUND", "ARTIFACT_CORRUPT"),
    examples=(
        {"digest": f"sha256:{'0123456789abcdef' * 4}"},
        {"digest": f"sha256:{'0123456789abcdef' * 4}", "offset": 65536, "limit": 65536},
    ),
    listed=False,
)
