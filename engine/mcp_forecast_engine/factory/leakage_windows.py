"""The guard over a run's windows: nothing is tested by what chose or trained it, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.members import history_before
from mcp_forecast_engine.evaluation.plan import BacktestPlan, counts_own_ends
from mcp_forecast_engine.evaluation.report import ArmReport
from mcp_forecast_engine.evaluation.walks import span_of
from mcp_forecast_engine.factory.guard import GuardResult
from mcp_forecast_engine.models.windows import training_windows

Integers = NDArray[np.int64]


def check_windows(
    plan: BacktestPlan, origins: Sequence[Integers], panel: Panel, arms: Sequence[ArmReport]
) -> GuardResult:
    """Choice, a horizon's distance, then test; every window once, in order, inside the data; no fit beyond its origin.

    origins: int64 (S) per window, -1 for series that take no part, validation first. arms: whose fits are looked at.
    """
    found = [*_out_of_order(plan, np.stack(origins), panel), *_fits_beyond(plan, origins, panel, arms)]
    return GuardResult(
        "windows",
        "violated" if found else "passed",
        sum(int((origin >= 0).sum()) for origin in origins),
        found[0] if found else f"{plan.validation_windows} windows choose, {plan.test_windows} later ones test",
    )


def _out_of_order(plan: BacktestPlan, table: Integers, panel: Panel) -> Iterator[str]:
    """table: (W, S)."""
    v, present = plan.validation_windows, table >= 0
    if len(table) != plan.windows:
        yield f"there are {len(table)} windows, the plan has {plan.windows}"
        return
    if np.any(present & ((table < 1) | (table + plan.horizon > panel.lengths))):
        yield "a window lies outside the data"
    for series in np.flatnonzero(present.sum(axis=0) > 1):
        steps = np.diff(table[present[:, series], series])
        if np.any(steps <= 0):
            what = "a window is there twice" if np.any(steps == 0) else "a window lies before the one that precedes it"
            yield f"series {panel.unique_id[series]!r}: {what}"
            return
    choice, test = (np.where(present, table, -1)[:v].max(axis=0), np.where(present, table, np.iinfo(np.int64).max)[v:])
    if np.any(choice + plan.horizon > test.min(axis=0)):
        yield "a window that chooses reaches into the first one that tests"
    elif panel.axis.kind == "calendar" and not counts_own_ends(panel, plan):
        last = max(int(_stamps(panel, origin, plan.horizon - 1).max()) for origin in table[:v] if np.any(origin >= 0))
        if last >= min(int(_stamps(panel, origin, 0).min()) for origin in table[v:] if np.any(origin >= 0)):
            yield "a window that chooses ends after the date at which the first one tests"


def _fits_beyond(
    plan: BacktestPlan, origins: Sequence[Integers], panel: Panel, arms: Sequence[ArmReport]
) -> Iterator[str]:
    """Fits of the test part that are given steps from behind their origin, and windows to learn from that end there."""
    specs = {arm.name: arm.spec for arm in arms}
    test = range(plan.validation_windows, plan.windows)
    spans = {(arm.name, span_of(panel, m, plan, w)[0]) for arm in arms for m in arm.members for w in (test[0], *test)}
    for name, first in sorted(spans):
        origin, spec = origins[first], specs[name]
        series = np.flatnonzero(origin >= 0)
        history = history_before(panel, origin, plan.horizon)
        if not np.array_equal(history.lengths, origin[series]):
            ahead = int((history.lengths - origin[series]).max())
            yield f"{name}: the fit for window {first} is given {ahead} steps from behind its origin"
        windows = training_windows(panel, spec, until=np.maximum(origin, 0), by_season=False)
        if np.any(windows.origin + plan.horizon > origin[windows.series]):
            yield f"{name}: a window to learn from ends behind the origin of window {first}"


def _stamps(panel: Panel, origin: Integers, ahead: int) -> Integers:
    return np.asarray(panel.ds[(panel.offsets[:-1] + origin + ahead)[origin >= 0]], np.int64)
