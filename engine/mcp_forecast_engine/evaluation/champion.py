"""The model that serves today, on the windows of a run that wants its place: the same settings, fitted anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import ArtifactCorrupt, HistoryTooShort, PretrainedUnavailable
from mcp_forecast_engine.evaluation.combining import Judge
from mcp_forecast_engine.evaluation.members import Member, history_before
from mcp_forecast_engine.evaluation.parallel import each
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.evaluation.progress import Progress
from mcp_forecast_engine.evaluation.report import ArmReport
from mcp_forecast_engine.evaluation.rolling import ArmRun, calibrate
from mcp_forecast_engine.evaluation.trials import mase_scale, seen_at
from mcp_forecast_engine.evaluation.walks import before_test, through_test
from mcp_forecast_engine.models.combination import combined
from mcp_forecast_engine.models.spec import ForecastSpec, never_negative

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
ACTIVE: Final = "active"
UNCOMPARED: Final = "the ACTIVE model is not compared: "  # how the sentence starts that says why


@dataclass(frozen=True)
class Champion:
    """What serves today after the same windows. validation_mase: of its paths before the test part."""

    run: ArmRun
    validation_mase: float


def walk_champion(
    panel: Panel,
    arm: ArmReport,
    plan: BacktestPlan,
    origins: Sequence[Integers],
    progress: Progress,
    *,
    cores: int = 1,
) -> Champion | str:
    """Another run's chosen arm over these windows, named "active"; or the sentence that says why it cannot walk them.

    Its settings, weights and rule stay; its members are fitted before the first validation window and on their own
    schedule in the test part, and its intervals come from these windows, as those of every arm.
    """
    panel = replace(panel, season_length=arm.spec.season_length)  # its own: else asking for another would leave it out
    spec = _asked(panel, arm, plan, origins)
    if isinstance(spec, str):
        return f"{UNCOMPARED}{spec}"

    def walk_one(member: Member, progress: Progress) -> list[Floats]:
        before, later = before_test(panel, member, spec, plan, origins)
        test = later or through_test(panel, member, spec, plan, origins)
        progress.step(f"{ACTIVE}: {member.name} on {plan.windows} windows", of=ACTIVE)
        return [*before.paths, *test.paths]

    try:
        walked = each(walk_one, arm.members, progress, cores=cores)
    except (HistoryTooShort, PretrainedUnavailable, ArtifactCorrupt) as refusal:
        return f"{UNCOMPARED}{refusal.message}"
    paths = [combined([path[k] for path in walked], arm.weights, arm.rule) for k in range(plan.windows)]
    seen = [seen_at(panel, origin, plan.horizon) for origin in origins]
    own = replace(arm, name=ACTIVE, spec=spec)
    run = calibrate(panel, own, paths=paths, windows=seen, origins=origins, plan=plan)
    count = plan.validation_windows
    first = next(origin for origin in origins if np.any(origin >= 0))
    judge = Judge(seen[:count], mase_scale(panel, plan, first), plan)
    return Champion(run, judge.mase(paths[:count]))


def _asked(panel: Panel, arm: ArmReport, plan: BacktestPlan, origins: Sequence[Integers]) -> ForecastSpec | str:
    """The question that it answers, as far as this run's data says it anew; or why it is another question."""
    spec = arm.spec
    if spec.horizon != plan.horizon:
        return f"its horizon is {spec.horizon}, this run's {plan.horizon}"
    roles = {"known_future": spec.known_future, "historical": spec.historical, "static": spec.static}
    for role, names in roles.items():
        for name in names:
            if panel.roles.get(name) != role:
                found = f"as {panel.roles[name]}" if name in panel.roles else "not at all"
                return f"it reads {name!r} as {role}, which this run has {found}"
    before = history_before(panel, origins[plan.validation_windows], plan.horizon)
    return replace(spec, nonnegative=never_negative(before))
