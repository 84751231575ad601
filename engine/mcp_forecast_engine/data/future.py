"""Known-future rows that come with a forecast request: checked against the dataset, coded as it is, put on its grid."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.frequency import parse_frequency
from mcp_forecast_engine.data.grid import next_stamps
from mcp_forecast_engine.data.longform import number_text
from mcp_forecast_engine.data.magnitude import LARGEST
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.data.reading import Column
from mcp_forecast_engine.data.schema import CovariateSchema, DatasetSchema
from mcp_forecast_engine.data.times import FORMATS, Times, read_times
from mcp_forecast_engine.errors import CovariatesMismatch, DataInvalid

Row = Mapping[str, Any]
_ISO: Final = "YYYY-MM-DD"


def with_future(
    panel: Panel,
    schema: DatasetSchema,
    rows: Sequence[Row],
    horizon: int,
    names: Sequence[str],
    *,
    optional: Collection[str] = (),
) -> tuple[Panel, int]:
    """The panel with the future that the rows give, every named covariate for each series and step, and rows left over.

    The panel is in the codes of the model (`serving.categories`): a word that is none of its words is refused.
    names: known-future covariates the model reads; optional: those of them that may be absent, and are NaN then. What
    the panel knows of other columns (derived ones) stays. horizon: the steps the model was trained for, because each
    step it forecasts reads the future of all of them. Left over are rows outside these steps, or of series that
    preprocessing left out. Raises DataInvalid for rows without series or time, values of the wrong type, times
    between the steps, and where every row is left over; CovariatesMismatch for steps and columns that are absent.
    """
    last = panel.ds[panel.offsets[1:] - 1]
    ends = next_stamps(last, horizon + 1, parse_frequency(panel.axis.freq))
    stamps = ends[:, :-1]
    spans = dict(zip(panel.unique_id, zip(last.tolist(), ends[:, -1].tolist(), strict=True), strict=True))
    places = {(s, int(at)): (i, k) for i, s in enumerate(panel.unique_id) for k, at in enumerate(stamps[i])}
    coded = {c.name: c for c in schema.covariates if c.name in names}
    future = {name: np.full((len(panel.unique_id), horizon), np.nan) for name in names}
    longer = panel.axis.freq != schema.axis.freq
    _refuse_unknown(rows, schema)
    left, between = 0, []
    for row, series, at in zip(rows, _series(rows, schema, panel), _times(rows, schema), strict=True):
        found = [places[name, int(at)] for name in series if (name, int(at)) in places]
        if not found and any(spans[name][0] < at < spans[name][1] for name in series):
            between.append(int(at))
            continue
        left += not found
        for covariate in coded.values():
            words = panel.categories.get(covariate.name, covariate.categories)
            value = _value(row, covariate, words, longer=longer)
            for place in found:
                _put(future[covariate.name], place, value, covariate.name, panel, stamps)
    if between:
        raise _between(between, panel, stamps)
    if left == len(rows):
        raise _outside(rows, panel, stamps)
    _fill_from(panel, future)
    _require_complete({name: values for name, values in future.items() if name not in optional}, panel, stamps)
    return replace(panel, future={**panel.future, **future}, future_ds=stamps), left


def require_future(panel: Panel, schema: DatasetSchema, rows: Sequence[Row], horizon: int) -> None:
    """Rows that a model of these data could read, whatever it will read: said before it is trained.

    Of the known-future columns that rows give, those that training never lacked are complete. Raises what `with_future`
    does.
    """
    given = {name for row in rows for name, value in row.items() if value is not None}
    read = [covariate for covariate in schema.covariates if covariate.known_future and covariate.name in given]
    optional = [covariate.name for covariate in read if covariate.nullable]
    with_future(panel, schema, rows, horizon, [covariate.name for covariate in read], optional=optional)


def _fill_from(panel: Panel, future: Mapping[str, NDArray[np.float64]]) -> None:
    """What the rows leave open, the data may hold."""
    for name, values in future.items():
        own = panel.future.get(name, np.zeros((len(values), 0)))[:, : values.shape[1]]
        part = values[:, : own.shape[1]]
        part[np.isnan(part)] = own[np.isnan(part)]


def _outside(rows: Sequence[Row], panel: Panel, stamps: NDArray[np.int64]) -> DataInvalid:
    return DataInvalid(
        f"none of the {len(rows)} future rows lies within the {stamps.shape[1]} steps after the data",
        field="future", allowed=_needed(panel, stamps), next_step="send one row per series and step",
    )  # fmt: skip


def _between(times: list[int], panel: Panel, stamps: NDArray[np.int64]) -> DataInvalid:
    """Rows finer than the panel's step: taking only some of them would not be what was sent."""
    freq = panel.axis.freq
    return DataInvalid(
        f"{len(times)} future rows lie between the steps of {freq!r}, the first at {time_text(times[0], panel.axis)}; "
        "the preprocessing of the model is not applied to future rows",
        field="future", allowed=_needed(panel, stamps), next_step=f"send one row per step of {freq!r} and series",
    )  # fmt: skip


