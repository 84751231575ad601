"""What a dataset's columns mean: the part that a model is bound to, inferred and open to correction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.columns import ColumnRoles, Correction, Layout, ValueType, resolve_columns
from mcp_forecast_engine.data.frame import Role, TimeAxis
from mcp_forecast_engine.data.leaks import leaking_columns
from mcp_forecast_engine.data.longform import LongRows, long_rows
from mcp_forecast_engine.data.reading import Table
from mcp_forecast_engine.data.roles import Coded, check_static, code_values, correction_for, infer_role
from mcp_forecast_engine.errors import DataInvalid

__all__ = ["ColumnRoles", "Correction", "CovariateSchema", "DatasetSchema", "Role", "ValueType", "infer_schema"]


@dataclass(frozen=True)
class CovariateSchema:
    """One covariate: what it holds, when it is known, where it came from, and why its role was chosen."""

    name: str
    role: Role
    type: ValueType
    nullable: bool
    source: str
    reason: str
    categories: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The part that a model is bound to, as JSON values (without the reason)."""
        plain = {"name": self.name, "role": self.role, "type": self.type, "nullable": self.nullable}
        return {**plain, "source": self.source, "categories": list(self.categories)}


@dataclass(frozen=True)
class DatasetSchema:
    """The columns of a dataset; covariates are sorted by name. `target` is empty where `wide` names several."""

    time: str
    target: str
    series: tuple[str, ...]
    wide: tuple[str, ...]
    axis: TimeAxis
    covariates: tuple[CovariateSchema, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The part that a model is bound to, as JSON values, in an order that the file's columns do not change."""
        return {
            "time": self.time,
            "target": self.target,
            "series": list(self.series),
            "wide": list(self.wide),
            "axis": {"kind": self.axis.kind, "freq": self.axis.freq},
            "covariates": [covariate.to_dict() for covariate in self.covariates],
        }

    @property
    def target_text(self) -> str:
        """The target in words: its column, or the first of several wide ones."""
        return self.target or ", ".join(self.wide[:20])

    def names(self, role: Role) -> tuple[str, ...]:
        """The covariates of one role, sorted."""
        return tuple(covariate.name for covariate in self.covariates if covariate.role == role)


def infer_schema(table: Table, request: ColumnRoles) -> DatasetSchema:
    """Say what each column of a table is; raises ColumnMissing, DataInvalid, FrequencyUnclear with what to name."""
    layout = resolve_columns(table, request)
    rows = long_rows(table, layout, request)
    return describe_rows(rows, layout, request, code_covariates(rows, request))


def code_covariates(rows: LongRows, request: ColumnRoles) -> dict[str, Coded]:
    """The covariates of sorted rows as numbers, with the types that the caller corrected."""
    return {
        name: code_values(name, column, correction_for(name, request.covariates).type)
        for name, column in sorted(rows.covariates.items())
    }


def describe_rows(rows: LongRows, layout: Layout, request: ColumnRoles, coded: dict[str, Coded]) -> DatasetSchema:
    """The schema of sorted rows; raises DataInvalid when a correction contradicts the data."""
    tail = rows.tail
    amounts = {name: column.values for name, column in coded.items() if column.type != "categorical"}
    leaks = leaking_columns(rows.y, amounts) if not layout.wide else {}
    covariates, warnings = [], list(rows.notes)
    for name, column in coded.items():
        covariate = _describe(name, column, rows, tail, request, leaks.get(name))
        covariates.append(covariate)
        if name in leaks:
            warnings.append(f"covariate {name!r} {leaks[name]}: would leak if known in advance, kept as historical")
    return DatasetSchema(
        time=layout.time,
        target=layout.target,
        series=layout.series,
        wide=layout.wide,
        axis=rows.axis,
        covariates=tuple(covariates),
        warnings=tuple(warnings),
    )


def _describe(
    name: str, coded: Coded, rows: LongRows, tail: NDArray[np.bool_], request: ColumnRoles, leak: str | None
) -> CovariateSchema:
    asked = correction_for(name, request.covariates)
    role, reason = infer_role(name, coded, rows, tail)
    if leak:
        role, reason = "historical", f"{leak}: would leak if known in advance"
        if asked.role not in (None, "historical"):
            raise DataInvalid(
                f"covariate {name!r} cannot be {asked.role}: it {leak}",
                field="covariates",
                allowed=["historical"],
                next_step=f"declare {name!r} historical, or drop it",
            )
    if asked.role is not None:
        role, reason = asked.role, "given by the caller"
        if role == "static":
            check_static(name, coded, rows)
    absent = int(np.isnan(coded.values if role == "known_future" else coded.values[~tail]).sum())
    if asked.nullable is False and absent:
        raise DataInvalid(
            f"covariate {name!r} is declared not nullable but is absent in {absent} rows",
            field="covariates",
            next_step="complete it, or declare it nullable",
        )
    nullable = asked.nullable if asked.nullable is not None else absent > 0
    return CovariateSchema(name, role, coded.type, nullable, asked.source or request.source, reason, coded.words)
