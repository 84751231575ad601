"""The guard that scrambles the future: what a run chose, fitted and forecast must be the same bytes without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Frame, Panel
from mcp_forecast_engine.data.steps import FillGaps, steps_from_dicts
from mcp_forecast_engine.errors import EngineError
from mcp_forecast_engine.evaluation.auto import choose
from mcp_forecast_engine.evaluation.baseline import with_baseline
from mcp_forecast_engine.evaluation.budget import Budget
from mcp_forecast_engine.evaluation.plan import BacktestPlan, cutoffs_of, origins_of
from mcp_forecast_engine.evaluation.predictions import Stored
from mcp_forecast_engine.evaluation.progress import Progress
from mcp_forecast_engine.evaluation.report import ArmReport, chosen_arm, read_arm
from mcp_forecast_engine.evaluation.rolling import calibrate
from mcp_forecast_engine.evaluation.trials import Trials, seen_at
from mcp_forecast_engine.evaluation.walks import renewed_at, replayed
from mcp_forecast_engine.factory.guard import GuardResult
from mcp_forecast_engine.factory.inputs import shaped
from mcp_forecast_engine.factory.leakage_choice import chosen_otherwise, decided_otherwise, explained
from mcp_forecast_engine.factory.leakage_noise import unsettled, with_noise
from mcp_forecast_engine.models.combination import combined
from mcp_forecast_engine.models.regression import one_thread

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """Where a panel comes from. frame: the raw rows; rebuild: makes the panel of them, as the run did, with its roles.

    looks_ahead: the request accepted steps that read later values (causal=false).
    """

    frame: Frame
    rebuild: Callable[[Frame], Panel]
    looks_ahead: bool = False


def source_of(frame: Frame, plan: Mapping[str, Any], panel: Panel) -> Source:
    """The source of a plan's panel. frame: the rows as known at the plan's as-of time; panel: with the run's roles."""
    ahead = any(isinstance(step, FillGaps) and not step.causal for step in steps_from_dicts(plan["preprocessing"]))
    return Source(frame, lambda rows: replace(shaped(rows, plan)[0], roles=panel.roles), ahead)


@dataclass(frozen=True)
class Blind:
    """The guard's finding, and the largest difference of a replayed forecast, in units of the target."""

    guard: GuardResult
    replay_difference: float


def unread(why: str) -> Blind:
    """Nothing could be done again, and what cannot be replayed is no evidence."""
    return Blind(GuardResult("blind", "violated", 0, why), 0.0)


@dataclass
class _Findings:
    """What differs, in words; how many numbers were compared; the largest difference."""

    texts: list[str] = field(default_factory=list)
    checked: int = 0
    largest: float = 0.0

    def add(self, checked: int, texts: Iterable[str]) -> None:
        self.checked += checked
        self.texts += texts

    def compare(self, what: str, mine: Floats, theirs: Floats) -> None:
        self.checked += mine.size
        if mine.shape != theirs.shape or mine.tobytes() != theirs.tobytes():
            apart = np.abs(mine - theirs) if mine.shape == theirs.shape else np.abs(theirs)
            gap = float(apart[np.isfinite(apart)].max(initial=0.0))  # finite: it stands in a document
            self.largest = max(self.largest, gap)
            self.texts.append(f"{what} by up to {gap:.4g} once what follows is scrambled")


def check_blind(
    source: Source,
    panel: Panel,
    document: Mapping[str, Any],
    predictions: Mapping[str, Stored],
    *,
    seed: int,
    budget: Budget,
    whole: bool,
    cores: int = 1,
) -> Blind:
    """Scramble every target and historical covariate from the first test cutoff on, and do the work again.

    The panel before the cutoff, the chosen arm's settings, its error on the validation windows, its forecasts of the
    first test window and of one after a refit, and the quantiles issued for these, a middle and the last one, must be
    the same as those stored. document: the evaluation as stored. budget: the run's. whole: the choice is repeated too.
    Else only where the recorded errors do not lead to it, so that what they leave open (a paired test decided) is taken
    as it was made, and so are the settings of models that do not answer.
    """
    plan, arm = BacktestPlan(**document["plan"]), read_arm(chosen_arm(document))
    origins, cutoffs = origins_of(panel, plan), cutoffs_of(panel, plan)
    found = _Findings()
    if arm.name not in predictions:
        return unread(f"no predictions of {arm.name} are stored")
    try:
        scrambled = source.rebuild(with_noise(source.frame, panel, cutoffs[plan.validation_windows], seed))
    except EngineError as refusal:
        return unread(f"what follows decides what is read: {refusal.message}")
    ahead = _changed_before(panel, scrambled, cutoffs[plan.validation_windows], found)
    # The steps before stay the run's own, so that one finding does not hide the others.
    blind = _Scrambled(panel, scrambled, cutoffs, origins)
    with one_thread():
        before = _replay(blind, arm, plan, origins, predictions[arm.name], found)
        trials = Trials(blind.at(plan.validation_windows), plan, origins, cores=cores)
        if with_baseline(trials.panel, plan, origins) != plan:
            found.add(1, ["the season that the baseline repeats follows from the test part"])
        if whole or not explained(document, arm, trials):
            again = choose(trials.panel, plan, origins, budget, Progress(0), cores=cores)
            found.add(len(again.tried), decided_otherwise(again, document))
        else:
            found.add(len(arm.members), chosen_otherwise(arm, trials, budget, before))
    return Blind(_verdict(found, ahead, accepted=source.looks_ahead), found.largest)


