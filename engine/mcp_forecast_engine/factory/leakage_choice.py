"""What a run chose, held against its own record and the windows before the test part: settings, weights, answer."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.errors import EngineError
from mcp_forecast_engine.evaluation.auto import Choice
from mcp_forecast_engine.evaluation.budget import Budget
from mcp_forecast_engine.evaluation.candidates import BASELINE, REFERENCE, Arm, Candidate, arms_of, baseline_of, line_up
from mcp_forecast_engine.evaluation.champion import ACTIVE
from mcp_forecast_engine.evaluation.combining import NEAR, half_each, options_of, weights_of
from mcp_forecast_engine.evaluation.members import Member
from mcp_forecast_engine.evaluation.model_choice import sturdy
from mcp_forecast_engine.evaluation.pretrained_candidates import PRETRAINED
from mcp_forecast_engine.evaluation.progress import Progress
from mcp_forecast_engine.evaluation.report import ArmReport
from mcp_forecast_engine.evaluation.trials import MARGIN, Trials
from mcp_forecast_engine.store.identity import canonical_bytes

Floats = NDArray[np.float64]
Losses = Mapping[str, float]
Weights = Mapping[str, float]
# The same sums in another order differ by less.
_SAME: Final = 1e-9


def chosen_otherwise(arm: ArmReport, trials: Trials, budget: Budget, paths: Sequence[Floats]) -> Iterator[str]:
    """The chosen arm's question, settings and error, where they follow from more than lies before the test part.

    trials: of the run's plan, on the panel with what follows scrambled. paths: the arm's on the validation windows of
    that panel. A pretrained model has no settings to choose.
    """
    error = trials.judge.mase(paths)
    if math.isfinite(error) != math.isfinite(arm.validation_mase) or (
        math.isfinite(error) and not math.isclose(error, arm.validation_mase, rel_tol=_SAME)
    ):
        yield f"{arm.name} is said to have had error {arm.validation_mase:.6g} before the test part, it has {error:.6g}"
    own = [member for member in arm.members if member.family != PRETRAINED]
    asked = [trials.spec(one) for one in (Arm(BASELINE), *arms_of(trials.panel))]
    if own and arm.spec not in asked:
        yield f"{arm.name} answers another question than what lies before the test part asks"
    known = _candidates(trials, arm, budget)
    for member in own:
        again = _tuned(trials, arm, known.get(member.name))
        if again is None or canonical_bytes(again.to_dict()) != canonical_bytes(member.to_dict()):
            yield f"{member.name} would have had other settings"


def explained(document: Mapping[str, Any], arm: ArmReport, trials: Trials) -> bool:
    """Whether the recorded errors of what was tried can have led to the chosen arm and its weights.

    Gains that errors alone do not decide (a paired test does) are taken as they were decided. Where the target is
    mostly zero, squared errors decide, which are not recorded: nothing speaks against such a choice here.
    """
    if trials.judge.squared:
        return True
    lines = {line["name"]: line for line in document["tried"]}
    losses = {name: math.nan if (told := line["validation_mase"]) is None else told for name, line in lines.items()}
    if arm.members[0].family == PRETRAINED:
        rest = [told for name, told in losses.items() if lines[name]["family"] != PRETRAINED and math.isfinite(told)]
        # It had to be better than a mix, which is hardly worse than the best of its members.
        return losses[arm.name] <= (1 + 2 * MARGIN) * min(rest, default=math.inf)
    ready = [losses[name] for name, line in lines.items() if line["family"] == PRETRAINED]
    if any(error < (1 - MARGIN) * arm.validation_mase for error in ready):
        return False
    columns = [one.name for one in arms_of(trials.panel) if one.name in lines]
    walked = [name for name, line in lines.items() if name not in (BASELINE, *columns) and line["family"] != PRETRAINED]
    return any(
        _leads_to(arm, best, {name: losses[name] for name in dict.fromkeys((BASELINE, best, *walked))}, trials)
        for best in _worthwhile(columns or [BASELINE], losses)
        if all(lines[name]["covariates"] == lines[best]["covariates"] for name in walked)
    )


def decided_otherwise(again: Choice, document: Mapping[str, Any]) -> Iterator[str]:
    """What the choice was, and is without the test part: arms, settings, weights, errors, and what answers."""
    if again.chosen != document["chosen"]:
        yield f"{again.chosen} would have been chosen, not {document['chosen']}"
    told = {arm["name"]: arm for arm in document["arms"] if arm["name"] != ACTIVE}
    made = {
        arm.name: {
            "spec": arm.spec.to_dict(), "members": [member.to_dict() for member in arm.members],
            "weights": list(arm.weights), "rule": arm.rule, "lookback": arm.lookback,
        }
        for arm in again.arms
    }  # fmt: skip
    if set(made) != set(told):
        yield f"the arms would have been {sorted(made)}, not {sorted(told)}"
    for name in sorted(set(made) & set(told)):
        for what, value in made[name].items():
            if canonical_bytes(value) != canonical_bytes(told[name][what]):
                yield f"{name} would have had other {what}"
    if canonical_bytes([line.to_dict() for line in again.tried]) != canonical_bytes(document["tried"]):
        yield "the models tried would have had other errors or weights"


def _candidates(trials: Trials, arm: ArmReport, budget: Budget) -> dict[str, Candidate]:
    """What the run may have tried under each name: the baseline, the reference model of each arm, the line-up."""
    references = {one.name: Candidate(one.name, REFERENCE) for one in arms_of(trials.panel)}
    planned = line_up(trials.panel, arm.spec, trials.plan, budget).candidates
    return {BASELINE: baseline_of(trials.plan), **references, **{one.name: one for one in planned}}


def _tuned(trials: Trials, arm: ArmReport, candidate: Candidate | None) -> Member | None:
    if candidate is None:
        return None
    try:
        return trials.tuned(arm.spec, candidate, Progress(0))
    except EngineError:  # there, too, it could not have been chosen
        return None


def _worthwhile(arms: Sequence[str], losses: Losses) -> list[str]:
    """The arms that can have been the one to build on, by their errors: see `Trials.earns`."""
    standing = [arms[0]]
    for arm in arms[1:]:
        surely = [losses[arm] < (1 - MARGIN) * losses[before] for before in standing]
        maybe = [losses[arm] < (1 + MARGIN) * losses[before] for before in standing]
        standing = [before for before, gone in zip(standing, surely, strict=True) if not gone]
        standing += [arm] if any(maybe) else []
    return standing


def _leads_to(arm: ArmReport, best: str, losses: Losses, trials: Trials) -> bool:
    """Whether an arm can come of these models, the reference model `best` among them: see `choose_models`."""
    known = {name: loss for name, loss in losses.items() if math.isfinite(loss)}
    weights = {member.name: weight for member, weight in zip(arm.members, arm.weights, strict=True) if weight}
    if not known:
        return set(weights) <= {BASELINE, best}
    if set(weights) == {BASELINE} and known.get(BASELINE, math.inf) <= NEAR * min(known.values()):
        return True
    return any(
        arm.rule in (rule, "mean" if len(made) == 1 else rule) and _equal(weights, made)
        for made, rule in _mixes(known, sturdy(losses, arm.spec, trials.judge))
    )


def _mixes(known: Losses, steady: Collection[str]) -> Iterator[tuple[Weights, str]]:
    """Every mix that may have been made of these errors, by member, and its rule."""
    for names, power, rule in options_of(known, BASELINE):
        weights = dict(zip(names, weights_of(names, power, known), strict=True))
        yield weights, rule
        if rule == "mean" and steady and set(steady) <= set(known):
            equal = weights_of(tuple(steady), 0.0, known)
            yield half_each(weights, dict(zip(steady, equal, strict=True))), rule


def _equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(math.isclose(one[name], other[name], rel_tol=_SAME) for name in one)
