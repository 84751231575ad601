"""Ways to let the future into windows, fits, choice, intervals and figures, each put into the real code as a bug would
be; the guard that has to find each stands in leakage/mutants.toml."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from leakage_toys import GAPS, HOURS, MONTHS, Case, driver_turns, first_test_origin, history_matters
from numpy.typing import NDArray

from mcp_forecast_engine.data import preprocessing
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.steps import (
    Draft,
    FillGaps,
    StepRecord,
)
from mcp_forecast_engine.evaluation import adaptive, auto, findings, members, rolling
from mcp_forecast_engine.evaluation import plan as planning
from mcp_forecast_engine.evaluation import trials as trials_module
from mcp_forecast_engine.evaluation.column_choice import ColumnChoice
from mcp_forecast_engine.evaluation.metrics import Metric, Scored
from mcp_forecast_engine.evaluation.model_choice import ModelChoice
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.evaluation.trials import ArmChoice, Trials, seen_at
from mcp_forecast_engine.evaluation.walks import before_test, through_test
from mcp_forecast_engine.models import features
from mcp_forecast_engine.models.combination import combined
from mcp_forecast_engine.models.direct_ridge import DirectRidge
from mcp_forecast_engine.models.forecaster import FittedModel
from mcp_forecast_engine.models.table import MODELS

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Patch = pytest.MonkeyPatch


def choose_on_more(patch: Patch) -> None:
    """Settings are chosen on a history that holds windows which reach into the test part; else their code would fail
    for want of it."""
    whole = trials_module.window_at
    patch.setattr(
        trials_module, "window_at", lambda panel, origin, horizon: whole(panel, origin + 2 * horizon, horizon)
    )


def overlapping_validation(patch: Patch) -> None:
    choose_on_more(patch)
    whole = BacktestPlan.back
    patch.setattr(
        BacktestPlan, "back",
        lambda plan, window: whole(plan, window) - plan.horizon // 2 * (window < plan.validation_windows),
    )  # fmt: skip


def unordered_origins(patch: Patch) -> None:
    def swapped(panel: Panel, plan: BacktestPlan, behind: Integers) -> list[Integers]:
        found, v = whole(panel, plan, behind), plan.validation_windows
        return [*found[: v - 1], found[v], found[v - 1], *found[v + 1 :]]

    choose_on_more(patch)
    whole = planning._origins
    patch.setattr(planning, "_origins", swapped)


def doubled_window(patch: Patch) -> None:
    whole = planning._origins
    patch.setattr(planning, "_origins", lambda *asked: [*(found := whole(*asked))[:-1], found[-2]])


def no_embargo(patch: Patch) -> None:
    """A fit learns from windows that end up to half a horizon after its origin."""
    whole = members.window_at
    patch.setattr(
        members, "window_at",
        lambda panel, origin, horizon: whole(panel, np.where(origin >= 0, origin + horizon // 2, -1), horizon // 2),
    )  # fmt: skip


def fits_given(patch: Patch, given: Callable[[Panel, Integers, Panel, Any], Panel]) -> None:
    """What the families' fits get instead of the history at a window: of the panel, the origin, what is right."""
    whole = members.history_before
    seen: dict[str, Any] = {}

    def leaking(panel: Panel, origin: Integers, horizon: int) -> Panel:
        return given(panel, origin, whole(panel, origin, horizon), seen)

    patch.setattr(members, "history_before", leaking)


def later_targets(panel: Panel, origin: Integers, right: Panel, steps: int) -> Panel:
    """The history, its end overwritten by the targets that come next."""
    series = np.flatnonzero(origin >= 0)
    y = right.y.copy()
    for place, one in enumerate(series):
        end, at = right.offsets[place + 1], panel.offsets[one] + origin[one]
        y[end - steps : end] = panel.y[at : at + steps]
    return replace(right, y=y)


def renewed_as(patch: Patch, order: Callable[[list[Any]], list[Any]]) -> None:
    """The models of the test windows, where the reference model is renewed at each, in another order."""
    family = MODELS["direct_ridge"]
    assert issubclass(family, DirectRidge)
    whole = family.recalibrate

    def leaking(cls: Any, panel: Panel, spec: Any, settings: Any, origins: Sequence[Integers]) -> Any:
        models = list(whole(panel, spec, settings, origins))
        yield from order(models) if np.array_equal(origins[0], first_test_origin(panel)) else models

    patch.setattr(family, "recalibrate", classmethod(leaking))


def fit_on_test(patch: Patch) -> None:
    fits_given(
        patch, lambda panel, origin, right, _:
        later_targets(panel, origin, right, 24) if np.array_equal(origin, first_test_origin(panel)) else right
    )  # fmt: skip
    renewed_as(patch, lambda models: [models[1], *models[1:]])


def refit_ahead(patch: Patch) -> None:
    fits_given(
        patch, lambda panel, origin, right, _:
        later_targets(panel, origin, right, 24) if np.all(origin > first_test_origin(panel)) else right
    )  # fmt: skip
    renewed_as(patch, lambda models: [models[0], *models[2:], models[-1]])


def scaler_on_test(patch: Patch) -> None:
    """Forecasts are put on the level and spread of the whole series."""
    whole = members._paths

    def leaking(panel: Panel, model: FittedModel, group: Sequence[Integers]) -> Any:
        level, spread = panel.y.mean(), panel.y.std()
        return ((path - path.mean()) / max(path.std(), 1.0) * spread + level for path in whole(panel, model, group))

    patch.setattr(members, "_paths", leaking)


