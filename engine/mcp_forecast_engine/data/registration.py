"""A source of rows becomes a stored dataset with a name and a summary."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mcp_forecast_engine.data.columns import ColumnRoles, Correction
from mcp_forecast_engine.data.dataset import Dataset, build_dataset, encode
from mcp_forecast_engine.data.frequency import season_length
from mcp_forecast_engine.data.labels import timeline
from mcp_forecast_engine.data.reading import Table, read_file, read_rows
from mcp_forecast_engine.data.schema import covariate_schema_hash
from mcp_forecast_engine.errors import FileUnreadable
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import short_id


@dataclass(frozen=True)
class DatasetRequest:
    """What a caller says about a source. columns: arguments of ColumnRoles; covariates: corrections as dicts."""

    name: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    covariates: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset whose bytes are stored but which no row names yet. summary: JSON values, what describing shows."""

    dataset_id: str
    digest: str
    summary: dict[str, Any]
    warnings: tuple[str, ...]


def from_file(data: bytes, path: str, request: DatasetRequest, artifacts: ArtifactStore) -> PreparedDataset:
    """A dataset of a file's bytes. Raises FileUnreadable and what `build_dataset` raises."""
    name = path.lower()
    if name.endswith((".csv", ".csv.gz", ".txt", ".tsv")):
        return _prepare(read_file(data, "csv"), "file", request, artifacts)
    if name.endswith((".parquet", ".pq")):
        return _prepare(read_file(data, "parquet"), "file", request, artifacts)
    raise FileUnreadable(
        f"{path!r} has no ending that says what it is", field="path", allowed=[".csv", ".csv.gz", ".parquet"],
        next_step="rename the file by what it holds, or save it as one of these",
    )  # fmt: skip


def from_rows(rows: list[dict[str, Any]], request: DatasetRequest, artifacts: ArtifactStore) -> PreparedDataset:
    """A dataset of inline rows."""
    return _prepare(read_rows(rows), "inline", request, artifacts)


def _prepare(table: Table, source: str, request: DatasetRequest, artifacts: ArtifactStore) -> PreparedDataset:
    columns: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in request.columns.items()}
    corrections = tuple(Correction(**correction) for correction in request.covariates)
    # How the rows came is no part of the content: file and inline rows of one content are one dataset.
    dataset = build_dataset(table, ColumnRoles(**columns, covariates=corrections, source=""))
    digest = artifacts.put(encode(dataset))
    dataset_id = short_id("ds", digest)
    return PreparedDataset(
        dataset_id,
        digest,
        {"dataset_id": dataset_id, "digest": digest, **_summary(dataset, request, source)},
        dataset.profile.warnings,
    )


def _summary(dataset: Dataset, request: DatasetRequest, source: str) -> dict[str, Any]:
    schema, profile, revised = dataset.schema, dataset.profile, timeline(dataset)
    return {
        "name": request.name,
        "rows": profile.rows,
        "series_count": profile.series,
        "time": schema.time,
        "target": schema.target_text,
        "series": list(schema.series),
        "freq": schema.axis.freq,
        "season_length": season_length(schema.axis.freq),
        "start": profile.start,
        "end": profile.end,
        "future_steps": profile.future_rows // max(profile.series, 1),
        "missing_target": profile.missing_target,
        "gaps": profile.gaps,
        "duplicates": profile.duplicates,
        "shortest": profile.shortest,
        "longest": profile.longest,
        "covariates": [
            {
                "name": c.name,
                "type": c.type,
                "role": c.role,
                "nullable": c.nullable,
                "source": c.source or source,
                "reason": c.reason,
            }
            for c in schema.covariates
        ],
        "covariate_schema_hash": covariate_schema_hash(schema.covariates),
        "covariate_stats": {
            c.name: {"min": c.minimum, "max": c.maximum, "missing": c.missing} for c in profile.covariates
        },
        "warnings": list(profile.warnings),
        **({} if revised is None else {"observed": revised}),
    }
