"""How a member with its settings walks a plan's windows: fitted before the validation windows, again for the test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.members import Member, Walked, fit_before, group_starts, walk, walking
from mcp_forecast_engine.evaluation.plan import MANY_SERIES, BacktestPlan
from mcp_forecast_engine.models.forecaster import Recalibrated
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.table import MODELS

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def before_test(
    panel: Panel, member: Member, spec: ForecastSpec, plan: BacktestPlan, origins: Sequence[Integers]
) -> tuple[Walked, Walked | None]:
    """The validation windows, by a fit from before them; and the test windows where that fit answers them too.

    origins: int64 (S) per window, -1 for series that take no part, validation first. Raises HistoryTooShort.
    """
    never, count = fits_in(member, plan) == 0, plan.validation_windows
    walked = walk(
        panel, member, spec, origins if never else origins[:count], starts=(0,), follow=_may_follow(panel, member, plan)
    )
    later = Walked(walked.paths[count:], walked.lookback) if never else None
    return Walked(walked.paths[:count], walked.lookback), later


def through_test(
    panel: Panel, member: Member, spec: ForecastSpec, plan: BacktestPlan, origins: Sequence[Integers]
) -> Walked:
    """The test windows, fitted on schedule; for members that are fitted again there. Raises HistoryTooShort."""
    starts, test = group_starts(plan.test_windows, fits_in(member, plan)), origins[plan.validation_windows :]
    return walk(panel, member, spec, test, starts=starts, follow=follows(panel, plan))


def replayed(
    panels: Callable[[int], Panel],
    member: Member,
    spec: ForecastSpec,
    plan: BacktestPlan,
    origins: Sequence[Integers],
    windows: Sequence[int],
) -> tuple[Sequence[Floats], dict[int, Floats]]:
    """The paths of the validation windows, and of some test windows by their places among all; the first of them first.

    panels: for a window, the panel as it is told there: fits and forecasts read nothing else. The same bytes as
    `before_test` and `through_test` give, by no more fits than needed: sums and batches are taken as they are there.
    """
    v, first = plan.validation_windows, panels(windows[0])
    if fits_in(member, plan) == 0:
        model = fit_before(first, member, spec, origins)
        walked = [
            [path for path, _ in islice(walking(panels(w), member, spec, origins, starts=(0,), fitted=model), w + 1)]
            for w in windows
        ]
        return walked[0][:v], {w: paths[w] for w, paths in zip(windows, walked, strict=True)}
    before, _ = before_test(first, member, spec, plan, origins)
    return before.paths, {w: _at_window(panels(w), member, spec, plan, origins, w) for w in windows}


def _at_window(
    panel: Panel, member: Member, spec: ForecastSpec, plan: BacktestPlan, origins: Sequence[Integers], window: int
) -> Floats:
    first, end = span_of(panel, member, plan, window)
    paths = walking(panel, member, spec, origins[first:end], starts=(0,), follow=_is_renewed(panel, member, plan))
    return next(islice(paths, window - first, None))[0]


def span_of(panel: Panel, member: Member, plan: BacktestPlan, window: int) -> tuple[int, int]:
    """The windows that are answered together with a test window, by one fit or one that moves on: first, and end."""
    v = plan.validation_windows
    if fits_in(member, plan) == 0:
        return 0, plan.windows
    if _is_renewed(panel, member, plan):
        return v, plan.windows
    starts = [v + start for start in group_starts(plan.test_windows, fits_in(member, plan))]
    return max(start for start in starts if start <= window), min(
        (start for start in starts if start > window), default=plan.windows
    )


def renewed_at(panel: Panel, member: Member, plan: BacktestPlan) -> int | None:
    """A test window that a member answers by another fit than the first one; None where there is none."""
    v, half = plan.validation_windows, plan.test_windows // 2
    if _is_renewed(panel, member, plan):
        return v + half if half else None
    starts = group_starts(plan.test_windows, fits_in(member, plan))
    return v + starts[1] if len(starts) > 1 else None


def fits_in(member: Member, plan: BacktestPlan) -> int:
    """How many fits the test windows of a member are shared among; 0: the one from before the validation windows."""
    return member.refits if plan.refits is None else plan.refits


def follows(panel: Panel, plan: BacktestPlan) -> bool:
    """Whether families that can are recalibrated at every window: where series are few, and the plan allows refits."""
    return plan.refits is None and len(panel.unique_id) < MANY_SERIES


def _is_renewed(panel: Panel, member: Member, plan: BacktestPlan) -> bool:
    return _may_follow(panel, member, plan) and isinstance(MODELS[member.family], Recalibrated)


def _may_follow(panel: Panel, member: Member, plan: BacktestPlan) -> bool:
    return follows(panel, plan) and fits_in(member, plan) != 0