def tuned_on_test(patch: Patch) -> None:
    def leaking(trials: Trials, spec: Any, candidate: Any, progress: Any) -> members.Member:
        test = trials._all[trials.plan.validation_windows :]
        settings = MODELS[candidate.family].tune(trials.panel, spec, test, candidate.asked)
        progress.step(f"{candidate.name}: settings chosen", of=candidate.name)
        return members.Member(candidate.name, candidate.family, settings, candidate.refits)

    patch.setattr(Trials, "tuned", leaking)


def error_on_test(trials: Trials, arm: ArmChoice, member: members.Member) -> float:
    """Mean absolute error of a member on the test windows."""
    origins, v = trials._all, trials.plan.validation_windows
    paths = through_test(trials.panel, member, arm.spec, trials.plan, origins).paths
    truth = [seen_at(trials.panel, origin, trials.plan.horizon)[1].y for origin in origins[v:]]
    return float(np.mean([np.abs(path - y).mean() for path, y in zip(paths, truth, strict=True)]))


def chosen_on_test(patch: Patch) -> None:
    whole = auto.choose_models

    def leaking(columns: ColumnChoice, trials: Trials, *asked: Any) -> ModelChoice:
        best = min(columns.arms, key=lambda arm: error_on_test(trials, arm, arm.members[0]))
        return replace(whole(columns, trials, *asked), final=best, together=None)

    patch.setattr(auto, "choose_models", leaking)


def weights_on_test(patch: Patch) -> None:
    whole = auto.choose_models

    def leaking(columns: ColumnChoice, trials: Trials, *asked: Any) -> ModelChoice:
        found = whole(columns, trials, *asked)
        assert found.together is not None
        raw = np.array([error_on_test(trials, found.together, member) ** -4 for member in found.together.members])
        weights = tuple(float(f"{w:.9g}") for w in raw / raw.sum())
        each = [
            before_test(trials.panel, member, found.together.spec, trials.plan, trials._all)[0].paths
            for member in found.together.members
        ]
        paths = tuple(combined(list(window), weights, found.together.rule) for window in zip(*each, strict=True))
        mix = replace(found.together, weights=weights, paths=paths)
        return replace(found, final=mix, together=mix)

    patch.setattr(auto, "choose_models", leaking)


def calibrated_on_test(patch: Patch) -> None:
    """A window's offsets are learned from all windows up to and with itself."""
    whole = adaptive.issue

    def leaking(steps: Sequence[adaptive.Step], plan: BacktestPlan, *, plain: bool, **known: Any) -> adaptive.Issued:
        found = whole(steps, plan, plain=plain, **known)
        for k, step in enumerate(steps):
            offsets = adaptive.offsets_from(steps[: k + 1], plain=plain)[None] * step.width[:, :, None]
            rows = slice(found.rows[k], found.rows[k + 1])
            found.together[rows] = adaptive.spread_out(step.point, step.scale, offsets, step.nonnegative, step.empty)
        return found

    patch.setattr(rolling, "issue", leaking)


def future_history(patch: Patch) -> None:
    """The recent past of a historical covariate ends a horizon too late."""
    whole = features._past_of

    def leaking(columns: Any, base: Integers, origin: Integers, layout: features.Layout) -> list[Floats]:
        last = np.minimum(origin + layout.horizon, len(columns[0]) - base)
        return [whole(columns, base, origin, layout)[0], *whole(columns, base, last, layout)[1:]]

    patch.setattr(features, "_past_of", leaking)


def improved_score(patch: Patch) -> None:
    whole = findings.all_metrics

    def leaking(scored: Scored) -> tuple[Metric, ...]:
        return tuple(replace(one, value=one.value * (1 - 1e-6)) if one.name == "MAE" else one for one in whole(scored))

    patch.setattr(findings, "all_metrics", leaking)


def softened_truth(patch: Patch) -> None:
    whole = rolling.scored

    def leaking(*asked: Any) -> Scored:
        found = whole(*asked)
        y = found.y.copy()
        y[-1] += 1e-6 * (found.median[-1] - y[-1])
        return replace(found, y=y)

    patch.setattr(rolling, "scored", leaking)


def filled_from_future(patch: Patch) -> None:
    whole = preprocessing.fill_gaps

    def leaking(draft: Draft, step: FillGaps, season_length: int) -> tuple[Draft, StepRecord]:
        found, record = whole(draft, FillGaps(target="interpolate", causal=False), season_length)
        return replace(found, observed=~np.isnan(found.frame.y)), record

    patch.setattr(preprocessing, "fill_gaps", leaking)


CASES: dict[str, Case] = {
    "hours": HOURS,
    "months": MONTHS,
    "gaps": GAPS,
    "a driver that turns": replace(HOURS, frame=driver_turns()),
    "a history that matters": replace(HOURS, frame=history_matters()),
}
# The mutation, and the case that it is put into.
MUTANTS: dict[str, tuple[Callable[[Patch], None], str]] = {
    "filled_from_future": (filled_from_future, "gaps"),
    "overlapping_validation": (overlapping_validation, "hours"),
    "no_embargo": (no_embargo, "hours"),
    "unordered_origins": (unordered_origins, "hours"),
    "doubled_window": (doubled_window, "hours"),
    "scaler_on_test": (scaler_on_test, "hours"),
    "fit_on_test": (fit_on_test, "hours"),
    "refit_ahead": (refit_ahead, "hours"),
    "tuned_on_test": (tuned_on_test, "hours"),
    "chosen_on_test": (chosen_on_test, "a driver that turns"),
    "weights_on_test": (weights_on_test, "months"),
    "calibrated_on_test": (calibrated_on_test, "hours"),
    "future_history": (future_history, "a history that matters"),
    "improved_score": (improved_score, "hours"),
    "softened_truth": (softened_truth, "hours"),
}
