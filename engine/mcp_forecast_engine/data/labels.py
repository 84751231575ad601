"""What was known when: of revised rows the ones that stood at a time, and how much was known by then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.dataset import Dataset
from mcp_forecast_engine.data.frame import Frame
from mcp_forecast_engine.data.frequency import DAY
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.data.revisions import newest_of, series_of
from mcp_forecast_engine.errors import CorridorRefused, DataInvalid

Integers = NDArray[np.int64]

# How one value is chosen for each series and time: of those observed in time the newest. Another rule, another name.
RESOLUTION_RULE: Final = "newest_observed.v1"
_EPOCH: Final = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Coverage:
    """How much of what is known today was known at label_asof.

    steps: pairs of series and time up to `end` (the last time with a target at label_asof, of any series) that have a
    target in some revision; known: those of them that had one. later: rows that were observed after label_asof.
    superseded: rows that a newer one in time had replaced. immature: targets left out because they were too young.
    rows: that were observed in time; conflicts: those of them that contradict one of the same moment.
    """

    label_asof: str
    end: str
    steps: int
    known: int
    later: int
    superseded: int
    immature: int
    rows: int
    conflicts: int

    @property
    def share(self) -> float:
        """Known targets as a part of all, 0 … 1."""
        return self.known / self.steps if self.steps else 0.0

    @property
    def conflict_share(self) -> float:
        """Contradicting rows as a part of those observed in time, 0 … 1."""
        return self.conflicts / self.rows if self.rows else 0.0

    @property
    def text(self) -> str:
        """What a reader of the run has to know, in a sentence."""
        found = f"as of {self.label_asof}: {self.share:.1%} of {self.steps} targets up to {self.end} were known; "
        found += f"{self.superseded} rows were replaced by newer ones, {self.later} came later and were not used"
        return found + (f"; {self.immature} targets were too young and left out" if self.immature else "")


@dataclass(frozen=True)
class Known:
    """The rows that stood at a time, one per series and time; observed, coverage: None where nothing is revised."""

    frame: Frame
    observed: Integers | None = None
    coverage: Coverage | None = None


def as_of(dataset: Dataset, label_asof: str | None, *, maturity_days: int | None = None) -> Known:
    """The series as they were known at a time: nothing that was observed later takes part.

    Per series and time, of the rows observed at or before label_asof (ISO 8601, UTC) the newest; of equal observed
    times the later row. maturity_days: targets younger than that at label_asof, by the clock of the data, are absent.

    Raises CorridorRefused: LABEL_ASOF_MISSING, LABEL_SCOPE_EMPTY (nothing was observed yet) and
    LABEL_TIMELINE_INCONSISTENT (two newest rows of one observed time differ). Raises DataInvalid for a label_asof that
    is no time, or that this data cannot have.
    """
    observed = dataset.observed
    if observed is None:
        _require_plain(label_asof, maturity_days)
        return Known(dataset.frame)
    if label_asof is None:
        raise _missing(asof_text(int(observed.max())))
    until, frame = read_asof(label_asof), dataset.frame
    kept = newest_of(frame.ds, frame.offsets, observed, until)
    contradicted = _contradicted(frame, observed)
    _require_consistent(frame, observed, np.intersect1d(contradicted, kept))
    mature, immature = _mature(frame.only(kept), until, maturity_days)
    if np.isnan(mature.y).all():
        raise _nothing_known(label_asof, observed, maturity_days)
    end = int(mature.ds[~np.isnan(mature.y)].max())
    known = int((~np.isnan(mature.y)).sum())
    in_time = int((observed <= until).sum())
    coverage = Coverage(
        label_asof=asof_text(until), end=time_text(end, frame.axis), steps=_measured_steps(frame, end), known=known,
        later=len(observed) - in_time, superseded=in_time - len(kept), immature=immature,
        rows=in_time, conflicts=int((observed[contradicted] <= until).sum()),
    )  # fmt: skip
    return Known(mature, observed[kept], coverage)


def read_asof(text: str) -> int:
    """Seconds of UTC of an ISO 8601 time; a date is its first moment, a time without a zone is UTC.

    Raises DataInvalid. Observed times count whole seconds, so parts of a second are refused.
    """
    try:
        found = datetime.fromisoformat(text)
        plain = found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError) as error:
        raise _no_time(text) from error
    if plain.microsecond:
        raise _no_time(text)
    return (plain - _EPOCH) // timedelta(seconds=1)


def asof_text(seconds: int) -> str:
    """Seconds of UTC as the one spelling that plans and manifests carry: 2024-05-01T00:00:00Z."""
    return f"{np.datetime64(seconds, 's')}Z"


def pinned_asof(
    observed: Mapping[str, Any] | None, label_asof: str | None, *, maturity_days: int | None = None
) -> str | None:
    """The label_asof of a request as a plan pins it, before any data is read.

    observed: what the dataset's summary says under that name; None: the dataset has no observed times. Raises as
    `as_of` does, but for what only the rows can tell.
    """
    if observed is None:
        _require_plain(label_asof, maturity_days)
        return None
    if label_asof is None:
        raise _missing(str(observed["last"]))
    return asof_text(read_asof(label_asof))


def newest_asof(summary: Mapping[str, Any]) -> str | None:
    """The label_asof that leaves nothing out, by a dataset's summary; None where nothing is revised."""
    observed = summary.get("observed")
    return None if observed is None else str(observed["last"])


