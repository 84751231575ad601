"""The artifacts that rows name: of datasets, steps and results of runs, preprocessing, bundles; newest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    bindparam,
    case,
    func,
    literal,
    null,
    select,
    tuple_,
    union_all,
)
from sqlalchemy import cast as sql_cast

from mcp_forecast_engine.errors import NotFound
from mcp_forecast_engine.store.tables import BundleRow, DatasetRow, PreprocessingReportRow, RunRow, StepRow, table_of

DATASET, REPORT, RESULT, FORECAST = "dataset.npz", "preprocessing_report.json", "result.json", "forecast.json"
BUNDLE: Final = "bundle.json"
COSTS: Final = "costs"  # the step of a training that keeps what was measured
STEP_NAMES: Final = {
    "preprocess": "preprocessing.json", "evaluate": "evaluation.json", "train": "model.onnx", "refer": "model.json",
    "weigh": "weights.safetensors", "author": "model.mlpackage.zip", "attest": "coreml_receipt.json",
    COSTS: "costs.json", "manifest": "dataset_manifest.json", "config": "training_config.json",
    "governance": "governance_profile.json", "plan": "resolved_plan.json", "request": "train_build_request.json",
    "predict": "predictions.parquet",
    "explain": "explanation.json", "measure": "measurements.json", "guard": "leakage.json",
    "report": "eval_report.json", "record": "execution_record.json", "pack": "evidence_pack.json",
    "gate": "gate_receipt.json",
}  # fmt: skip
_MEDIA: Final = {
    "json": "application/json", "onnx": "application/onnx", "npz": "application/zip", "zip": "application/zip",
    "parquet": "application/vnd.apache.parquet", "safetensors": "application/vnd.safetensors",
}  # fmt: skip

Position = tuple[float, str, str, str]  # created_at, owner, name, detail of the last one of a page


def media_type(name: str) -> str:
    """What the bytes of a file of this name are."""
    return _MEDIA.get(name.rpartition(".")[2], "application/octet-stream")


@dataclass(frozen=True)
class NamedArtifact:
    """An artifact and the row that names it. created_at: seconds since 1970; owner: the id of its run or dataset.

    detail: which preprocessing, with its season, where a dataset has several reports; empty for all others.
    """

    name: str
    digest: str
    created_at: float
    owner: str
    run_id: str | None
    dataset_id: str | None
    detail: str

    @property
    def media_type(self) -> str:
        """What the bytes are."""
        return media_type(self.name)

    @property
    def position(self) -> Position:
        """Where a page that ends with it goes on."""
        return (self.created_at, self.owner, self.name, self.detail)


def page(
    connection: Connection, *, wanted: Mapping[str, str], after: Position | None = None, limit: int = 20
) -> list[NamedArtifact]:
    """Artifacts, newest first. wanted: values of run_id, dataset_id, name or digest, all of which must hold."""
    statement = _filtered(select(_ALL), wanted)
    if after is not None:
        statement = statement.where(tuple_(*_ORDER) < tuple_(*(bindparam(f"last_{n}", v) for n, v in enumerate(after))))
    rows = connection.execute(statement.order_by(*(column.desc() for column in _ORDER)).limit(limit)).mappings()
    return [NamedArtifact(**row) for row in rows]


def total(connection: Connection, *, wanted: Mapping[str, str]) -> int:
    """How many artifacts there are with these values."""
    return int(connection.execute(_filtered(select(func.count()).select_from(_ALL), wanted)).scalar_one())


def named(connection: Connection, digest: str) -> NamedArtifact:
    """The newest row that names this digest. Raises NotFound."""
    found = page(connection, wanted={"digest": digest}, limit=1)
    if not found:
        raise NotFound(
            f"nothing in this home is named {digest}", field="digest", next_step="list_artifacts shows the digests"
        )
    return found[0]


def _branch(
    *,
    name: ColumnElement[str],
    digest: ColumnElement[str],
    at: ColumnElement[float],
    run: ColumnElement[str] | None = None,
    dataset: ColumnElement[str] | None = None,
    detail: ColumnElement[str] | None = None,
) -> Select[*tuple[Any, ...]]:
    absent = sql_cast(null(), String)  # PostgreSQL wants to know what kind of nothing it is
    owner = run if run is not None else dataset
    assert owner is not None
    return select(
        name.label("name"),
        digest.label("digest"),
        at.label("created_at"),
        owner.label("owner"),
        (absent if run is None else run).label("run_id"),
        (absent if dataset is None else dataset).label("dataset_id"),
        (literal("", String) if detail is None else detail).label("detail"),
    )


_DATASET, _RUN, _STEP, _REPORT, _BUNDLE = (
    table_of(row) for row in (DatasetRow, RunRow, StepRow, PreprocessingReportRow, BundleRow)
)
_ALL: Final = union_all(
    _branch(
        name=literal(DATASET, String), digest=_DATASET.c.digest, at=_DATASET.c.created_at, dataset=_DATASET.c.dataset_id
    ),
    _branch(
        name=literal(REPORT, String), digest=_REPORT.c.artifact, at=_REPORT.c.created_at, dataset=_REPORT.c.dataset_id,
        detail=_REPORT.c.preprocessing_id + literal(" ", String) + sql_cast(_REPORT.c.season_length, String),
    ),
    _branch(
        name=case(STEP_NAMES, value=_STEP.c.step, else_=_STEP.c.step), digest=_STEP.c.artifact, at=_STEP.c.ended_at,
        run=_STEP.c.run_id,
    ),
    _branch(
        name=case({"inference": FORECAST}, value=_RUN.c.kind, else_=RESULT), digest=_RUN.c.result,
        at=func.coalesce(_RUN.c.ended_at, _RUN.c.created_at), run=_RUN.c.run_id,
    ).where(_RUN.c.result.is_not(None)),
    _branch(
        name=literal(BUNDLE, String), digest=_BUNDLE.c.manifest, at=_BUNDLE.c.published_at, run=_BUNDLE.c.run_id,
    ),
).subquery("artifact")  # fmt: skip
_ORDER: Final = (_ALL.c.created_at, _ALL.c.owner, _ALL.c.name, _ALL.c.detail)


def _filtered(statement: Select[Any], wanted: Mapping[str, str]) -> Select[Any]:
    for column, value in wanted.items():
        statement = statement.where(_ALL.c[column] == value)
    return statement
