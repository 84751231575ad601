"""Ways to let the future into what a run reads, each put into the real code as a bug would be, or into the data itself;
the guard that has to find each stands in leakage/mutants.toml."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from forecast_toys import hourly
from label_toys import revised_rows
from numpy.typing import NDArray

from mcp_forecast_engine.data import schema, vintages
from mcp_forecast_engine.data.dataset import Dataset, decode
from mcp_forecast_engine.data.frame import Frame, Panel
from mcp_forecast_engine.data.labels import Known, as_of, read_asof
from mcp_forecast_engine.data.registration import DatasetRequest, from_rows
from mcp_forecast_engine.data.revisions import newest_of
from mcp_forecast_engine.data.steps import DEFAULT_STEPS, FillGaps, step_to_dict
from mcp_forecast_engine.evaluation import members, windows
from mcp_forecast_engine.factory import execution, inputs, prepared, request
from mcp_forecast_engine.factory.prepared import Prepared, prepare
from mcp_forecast_engine.store.artifacts import ArtifactStore

Floats = NDArray[np.float64]
Patch = pytest.MonkeyPatch
Put = Callable[[Patch], None]
LATER = "2024-03-12T00:00:00Z"
ZEROS = [step_to_dict(step) for step in (DEFAULT_STEPS[0], FillGaps(target="zero"), *DEFAULT_STEPS[2:])]


def some_days_on(dataset: Dataset, label_asof: str | None, **_: Any) -> Known:
    return as_of(dataset, LATER)


def newest_of_what_was_known(dataset: Dataset, label_asof: str, **_: Any) -> Known:
    """Which days are known is right; which of their revisions counts is not."""
    frame = as_of(dataset, label_asof).frame
    last = {(name, int(ds)): float(y) for name, ds, y in told(dataset.newest)}
    return Known(replace(frame, y=np.array([last[name, int(ds)] for name, ds, _ in told(frame)])))


def by_effective_time(dataset: Dataset, label_asof: str, **_: Any) -> Known:
    kept = newest_of(dataset.frame.ds, dataset.frame.offsets, dataset.frame.ds, read_asof(label_asof))
    return Known(dataset.frame.only(kept))


def newest_covariates(dataset: Dataset, label_asof: str, **_: Any) -> Known:
    frame, newest = as_of(dataset, label_asof).frame, dataset.newest
    stock = {(name, int(ds)): at for at, (name, ds, _) in enumerate(told(newest))}
    at = [stock[name, int(ds)] for name, ds, _ in told(frame)]
    return Known(replace(frame, covariates={**frame.covariates, "stock": newest.covariates["stock"][at]}))


def told(frame: Frame) -> list[tuple[str, int, float]]:
    names = np.repeat(np.array(frame.unique_id), np.diff(frame.offsets)).tolist()
    return list(zip(names, frame.ds.tolist(), frame.y.tolist(), strict=True))


def read_by(wrong: Callable[..., Known]) -> Put:
    """A run whose reading of what was known has this fault."""
    return lambda patch: patch.setattr(inputs, "as_of", wrong)


def without_asof(patch: Patch) -> None:
    """No time is asked for, nor pinned, and the newest revision is read."""
    patch.setattr(request, "pinned_asof", lambda *_, **__: None)
    patch.setattr(inputs, "as_of", lambda dataset, *_, **__: Known(dataset.newest))


def prepared_with(**changed: Any) -> Put:
    """A worker that prepares its data as if the plan said this."""
    return lambda patch: patch.setattr(execution, "prepare", lambda plan, store: prepare({**plan, **changed}, store))


def appended(patch: Patch) -> None:
    def leaking(plan: dict[str, Any], store: ArtifactStore) -> Prepared:
        longer = from_rows(revised_rows(days=100), DatasetRequest(columns=REVISED), store)
        return prepare({**plan, "dataset_digest": longer.digest}, store)

    patch.setattr(execution, "prepare", leaking)


def edited(patch: Patch) -> None:
    def leaking(data: bytes) -> Dataset:
        dataset = decode(data)
        y = dataset.frame.y.copy()
        y[2] += 1.0  # the second day, which is never revised
        return replace(dataset, frame=replace(dataset.frame, y=y))

    patch.setattr(inputs, "decode", leaking)


def unfiltered(patch: Patch) -> None:
    """Plan and manifest leave a store out; what trains does not."""
    whole = request.pin_plan
    patch.setattr(
        request, "pin_plan",
        lambda *asked, identity, **more: whole(*asked, identity={**identity, "filters": {"series": ["north"]}}, **more),
    )  # fmt: skip
    prepared_with(filters=None)(patch)


def promoted(patch: Patch) -> None:
    def leaking(plan: dict[str, Any], store: ArtifactStore) -> Prepared:
        made = prepare(plan, store)
        return replace(made, panel=replace(made.panel, roles={**made.panel.roles, "stock": "known_future"}))

    patch.setattr(execution, "prepare", leaking)


def believed(patch: Patch) -> None:
    """What the columns say of themselves is believed: neither registration nor preparation looks at the target."""
    for looks in ("_leaks", "_leading"):
        patch.setattr(schema, looks, lambda *_: {})
    patch.setattr(prepared, "demoted", lambda panel, *_, **__: (dict(panel.roles), ()))


def newest_in_windows(patch: Patch) -> None:
    patch.setattr(Panel, "as_known", lambda panel, origin: panel.as_settled())


def asked_a_revision_late(patch: Patch) -> None:
    """What was known counts as of when the last value before the origin had been revised."""

    def late(every: Any, early: NDArray[np.bool_]) -> NDArray[np.int64]:
        return at_the_last(replace(every, first=np.maximum.reduceat(every.observed, every.starts)), early)

    patch.setattr(vintages, "_asked", late)


def asked_after_the_truth(patch: Patch) -> None:
    """A forecast waits for the last value before its origin, also where that came after what is to be forecast."""
    patch.setattr(vintages, "_asked", at_the_last)


def at_the_last(every: Any, early: NDArray[np.bool_]) -> NDArray[np.int64]:
    """When the last early target of each series became known."""
    rows = np.where(early & ~np.isnan(every.stood.y), np.arange(len(early)), -1)
    found: NDArray[np.int64] = every.first[np.maximum.reduceat(rows, every.stood.offsets[:-1])]
    return found


def read_immature(patch: Patch) -> None:
    """Windows read targets that a forecast would leave out as too young."""
    whole = prepared.vintages_of
    patch.setattr(prepared, "vintages_of", lambda *asked, **more: whole(*asked, **{**more, "maturity_days": None}))


def asked_of_another_series(patch: Patch) -> None:
    whole = vintages._asked
    patch.setattr(vintages, "_asked", lambda every, early: whole(every, early)[::-1])


def fits_on_newest(patch: Patch) -> None:
    """Forecasts read what was known; what they are fitted on is read past it."""

    def fitted(panel: Panel, origin: NDArray[np.int64], horizon: int) -> windows.Window:
        return windows.window_at(replace(panel, vintages=None), origin, horizon)

    def renewed(family: Any, panel: Panel, *asked: Any) -> Any:
        return family.recalibrate(replace(panel, vintages=None), *asked)

    patch.setattr(members, "window_at", fitted)
    patch.setattr(members, "_renewed", renewed)


def staggered_rows() -> list[dict[str, Any]]:
    """The revised rows, those of one store published three days later than those of the other."""
    rows = revised_rows()
    for one in rows:
        if one["store"] == "south" and one["y"] is not None:
            one["seen"] = (datetime.fromisoformat(one["seen"]) + timedelta(days=3)).isoformat()
    return rows


REVISED: dict[str, Any] = {"series": ["store"], "observed": "seen"}
REVISED_RUNS: dict[str, Put] = {
    "late_label": read_by(some_days_on),
    "revised_actual": read_by(newest_of_what_was_known),
    "asof_by_effective_time": read_by(by_effective_time),
    "asof_dropped": without_asof,
    "late_covariate": read_by(newest_covariates),
    "wrong_asof": prepared_with(label_asof=LATER),
    "appended_rows": appended,
    "edited_value": edited,
    "other_filter": unfiltered,
    "other_steps": prepared_with(preprocessing=ZEROS),
    "role_promoted": promoted,
}

REVISED_WINDOWS: dict[str, Put] = {
    "newest_in_windows": newest_in_windows,
    "asked_a_revision_late": asked_a_revision_late,
    "asked_after_the_truth": asked_after_the_truth,
    "asked_of_another_series": asked_of_another_series,
    "fits_on_newest": fits_on_newest,
}


def told_by(days: int = 40, **columns: tuple[str, Callable[[Floats], Floats]]) -> Panel:
    """An honest panel of hours, and columns of these roles that are made of its target."""
    panel = hourly(days)
    made = {name: make(panel.y) for name, (_, make) in columns.items()}
    roles = {name: role for name, (role, _) in columns.items()}
    return replace(panel, covariates={**panel.covariates, **made}, roles={**panel.roles, **roles})


def part(y: Floats) -> Floats:
    return np.random.default_rng(3).gamma(2.0, 5.0, len(y))


def centred(width: int) -> Callable[[Floats], Floats]:
    return lambda y: np.convolve(np.pad(y, width // 2, mode="edge"), np.full(width, 1 / width), mode="valid")


COLUMNS: dict[str, dict[str, tuple[str, Callable[[Floats], Floats]]]] = {
    "target_copy": {"scaled": ("known_future", lambda y: 3 * y + 7)},
    "target_lead": {"ahead": ("historical", lambda y: np.append(y[20:], y[-20:]))},
    "target_part": {"one": ("known_future", part), "other": ("known_future", lambda y: y - part(y))},
    "target_average": {"smooth": ("known_future", centred(5))},
}
