"""What a dataset's columns mean: the part that a model is bound to, inferred and open to correction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.columns import ColumnRoles, Correction, Layout, ValueType, resolve_columns
from mcp_forecast_engine.data.composed import newest_target
from mcp_forecast_engine.data.frame import Role, TimeAxis
from mcp_forecast_engine.data.frequency import season_length
from mcp_forecast_engine.data.leaks import leaking_columns, leaking_wide, suspects
from mcp_forecast_engine.data.longform import LongRows, long_rows, newest_rows
from mcp_forecast_engine.data.reading import Table
from mcp_forecast_engine.data.roles import (
    Coded,
    check_static,
    code_values,
    constant_within,
    correction_for,
    infer_role,
)
from mcp_forecast_engine.data.shifts import leading_columns
from mcp_forecast_engine.errors import DataInvalid
from mcp_forecast_engine.store.identity import digest

__all__ = ["ColumnRoles", "Correction", "CovariateSchema", "DatasetSchema", "Role", "ValueType", "infer_schema"]

COVARIATE_SCHEMA_RECIPE: Final = "covariate_schema.v2"


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

    @property
    def known_future(self) -> bool:
        """Whether its values are known ahead of time."""
        return self.role == "known_future"

    @property
    def static(self) -> bool:
        """Whether each series has one value of it."""
        return self.role == "static"

    def to_dict(self) -> dict[str, Any]:
        """The part that a model is bound to, as JSON values (without the reason)."""
        plain = {"name": self.name, "role": self.role, "type": self.type, "nullable": self.nullable}
        return {**plain, "source": self.source, "categories": list(self.categories)}


@dataclass(frozen=True)
class DatasetSchema:
    """The columns of a dataset; covariates are sorted by name. `target` is empty where `wide` names several.

    zone: the zone whose wall clock the times show, where the source had zones; None: it had none.
    time_format: how the source wrote its dates, where that was given or is one of two that look alike; None: any other.
    It is no part of what a model is bound to: rows of one content may be written in many ways. Nor is observed, the
    column that says when a row became known: a model trained on revised data serves data that is not.
    """

    time: str
    target: str
    series: tuple[str, ...]
    wide: tuple[str, ...]
    axis: TimeAxis
    covariates: tuple[CovariateSchema, ...]
    warnings: tuple[str, ...]
    zone: str | None = None
    time_format: str | None = None
    observed: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The part that a model is bound to, as JSON values, in an order that the file's columns do not change."""
        zone = {} if self.zone is None else {"zone": self.zone}
        return zone | {
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


def covariate_schema_hash(covariates: Iterable[CovariateSchema]) -> str:
    """The digest of what covariates are, in their one persisted order (by name), whatever order a file has them in."""
    ordered = sorted(covariates, key=lambda covariate: covariate.name)
    flags = [{"known_future": one.known_future, "static": one.static} for one in ordered]
    plain = [{**one.to_dict(), **flag} for one, flag in zip(ordered, flags, strict=True)]
    return digest(COVARIATE_SCHEMA_RECIPE, {"covariates": plain})


def infer_schema(table: Table, request: ColumnRoles) -> DatasetSchema:
    """Say what each column of a table is; raises ColumnMissing, DataInvalid, FrequencyUnclear with what to name."""
    layout = resolve_columns(table, request)
    rows = long_rows(table, layout, request)
    coded, left_out = code_covariates(rows, request)
    return describe_rows(rows, layout, request, coded, left_out)


def code_covariates(rows: LongRows, request: ColumnRoles) -> tuple[dict[str, Coded], tuple[str, ...]]:
    """The covariates of sorted rows as numbers, with the types that the caller corrected, and what was left out.

    Of rows that are revised all are coded, and the newest ones are looked at.
    A column that holds the target of later steps is left out: also its past would show what a forecast must not see.
    Raises DataInvalid where the caller named such a column.
    """
    coded = {
        name: code_values(name, column, correction_for(name, request.covariates).type)
        for name, column in sorted(rows.covariates.items())
    }
    rows, kept = newest_rows(rows)
    leads = _leading(rows, _amounts(_at(coded, kept)))
    for name in leads.keys() & {correction.name for correction in request.covariates}:
        raise DataInvalid(
            f"covariate {name!r} is {leads[name]}", field="covariates",
            next_step=f"leave {name!r} out, with `drop`: also its past shows what a forecast must not see",
        )  # fmt: skip
    notes = tuple(f"column {name!r} is {why}: left out" for name, why in leads.items())
    return {name: column for name, column in coded.items() if name not in leads}, notes


def _leading(rows: LongRows, columns: dict[str, NDArray[np.float64]]) -> dict[str, str]:
    """Columns that show targets of later steps, and how."""
    leads = leading_columns(rows.y, rows.offsets, columns)
    found = {name: f"the target {lead} steps later" for name, lead in leads.items()}
    rest = {name: values for name, values in columns.items() if name not in leads}
    newest = newest_target(rows.y, rows.offsets, rest)
    return found | {name: f"made of targets up to {n} steps later" for name, n in newest.items() if n > 0}


def _leaks(rows: LongRows, layout: Layout, columns: dict[str, NDArray[np.float64]]) -> dict[str, str]:
    """Columns from which the target of their own step can be computed, and how."""
    m = season_length(rows.axis.freq)
    if layout.wide:
        return leaking_wide(rows.y, rows.offsets, columns, total=not layout.series, season_length=m)
    found = leaking_columns(rows.y, columns, rows.offsets, m)
    rest = {name: values for name, values in columns.items() if name not in found}
    newest = newest_target(rows.y, rows.offsets, rest)
    return found | {name: "is made of the target of its own step and others" for name, n in newest.items() if n == 0}


def _close(rows: LongRows, covariates: list[CovariateSchema], columns: dict[str, NDArray[np.float64]]) -> list[str]:
    """Warnings about known-future columns that are nearly the target itself."""
    known = {one.name: columns[one.name] for one in covariates if one.known_future and one.name in columns}
    found = suspects(rows.y, known, rows.offsets, season_length(rows.axis.freq))
    return [f"known-future covariate {name!r} {why}" for name, why in found.items()]


def _at(coded: dict[str, Coded], rows: NDArray[np.int64]) -> dict[str, Coded]:
    return {name: replace(column, values=column.values[rows]) for name, column in coded.items()}


def _amounts(coded: dict[str, Coded]) -> dict[str, NDArray[np.float64]]:
    return {name: column.values for name, column in coded.items() if column.type != "categorical"}


def describe_rows(
    rows: LongRows, layout: Layout, request: ColumnRoles, coded: dict[str, Coded], left_out: tuple[str, ...] = ()
) -> DatasetSchema:
    """The schema of sorted rows, as the newest of revised ones show it.

    Raises DataInvalid when a correction contradicts the data.
    """
    moving = _moving(rows, coded)
    rows, kept = newest_rows(rows)
    coded, tail = _at(coded, kept), rows.tail
    leaks = _leaks(rows, layout, _amounts(coded))
    covariates, warnings = [], [*rows.notes, *left_out]
    for name, column in coded.items():
        covariate = _describe(name, column, rows, tail, request, leaks.get(name), fixed=name not in moving)
        covariates.append(covariate)
        if name in leaks:
            warnings.append(f"covariate {name!r} {leaks[name]}: would leak if known in advance, kept as historical")
    warnings += _close(rows, covariates, _amounts(coded))
    return DatasetSchema(
        time=layout.time,
        target=layout.target,
        series=layout.series,
        wide=layout.wide,
        axis=rows.axis,
        covariates=tuple(covariates),
        warnings=tuple(warnings),
        zone=rows.zone,
        time_format=rows.time_format,
        observed=layout.observed,
    )


def _moving(rows: LongRows, coded: dict[str, Coded]) -> set[str]:
    """Columns that revisions changed within a series: however constant they are now, as of another time they vary."""
    if rows.observed is None:
        return set()
    return {name for name, column in coded.items() if not constant_within(column.values, rows.offsets)}


def _describe(
    name: str,
    coded: Coded,
    rows: LongRows,
    tail: NDArray[np.bool_],
    request: ColumnRoles,
    leak: str | None,
    *,
    fixed: bool,
) -> CovariateSchema:
    asked = correction_for(name, request.covariates)
    role, reason = infer_role(name, coded, rows, tail)
    if role == "static" and not fixed:
        role, reason = "historical", "one value within every series now, and others before it was revised"
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
            _require_fixed(name, fixed=fixed)
    # The history tells whether values may be missing: a future that is not there yet is no value that is absent.
    absent = int(np.isnan(coded.values[~tail]).sum())
    lacking = int(np.isnan(coded.values).sum()) if role == "known_future" else absent
    if asked.nullable is False and lacking:
        raise DataInvalid(
            f"covariate {name!r} is declared not nullable but is absent in {lacking} rows",
            field="covariates",
            next_step="complete it, or declare it nullable",
        )
    nullable = asked.nullable if asked.nullable is not None else absent > 0
    return CovariateSchema(name, role, coded.type, nullable, asked.source or request.source, reason, coded.words)


def _require_fixed(name: str, *, fixed: bool) -> None:
    if not fixed:
        raise DataInvalid(
            f"covariate {name!r} is declared static, but a revision changes it within a series", field="covariates",
            allowed=["historical", "known_future"], next_step="give it another role",
        )  # fmt: skip
