"""The guard over a run's figures: they follow from its stored predictions, which were held against measured truth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Frame, Panel
from mcp_forecast_engine.data.merging import on_grid
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.evaluation.candidates import BASELINE
from mcp_forecast_engine.evaluation.champion import ACTIVE
from mcp_forecast_engine.evaluation.comparison import compare
from mcp_forecast_engine.evaluation.metrics import Scored, all_metrics, coverage_by_step
from mcp_forecast_engine.evaluation.plan import BacktestPlan, origins_of
from mcp_forecast_engine.evaluation.predictions import Stored, read_predictions
from mcp_forecast_engine.evaluation.trials import mase_scale
from mcp_forecast_engine.factory.guard import GuardResult

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
# The same sums in another order differ by less.
SAME: Final = 1e-9


def check_evidence(document: Mapping[str, Any], predictions: bytes, panel: Panel, frame: Frame) -> GuardResult:
    """The figures of an evaluation follow from its stored predictions, and these were held against what was measured.

    document: the evaluation as stored. frame: the raw rows that the panel was made of: a step that none of them gives
    has no truth, and one that one row gives has that row's.
    """
    try:
        stored = read_predictions(predictions)
        arms = {name: _rebuilt(document, found, panel) for name, found in stored.items()}
    except (ArtifactCorrupt, _Unequal) as refusal:
        return GuardResult("evidence", "violated", 0, str(refusal))
    first = next(iter(arms.values()))
    found = [*_unmeasured(first, panel, frame, document)]
    figures = list(_figures(document, arms))
    found += [text for text, told, made in figures if not _same(told, made)]
    missing = {document["chosen"], *(name for name in (BASELINE, ACTIVE) if _has(document, name))} - set(arms)
    found += [f"no predictions of {name} are stored" for name in sorted(missing)]
    return GuardResult(
        "evidence",
        "violated" if found else "passed",
        len(figures) + int(first.observed.sum()),
        found[0] if found else f"{len(figures)} figures computed again from {int(first.observed.sum())} steps per arm",
    )


class _Unequal(Exception):
    """What is stored is not what the panel says."""


def _rebuilt(document: Mapping[str, Any], stored: Stored, panel: Panel) -> Scored:
    """An arm's stored rows as they are scored. Raises _Unequal where these are not the panel's windows and truth."""
    plan = BacktestPlan(**document["plan"])
    origins = origins_of(panel, plan)[plan.validation_windows :]
    series = np.concatenate([np.flatnonzero(origin >= 0) for origin in origins])
    at = panel.offsets[series] + np.concatenate([origin[origin >= 0] for origin in origins])
    rows, scale = at[:, None] + np.arange(plan.horizon), mase_scale(panel, plan, origins[0])
    if stored.y.shape != rows.shape:
        raise _Unequal(f"predictions of {stored.y.shape} are stored, the plan's windows have {rows.shape}")
    names, text = np.array(panel.unique_id, object), _texts(panel, np.append(rows.ravel(), at - 1))
    same = {
        "series": np.array_equal(stored.unique_id, names[series]),
        "steps": np.array_equal(stored.ds.ravel(), text[: rows.size]),
        "cutoffs": np.array_equal(stored.cutoff, text[rows.size :]),
        "marks of what was observed": np.array_equal(stored.observed, panel.observed[rows]),
        "scales": stored.scale.tobytes() == scale[series].tobytes(),
        "truth": stored.y[stored.observed].tobytes() == panel.y[rows][stored.observed].tobytes(),
    }
    for what, equal in same.items():
        if not equal:
            raise _Unequal(f"the stored predictions have other {what} than the data")
    return Scored(
        series=series,
        window=np.concatenate(
            [np.full(int((o >= 0).sum()), plan.validation_windows + k) for k, o in enumerate(origins)]
        ),
        y=stored.y, observed=stored.observed, quantiles=stored.quantiles, scale=scale,
        season_length=plan.scale_season,
    )  # fmt: skip


def _texts(panel: Panel, rows: Integers) -> NDArray[np.object_]:
    stamps, place = np.unique(panel.ds[rows], return_inverse=True)
    return np.array([time_text(int(at), panel.axis) for at in stamps], object)[place]


def _unmeasured(scored: Scored, panel: Panel, frame: Frame, document: Mapping[str, Any]) -> Iterator[str]:
    """Scored steps that no raw row gives, or that have another value than their only row."""
    plan = BacktestPlan(**document["plan"])
    origins = origins_of(panel, plan)[plan.validation_windows :]
    at = np.concatenate([(panel.offsets[:-1] + origin)[origin >= 0] for origin in origins])
    rows = np.unique((at[:, None] + np.arange(plan.horizon))[scored.observed])
    own = np.searchsorted(panel.offsets, rows, side="right") - 1
    known = np.flatnonzero(~np.isnan(frame.y))
    place = {name: i for i, name in enumerate(panel.unique_id)}
    owner = np.repeat([place.get(name, -1) for name in frame.unique_id], np.diff(frame.offsets))[known]
    order = np.lexsort((frame.ds[known], owner))
    owner, known = owner[order], known[order]
    if panel.axis.freq == frame.axis.freq:
        stamps = on_grid(frame)[known]
        first, end = (_found(owner, stamps, own, panel.ds[rows], side) for side in ("left", "right"))
    else:  # a longer step holds the rows between its neighbours' stamps
        before, after = panel.ds[np.maximum(rows - 1, 0)], panel.ds[np.minimum(rows + 1, len(panel.ds) - 1)]
        edges = rows == panel.offsets[own], rows + 1 == panel.offsets[own + 1]
        before = np.where(edges[0], np.iinfo(np.int64).min, before)
        after = np.where(edges[1], np.iinfo(np.int64).max, after)
        first = _found(owner, frame.ds[known], own, before, "left")
        end = _found(owner, frame.ds[known], own, after, "right")
    for bad, text in (
        (end <= first, "is scored, but no row of the data gives it"),
        ((end == first + 1) & (panel.axis.freq == frame.axis.freq) & (panel.y[rows] != _at(frame.y[known], first)),
         "is scored by another value than the data's"),
    ):  # fmt: skip
        if bad.any():
            row, name = rows[bad][0], panel.unique_id[own[bad][0]]
            yield f"{int(bad.sum())} steps, the first {time_text(int(panel.ds[row]), panel.axis)} of {name!r}: {text}"


def _at(values: Floats, place: Integers) -> Floats:
    return values[np.minimum(place, len(values) - 1)]


def _found(owner: Integers, stamps: Integers, own: Integers, asked: Integers, side: str) -> Integers:
    """Places of pairs (owner, stamp) in sorted pairs."""
    times = np.unique(np.concatenate([stamps, asked]))
    width = np.int64(len(times))
    keys, wanted = owner * width + np.searchsorted(times, stamps), own * width + np.searchsorted(times, asked)
    return np.asarray(np.searchsorted(keys, wanted, side="left" if side == "left" else "right"), np.int64)


def _figures(document: Mapping[str, Any], arms: Mapping[str, Scored]) -> Iterator[tuple[str, Any, Any]]:
    """What is told, what it is, and in which words: every figure of the arms that are stored, and their comparisons."""
    plan = BacktestPlan(**document["plan"])
    for arm in document["arms"]:
        if (scored := arms.get(arm["name"])) is None:
            continue
        made = {metric.name: metric.value for metric in all_metrics(scored)}
        for metric in arm["metrics"]:
            yield _told(arm["name"], metric["name"], metric["value"], made.get(metric["name"]))
        for level, ends in {"80": (0.1, 0.9), "95": (0.025, 0.975)}.items():
            for step, (told, value) in enumerate(
                zip(arm["coverage_by_step"][level], coverage_by_step(scored, *ends), strict=True)
            ):
                yield _told(arm["name"], f"coverage_{level} of step {step + 1}", told, value)
    first = next(iter(arms.values()))
    yield _told("report", "scored_steps", document["scored_steps"], float(first.observed.sum()))
    yield _told("report", "series", document["series"], float(len(np.unique(first.series))))
    again = {
        (c.arm, c.against, c.metric): c.to_dict()
        for arm, against in {(c["arm"], c["against"]) for c in document["comparisons"]}
        if arm in arms and against in arms
        for c in compare(arm, against, arms[arm], arms[against], plan)
    }
    for c in document["comparisons"]:
        if (compared := again.get((c["arm"], c["against"], c["metric"]))) is not None:
            for name in ("skill", "low", "high"):
                yield _told(f"{c['arm']} over {c['against']}", f"{c['metric']} {name}", c[name], compared[name])


def _told(what: str, name: str, told: float | None, made: float | None) -> tuple[str, float | None, float | None]:
    return f"{what}: {name} is reported as {told}, its predictions say {made}", told, made


def _same(told: float | None, made: float | None) -> bool:
    if made is None or not math.isfinite(made):
        return told is None
    return told is not None and math.isclose(told, made, rel_tol=SAME, abs_tol=1e-12)


def _has(document: Mapping[str, Any], name: str) -> bool:
    return any(arm["name"] == name for arm in document["arms"])