def _refuse_unknown(rows: Sequence[Row], schema: DatasetSchema) -> None:
    known = {schema.time, schema.target, *schema.series, *schema.wide, *(c.name for c in schema.covariates)}
    unknown = sorted({name for row in rows for name in row} - known)
    if unknown:
        raise DataInvalid(
            f"the future rows have {', '.join(map(repr, unknown[:10]))}, which the dataset does not have",
            field="future", allowed=sorted(known - {""}), next_step="use the dataset's column names",
        )  # fmt: skip


def _times(rows: Sequence[Row], schema: DatasetSchema) -> NDArray[np.int64]:
    absent = next((i for i, row in enumerate(rows) if row.get(schema.time) is None), None)
    if absent is not None:
        raise DataInvalid(
            f"future row {absent} has no {schema.time!r}", field="future", allowed=f"{schema.time!r} in every row",
            next_step=f"give every row its time in {schema.time!r}",
        )  # fmt: skip
    values = [row[schema.time] for row in rows]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        column = Column("number", np.array(values, np.float64))
    else:
        texts = [str(value) for value in values]
        words = sorted(set(texts))
        code = {word: i for i, word in enumerate(words)}
        column = Column("text", np.array([code[t] for t in texts], np.int32), tuple(words))
    times = _read_as_before(column, schema)
    if times.kind != schema.axis.kind:
        raise DataInvalid(
            f"{schema.time!r} of the future rows holds {'dates' if times.kind == 'calendar' else 'step numbers'}",
            field="future", allowed="step numbers" if schema.axis.kind == "integer" else "dates",
            next_step="send the times as the dataset has them",
        )  # fmt: skip
    if times.zone is not None and schema.zone is None and column.kind == "text":
        raise DataInvalid(
            f"{schema.time!r} of the future rows has a time zone, the dataset's times have none", field="future",
            allowed="times of the dataset's wall clock, without a zone", next_step="leave the zone out",
        )  # fmt: skip
    return times.ds


def _read_as_before(column: Column, schema: DatasetSchema) -> Times:
    """Times as the dataset's were written; ISO dates too, which mean the same everywhere. Raises DataInvalid."""
    wanted = "step" if schema.axis.kind == "integer" and column.kind == "number" else schema.time_format
    iso = all(FORMATS[_ISO].fullmatch(word.strip()) for word in column.words)
    try:
        return read_times(column, name=schema.time, time_format=wanted, time_zone=schema.zone)
    except DataInvalid as refusal:
        if column.kind == "text" and wanted is not None and iso:
            return read_times(column, name=schema.time, time_format=_ISO, time_zone=schema.zone)
        raise DataInvalid(
            f"the future rows, {refusal.message}", field="future", allowed=f"dates like {wanted or _ISO}",
            next_step="send the times as the dataset has them",
        ) from refusal  # fmt: skip