def timeline(dataset: Dataset) -> dict[str, Any] | None:
    """What a dataset says about its revisions, as JSON values; None where it has none.

    column; first, last: observed times; rows: of all revisions; revisions: rows that a newer one replaced; conflicts:
    rows that differ from another one of the same series, time and observed time.
    """
    if dataset.observed is None:
        return None
    frame, observed = dataset.frame, dataset.observed
    kept = newest_of(frame.ds, frame.offsets, observed)
    return {
        "column": dataset.schema.observed,
        "first": asof_text(int(observed.min())),
        "last": asof_text(int(observed.max())),
        "rows": len(observed),
        "revisions": len(observed) - len(kept),
        "conflicts": len(_contradicted(frame, observed)),
    }


def _measured_steps(frame: Frame, end: int) -> int:
    """Pairs of series and time up to `end` with a target in some revision."""
    rows = np.flatnonzero(~np.isnan(frame.y) & (frame.ds <= end))
    series = series_of(frame.offsets)[rows]
    again = (series[1:] == series[:-1]) & (np.diff(frame.ds[rows]) == 0)
    return len(rows) - int(again.sum())


def _mature(frame: Frame, until: int, maturity_days: int | None) -> tuple[Frame, int]:
    """The frame without targets younger than maturity_days at `until`, and how many these are."""
    if maturity_days is None:
        return frame, 0
    if frame.axis.kind == "integer" or maturity_days < 0:
        raise DataInvalid(
            f"maturity_days is {maturity_days}, the time column counts {'steps' if maturity_days >= 0 else 'dates'}",
            field="maturity_days", allowed="0 or more days, for data with dates", next_step="leave maturity_days out",
        )  # fmt: skip
    young = (frame.ds > until - maturity_days * DAY) & ~np.isnan(frame.y)
    return replace(frame, y=np.where(young, np.nan, frame.y)), int(young.sum())


def _require_consistent(frame: Frame, observed: Integers, clashing: Integers) -> None:
    """Refuse where a row that stands is one of several of the same observed time, and these differ: clashing ones."""
    if not len(clashing):
        return
    first = int(clashing[0])
    series = frame.unique_id[int(np.searchsorted(frame.offsets, first, side="right")) - 1]
    raise CorridorRefused(
        "LABEL_TIMELINE_INCONSISTENT",
        f"{len(clashing)} values cannot be told: rows of the same series, time and observed time differ, the first are "
        f"of {series!r} at {time_text(int(frame.ds[first]), frame.axis)}, observed {asof_text(int(observed[first]))}",
        field="label_asof", allowed="one row per series, time and observed time",
        next_step="correct the data and register it again; or name a label_asof before or after the contradiction",
    )  # fmt: skip


def _contradicted(frame: Frame, observed: Integers) -> Integers:
    """Rows that differ from the row before them, or from one of the same moment before that; ascending indices."""
    series = series_of(frame.offsets)
    same = (series[1:] == series[:-1]) & (np.diff(frame.ds) == 0) & (np.diff(observed) == 0)
    differs = np.zeros(len(same), bool)
    for values in (frame.y, *frame.covariates.values()):
        differs |= ~((values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1])))
    # A third row that agrees with the second does not settle the matter between the second and the first.
    changes = np.concatenate([[0], np.cumsum(same & differs)])
    start = np.maximum.accumulate(np.where(np.concatenate([[True], ~same]), np.arange(len(observed)), 0))
    return np.asarray(np.flatnonzero(changes > changes[start]), np.int64)


def _require_plain(label_asof: str | None, maturity_days: int | None) -> None:
    for name, given in (("label_asof", label_asof), ("maturity_days", maturity_days)):
        if given is not None:
            raise DataInvalid(
                f"{name} is {given}, but the dataset has one value per time and no word on when it became known",
                field=name, allowed=f"no {name}, or a dataset registered with `observed`",
                next_step=f"leave {name} out; or register the data with the column that says when a row became known",
            )  # fmt: skip


def _missing(newest: str) -> CorridorRefused:
    return CorridorRefused(
        "LABEL_ASOF_MISSING", "the dataset says when its rows became known, and label_asof does not say as of when",
        field="label_asof", allowed=f"an ISO 8601 time in UTC; the newest observed time is {newest}",
        next_step=f"pass label_asof {newest} for all that is known, or an earlier time for what was known then",
    )  # fmt: skip


def _nothing_known(label_asof: str, observed: Integers, maturity_days: int | None) -> CorridorRefused:
    first, last = asof_text(int(observed.min())), asof_text(int(observed.max()))
    old = "" if maturity_days is None else f" that is {maturity_days} days old"
    return CorridorRefused(
        "LABEL_SCOPE_EMPTY", f"no target{old} was known at {label_asof}", field="label_asof",
        allowed=f"rows were observed from {first} to {last}", next_step=f"pass a later label_asof, up to {last}",
    )  # fmt: skip


def _no_time(text: str) -> DataInvalid:
    return DataInvalid(
        f"label_asof {text!r} is no time in whole seconds", field="label_asof",
        allowed="ISO 8601, e.g. 2024-05-01 or 2024-05-01T12:00:00Z", next_step="write it so",
    )  # fmt: skip