def _verdict(found: _Findings, ahead: int, *, accepted: bool) -> GuardResult:
    """ahead: filled targets that follow from later values, which the request may have accepted."""
    if ahead and not accepted:
        found.texts.insert(0, f"{ahead} values before the first test cutoff follow from later ones")
    if found.texts:
        return GuardResult("blind", "violated", found.checked, found.texts[0])
    text = f"{found.checked} numbers are the same bytes with everything from the first test cutoff on scrambled"
    if not ahead:
        return GuardResult("blind", "passed", found.checked, text)
    asked = f"{ahead} filled targets follow from later ones, as the request accepted (causal=false); else {text}"
    return GuardResult("blind", "accepted", found.checked, asked)


def _changed_before(panel: Panel, scrambled: Panel, cutoffs: Integers, found: _Findings) -> int:
    """Values before the cutoffs that differ; what is no filled target counts as a finding of its own."""
    same = panel.unique_id == scrambled.unique_id and np.array_equal(panel.offsets, scrambled.offsets)
    if not same or not np.array_equal(panel.ds, scrambled.ds):
        found.texts.append("the series and steps of the panel follow from later values")
        return 0
    early = panel.steps < np.repeat(cutoffs, panel.lengths)
    targets = early & (panel.y != scrambled.y)
    measured = int((targets & panel.observed).sum())
    others = {"marks of what was observed": early & (panel.observed != scrambled.observed)}
    for name, values in panel.covariates.items():
        everywhere = early if panel.roles[name] == "historical" else np.ones(len(early), bool)
        others[f"values of {name!r}"] = everywhere & (values != scrambled.covariates[name])
    found.checked += int(early.sum()) * (1 + len(panel.covariates))
    if measured:
        found.texts.append(f"{measured} measured targets before the first test cutoff follow from later ones")
    found.texts += [
        f"{int(changed.sum())} {what} before the first test cutoff follow from later values"
        for what, changed in others.items()
        if changed.any()
    ]
    return int(targets.sum()) - measured


class _Scrambled:
    """The panel with what follows a window's cutoff scrambled; the last one asked for is kept."""

    def __init__(
        self, panel: Panel, scrambled: Panel, cutoffs: Sequence[Integers], origins: Sequence[Integers]
    ) -> None:
        self._panel, self._scrambled, self._cutoffs, self._origins = panel, scrambled, cutoffs, origins
        self._kept: tuple[int, Panel] | None = None

    def at(self, window: int) -> Panel:
        """Up to the cutoffs of this window the run's own values, of revised data those of then; noise from there on."""
        if self._kept is None or self._kept[0] != window:
            spliced = _spliced(self._panel, self._scrambled, self._cutoffs[window])
            self._kept = window, unsettled(spliced, self._panel, self._origins, window)
        return self._kept[1]


def _spliced(panel: Panel, scrambled: Panel, cutoffs: Integers) -> Panel:
    """The panel up to the cutoffs (S), scrambled from there on."""
    if len(scrambled.y) != len(panel.y):
        return panel
    early = panel.steps < np.repeat(cutoffs, panel.lengths)
    covariates = {
        name: np.where(early, values, scrambled.covariates[name]) if panel.roles[name] == "historical" else values
        for name, values in panel.covariates.items()
    }
    return replace(panel, y=np.where(early, panel.y, scrambled.y), covariates=covariates)


def _replay(
    blind: _Scrambled,
    arm: ArmReport,
    plan: BacktestPlan,
    origins: Sequence[Integers],
    stored: Stored,
    found: _Findings,
) -> list[Floats]:
    """Fit and forecast again where the panel is scrambled behind the origin; the paths of the validation windows."""
    v = plan.validation_windows
    ends = np.cumsum([int((origin >= 0).sum()) for origin in origins[v:]])
    paths, issued = ([*np.split(values, ends[:-1])] for values in (stored.path, stored.quantiles))
    renewed = [at for member in arm.members if (at := renewed_at(blind.at(v), member, plan)) is not None]
    asked = sorted({v, min(renewed, default=v)})
    walked = [replayed(blind.at, member, arm.spec, plan, origins, asked) for member in arm.members]
    for window in asked:
        path = combined([found_at[window] for _, found_at in walked], arm.weights, arm.rule)
        found.compare(f"the forecast of test window {window - v + 1} changes", path, paths[window - v])
    before = [combined([own[k] for own, _ in walked], arm.weights, arm.rule) for k in range(v)]
    for window in sorted({*asked, v + plan.test_windows // 2, plan.windows - 1}):
        shown = blind.at(window)
        seen = [seen_at(shown, origin, plan.horizon) for origin in origins]
        run = calibrate(shown, arm, paths=[*before, *paths], windows=seen, origins=origins, plan=plan)
        told = f"the quantiles of test window {window - v + 1} change"
        found.compare(told, run.issued.quantiles[window], issued[window - v])
    return before
