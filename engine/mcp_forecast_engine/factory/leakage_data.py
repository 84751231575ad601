"""Leakage guards of the data: what was known, what the manifest names, what the columns tell of the target."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.dataset import Dataset, encode
from mcp_forecast_engine.data.frame import Frame, Panel
from mcp_forecast_engine.data.frequency import DAY
from mcp_forecast_engine.data.labels import read_asof
from mcp_forecast_engine.data.leaks import leaking_columns, leaking_wide
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.data.shifts import LONGEST_LEAD, leading_columns, shifted_copies
from mcp_forecast_engine.data.smoothed import target_averages
from mcp_forecast_engine.errors import EngineError
from mcp_forecast_engine.factory.guard import GuardResult
from mcp_forecast_engine.factory.inputs import panel_of, shaped
from mcp_forecast_engine.factory.leakage_vintages import read_otherwise
from mcp_forecast_engine.factory.manifest import DatasetManifest
from mcp_forecast_engine.store.identity import digest_of_bytes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LABELS: Final = "labels"
MANIFEST: Final = "manifest"
COLUMNS: Final = "columns"


def check_labels(
    dataset: Dataset, manifest: DatasetManifest, panel: Panel, origins: Sequence[Integers], horizon: int
) -> GuardResult:
    """No value takes part that was observed after the manifest's label_asof, or that a newer one had replaced by then.

    The rows that stood are found again, one by one, by a reading of its own (that of `data.labels` is what is
    checked), and the panel made of them must be this one. So is what was known at every window: see `read_otherwise`.
    dataset: as registered, decoded from its bytes; panel: as trained on. origins: int64 (S) per window.
    """
    basis = manifest.label_basis
    if dataset.observed is None:
        if basis.label_asof is not None:
            return _violated(LABELS, 0, f"label_asof is {basis.label_asof}, but no row says when it became known")
        return _passed(LABELS, 0, "no row says when it became known: nothing is revised")
    if basis.label_asof is None:
        return _violated(LABELS, 0, "the data is revised, and the manifest does not say as of when it is read")
    until = read_asof(basis.label_asof)
    frame = dataset.frame.only(_standing(dataset.frame, dataset.observed, until))
    if basis.maturity_days is not None:
        young = frame.ds > until - basis.maturity_days * DAY
        frame = replace(frame, y=np.where(young, np.nan, frame.y))
    known = _made(lambda: shaped(frame, manifest.plan())[0])
    wrong = known if isinstance(known, str) else _difference(panel, known)
    if wrong is not None:
        return _violated(LABELS, len(panel.y), f"not as known at {basis.label_asof}: {wrong}")
    early = read_otherwise(
        dataset.frame, dataset.observed, frame, panel, origins, horizon, lambda rows: shaped(rows, manifest.plan())[0],
        young=(basis.maturity_days or 0) * DAY,
    )  # fmt: skip
    if (otherwise := next(early, None)) is not None:
        return _violated(LABELS, len(panel.y), otherwise)
    return _passed(LABELS, len(panel.y), f"every value was observed by {basis.label_asof}, and none newer was by then")


def check_manifest(
    manifest: DatasetManifest, dataset: Dataset, panel: Panel, plan: Mapping[str, Any] | None = None
) -> GuardResult:
    """The panel that trains is the one that the manifest's fingerprint names: same rows, steps, filters and roles.

    A column may be trusted less than the manifest says (known-future used as historical), never more. plan: of the
    run; what it says about the data has to be what the manifest says, also where the bytes happen to be the same.
    """
    other = [name for name, value in manifest.plan().items() if plan is not None and plan.get(name) != value]
    if other:
        return _violated(MANIFEST, 0, f"the plan has another {other[0]} than manifest {manifest.dataset_manifest_id}")
    found = digest_of_bytes(encode(dataset))
    if found != manifest.basis.digest:
        return _violated(MANIFEST, 0, f"the rows have digest {found}, the manifest names {manifest.basis.digest}")
    named = _made(lambda: panel_of(dataset, manifest.plan())[0])
    wrong = named if isinstance(named, str) else _difference(panel, named) or _promoted(panel, named)
    if wrong is not None:
        return _violated(MANIFEST, len(panel.y), f"not what manifest {manifest.dataset_manifest_id} names: {wrong}")
    return _passed(MANIFEST, len(panel.y), f"made again from manifest {manifest.dataset_manifest_id}: the same bytes")


def check_columns(
    panel: Panel, columns: Collection[str], horizon: int, *, derived: Collection[str] = ()
) -> GuardResult:
    """No column that the chosen model reads tells the target of its own or a later step.

    panel: with the roles of the run. columns: what the model reads. Known-future columns may not be the target (copied,
    scaled, bent, added up, averaged) of a step within the horizon; historical ones not that of a later step. derived:
    columns that the time stamps give, which can tell nothing. Static columns and categories are no amounts.
    """
    amounts = {
        name: panel.covariates[name]
        for name in sorted(set(columns) - set(derived))
        if panel.roles[name] != "static" and name not in panel.categories
    }
    ahead = {name: values for name, values in amounts.items() if panel.roles[name] == "known_future"}
    measured = np.where(panel.observed, panel.y, np.nan)
    found = dict(_told_ahead(panel, measured, ahead, horizon))
    leads = leading_columns(measured, panel.offsets, {n: v for n, v in amounts.items() if n not in found})
    found |= {name: f"is the target {lead} steps later" for name, lead in leads.items()}
    rest = {name: values for name, values in amounts.items() if name not in found}
    latest = {name: -horizon if name in ahead else 0 for name in rest}
    found |= target_averages(measured, panel.offsets, rest, latest)
    if found:
        name = min(found)
        return _violated(COLUMNS, len(columns), f"{panel.roles[name]} covariate {name!r} {found[name]}")
    return _passed(COLUMNS, len(columns), "no column tells the target of its own or a later step")


def _told_ahead(panel: Panel, measured: Floats, ahead: Mapping[str, Floats], horizon: int) -> Iterator[tuple[str, str]]:
    """Known-future columns that are the target of their step, add up to it, or repeat one of within the horizon."""
    yield from leaking_columns(measured, ahead, panel.offsets, panel.season_length).items()
    if len(panel.unique_id) > 1:  # of wide targets one may be given away by what all share
        yield from leaking_wide(measured, panel.offsets, ahead, total=False, season_length=panel.season_length).items()
    lags = shifted_copies(measured, panel.offsets, ahead, np.arange(-1, -horizon, -1))
    # What an older target gives as well, because both repeat themselves, is known.
    older = np.arange(-horizon, -horizon - LONGEST_LEAD, -1)
    known = shifted_copies(measured, panel.offsets, {name: ahead[name] for name in lags}, older)
    lags = {name: lag for name, lag in lags.items() if name not in known}
    yield from ((name, f"is the target {-lag} steps before, one within the horizon") for name, lag in lags.items())


def _standing(frame: Frame, observed: NDArray[np.int64], until: int) -> NDArray[np.int64]:
    """Row by row in the order in which they became known: what comes later replaces what stood."""
    series = np.searchsorted(frame.offsets, np.arange(len(frame.ds)), side="right") - 1
    stands: dict[tuple[int, int], int] = {}
    for row in np.argsort(observed, kind="stable").tolist():
        if observed[row] > until:
            break
        stands[int(series[row]), int(frame.ds[row])] = row
    return np.array(sorted(stands.values()), np.int64)


def _made(make: Callable[[], Panel]) -> Panel | str:
    """The panel, or why there is none: what cannot be made again is not what trained."""
    try:
        return make()
    except EngineError as error:
        return f"it cannot be made again: {error.message}"


def _difference(panel: Panel, true: Panel) -> str | None:
    """The first thing in which a panel differs from the one it has to be, roles apart; None where it does not."""
    heads = {
        "series": (panel.unique_id, true.unique_id),
        "steps": (panel.axis, true.axis),
        "season": (panel.season_length, true.season_length),
        "covariates": (sorted(panel.covariates), sorted(true.covariates)),
        "categories": (dict(panel.categories), dict(true.categories)),
        "known future": (sorted(panel.future), sorted(true.future)),
    }
    for what, (found, wanted) in heads.items():
        if found != wanted:
            return f"other {what}: {str(found)[:200]}, not {str(wanted)[:200]}"
    if not (np.array_equal(panel.offsets, true.offsets) and np.array_equal(panel.ds, true.ds)):
        return f"{len(panel.ds)} steps up to {_last(panel)}, not {len(true.ds)} up to {_last(true)}"
    pairs = {"the target": (panel.y, true.y), "what was measured": (panel.observed, true.observed)}
    pairs |= {repr(name): (panel.covariates[name], true.covariates[name]) for name in sorted(panel.covariates)}
    for what, (one, other) in pairs.items():
        unequal = np.flatnonzero(one != other)
        if len(unequal):
            return f"{what} of {_place(panel, int(unequal[0]))} is {one[unequal[0]]}, not {other[unequal[0]]}"
    names = [name for name in sorted(panel.future) if not np.array_equal(panel.future[name], true.future[name])]
    return f"the known future of {names[0]!r} is another" if names else None


def _promoted(panel: Panel, named: Panel) -> str | None:
    for name, role in sorted(panel.roles.items()):
        if role != named.roles[name] and (role, named.roles[name]) != ("historical", "known_future"):
            return f"covariate {name!r} is used as {role}, the data says {named.roles[name]}"
    return None


def _place(panel: Panel, row: int) -> str:
    series = int(np.searchsorted(panel.offsets, row, side="right")) - 1
    return f"{panel.unique_id[series]!r} at {time_text(int(panel.ds[row]), panel.axis)}"


def _last(panel: Panel) -> str:
    return time_text(int(panel.ds.max()), panel.axis)


def _violated(name: str, checked: int, detail: str) -> GuardResult:
    return GuardResult(name, "violated", checked, detail)


def _passed(name: str, checked: int, detail: str) -> GuardResult:
    return GuardResult(name, "passed", checked, detail)