def _series(rows: Sequence[Row], schema: DatasetSchema, panel: Panel) -> list[list[str]]:
    """The series each row speaks of; wide targets share their rows."""
    known = set(panel.unique_id)
    found = []
    for i, row in enumerate(rows):
        absent = [name for name in schema.series if row.get(name) is None]
        if absent:
            raise DataInvalid(
                f"future row {i} has no {', '.join(absent)}", field="future", allowed=list(schema.series),
                next_step="name the series in every row, by these columns",
            )  # fmt: skip
        group = "/".join(_label(row[name]) for name in schema.series)
        names = [f"{group}/{t}" if group else t for t in schema.wide] or [group or schema.target]
        unknown = [name for name in names if name not in known]
        if len(unknown) == len(names):
            raise DataInvalid(
                f"future row {i} names series {unknown[0]!r}, which the dataset does not have",
                field="future",
                allowed=list(panel.unique_id[:20]),
                next_step="leave these rows out, or register data that has the series' history",
            )
        found.append([name for name in names if name in known])
    return found


def _put(
    values: NDArray[np.float64],
    place: tuple[int, int],
    value: float,
    name: str,
    panel: Panel,
    stamps: NDArray[np.int64],
) -> None:
    """Keep what a row gives; rows of one step may share its columns among them, but not contradict each other."""
    if np.isnan(value):
        return
    if not np.isnan(values[place]) and values[place] != value:
        at = time_text(int(stamps[place]), panel.axis)
        raise DataInvalid(
            f"two future rows give {name!r} of {panel.unique_id[place[0]]!r} at {at} different values", field="future",
            allowed="one value per series and step", next_step="send each step once",
        )  # fmt: skip
    values[place] = value


def _label(value: Any) -> str:
    return number_text(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _value(row: Row, covariate: CovariateSchema, words: tuple[str, ...], *, longer: bool) -> float:
    """One value of a row as a number; longer: the panel's steps are longer than the dataset's rows."""
    value = row.get(covariate.name)
    if value is None:
        return float("nan")
    if covariate.type == "categorical":
        text = _label(value)
        if text not in words:
            raise CovariatesMismatch(
                f"{covariate.name!r} is {text!r} in the future rows, which was never seen in training",
                field="future",
                allowed=list(words[:50]),
                next_step="send one of these words, or train on data that has the new one",
            )
        return float(words.index(text))
    fits = isinstance(value, int | float) and not abs(value) > LARGEST
    # Of a flag, a longer step has its mean.
    if not fits or (covariate.type == "boolean" and not (0 <= value <= 1 if longer else value in (0, 1))):
        raise DataInvalid(
            f"{covariate.name!r} is {value!r} in the future rows, which is not {covariate.type}", field="future",
            allowed={"boolean": "true or false, 1 or 0"}.get(covariate.type, "a number that float32 carries"),
            next_step="send values of the type that training had",
        )  # fmt: skip
    return float(value)


def _require_complete(future: Mapping[str, NDArray[np.float64]], panel: Panel, stamps: NDArray[np.int64]) -> None:
    lacking = {name: int(np.isnan(values).sum()) for name, values in future.items() if np.isnan(values).any()}
    if not lacking:
        return
    name = next(iter(lacking))
    series, step = np.argwhere(np.isnan(future[name]))[0]
    at = time_text(int(stamps[series, step]), panel.axis)
    raise CovariatesMismatch(
        f"the future rows lack {', '.join(f'{n} ({k} values)' for n, k in lacking.items())}; "
        f"the first is {name!r} of {panel.unique_id[series]!r} at {at}; the model reads all {stamps.shape[1]} steps it "
        "was trained for, also when fewer are forecast",
        field="future",
        allowed=_needed(panel, stamps),
        next_step="send one row per series and step with these columns",
    )


def _needed(panel: Panel, stamps: NDArray[np.int64]) -> str:
    """The steps to send; series may end at different times, so the first one stands for itself only."""
    first, last = (time_text(int(ds), panel.axis) for ds in (stamps[0, 0], stamps[0, -1]))
    alike = bool((stamps == stamps[0]).all())
    return f"every step from {first} to {last}" + ("" if alike else f" for {panel.unique_id[0]!r}, likewise the others")
