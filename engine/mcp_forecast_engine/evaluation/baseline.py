"""Which season the baseline repeats where a caller asks for another one than the data's steps usually have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.frequency import season_length
from mcp_forecast_engine.evaluation.candidates import BASELINE, Arm, baseline_of
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.evaluation.progress import Progress
from mcp_forecast_engine.evaluation.trials import ArmChoice, Trials

Integers = NDArray[np.int64]


def with_baseline(panel: Panel, plan: BacktestPlan, origins: Sequence[Integers]) -> BacktestPlan:
    """The plan with the season of the data as that of its baseline, where the one that was asked for errs more.

    Who asks for a season that the data do not have would else choose what the models are measured by, and pass any
    gate. Models keep the season that was asked for. Decided by the windows before the test part alone; on a tie, and
    where the history before the first of them holds no season of the data, what was asked for stays. origins: int64
    (S) per window, as in `origins_of`.
    """
    alone, usual = replace(plan, baseline_season=0), season_length(panel.axis.freq)
    held = next((int(np.median(origin[origin >= 0])) for origin in origins if np.any(origin >= 0)), 0)
    if usual == max(plan.season_length, 1) or held < usual:
        return alone
    found = replace(plan, baseline_season=usual)
    trials = [Trials(panel, one, origins, cores=1) for one in (found, alone)]
    there, asked = (_walked(one) for one in trials)
    for one in trials:  # in units of the season of the data, unless it repeats to the last digit
        losses = one.judge.loss(there.paths), one.judge.loss(asked.paths)
        if all(map(math.isfinite, losses)):
            return found if losses[0] < losses[1] else alone
    return alone


def baseline_note(plan: BacktestPlan) -> tuple[str, ...]:
    """What a reader has to know of a baseline that is not the one of the season that was asked for."""
    if not plan.baseline_season:
        return ()
    return (
        f"the baseline repeats the last {plan.baseline_season} steps, the usual season of these steps: before the test "
        f"part that erred less than repeating the last {plan.season_length}, the season that was asked for",
    )


def _walked(trials: Trials) -> ArmChoice:
    return trials.arm(BASELINE, trials.spec(Arm(BASELINE)), baseline_of(trials.plan), Progress(0))
