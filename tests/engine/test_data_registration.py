"""Registration: one content is one dataset, however it came; what was found to warn of stays with it."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from mcp_forecast_engine.data.registration import DatasetRequest, PreparedDataset, from_file, from_rows
from mcp_forecast_engine.store.artifacts import ArtifactStore

PLAIN = DatasetRequest()


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


def table(days: int = 40) -> list[dict[str, Any]]:
    start = datetime(2024, 1, 1)
    return [
        {
            "ds": start + timedelta(days=n), "y": 100.5 + n % 7 + n / 8, "price": 3 + n % 5, "open": n % 7 < 5,
            "weather": ("rain", "sun", "fog")[n % 3],
        }
        for n in range(days)
    ]  # fmt: skip


def as_text(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "ds": row["ds"].isoformat()} for row in rows]


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    packed = io.BytesIO()
    csv.write_csv(pa.Table.from_pylist(as_text(rows)), packed)
    return packed.getvalue()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    packed = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), packed)
    return packed.getvalue()


def test_the_same_content_is_the_same_dataset_as_csv_parquet_or_rows(artifacts: ArtifactStore) -> None:
    rows = table()
    found = [
        from_file(as_csv(rows), "a.csv", PLAIN, artifacts),
        from_file(as_parquet(rows), "b.parquet", PLAIN, artifacts),
        from_rows(as_text(rows), PLAIN, artifacts),
        from_rows(as_text(rows[::-1]), PLAIN, artifacts),
    ]
    assert len({prepared.digest for prepared in found}) == 1
    assert [prepared.summary["covariates"][0]["source"] for prepared in found] == ["file", "file", "inline", "inline"]


def test_a_source_that_the_caller_gives_is_part_of_the_dataset(artifacts: ArtifactStore) -> None:
    def asked(source: str) -> PreparedDataset:
        request = DatasetRequest(covariates=({"name": "weather", "source": source},))
        return from_rows(as_text(table()), request, artifacts)

    assert asked("forecast A").dataset_id != asked("forecast B").dataset_id
    shown = {c["name"]: c["source"] for c in asked("forecast A").summary["covariates"]}
    assert shown == {"open": "inline", "price": "inline", "weather": "forecast A"}


def test_the_summary_keeps_what_was_found_to_warn_of(artifacts: ArtifactStore) -> None:
    rows = as_text(table())
    prepared = from_rows([*rows, {**rows[-1], "y": 1.0}], PLAIN, artifacts)
    assert prepared.summary["warnings"] == list(prepared.warnings)
    assert any("repeat a time" in text for text in prepared.summary["warnings"])
