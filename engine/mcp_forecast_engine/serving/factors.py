"""An explanation as callers read it: per series the base, then the factors, the one that moves most first."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from mcp_forecast_engine.serving.explain import Explanation, Group
from mcp_forecast_engine.serving.rounding import rounded

MEANING: Final = (
    "base: what the model says after a usual season: the mean of its forecasts after six earlier histories of the "
    "series (whole seasons before this one, those of the most usual level and spread), each covariate known ahead at "
    "its middle value at the same place of the last 28 seasons, the calendar averaged over them. A contribution is "
    "what a factor changes by becoming what it is: the recent history first (the target, and the past of what is known "
    "ahead), then the others, averaged over their orders (Shapley values). In by_step, base and all factors add up to "
    "the median; base and contribution are their means over the horizon. It tells what the model reads, not causes."
)


def factors(explanation: Explanation, series: int, horizon: int) -> dict[str, Any]:
    """One series' explanation as plain JSON, in the target's units.

    base, and the contribution of each factor: means over the first `horizon` steps. by_step, of the base and of each
    factor: one number per step; they add up to the median to 1e-4 of its level. value, usual_value: of a numeric
    covariate known ahead, its mean over the trained horizon, as it is and as usual.
    """
    base = explanation.base[series, :horizon]
    parts = explanation.contributions[series, :horizon]
    order = np.argsort(-np.abs(parts).mean(axis=0), kind="stable")
    effects = [(explanation.groups[i], float(parts[:, i].mean())) for i in order]
    return {
        "summary": _summary(float(base.mean()), effects),
        "base": rounded(base.mean(keepdims=True))[0],
        "by_step": rounded(base),
        "factors": [_factor(explanation, series, int(place), horizon) for place in order],
    }


def _factor(explanation: Explanation, series: int, place: int, horizon: int) -> dict[str, Any]:
    group, steps = explanation.groups[place], explanation.contributions[series, :horizon, place]
    made: dict[str, Any] = {"name": group.name, "kind": group.kind, "told": ""}
    if len(group.columns) > 1:
        made["covariates"] = list(group.columns)
    found = (explanation.read[series, place], explanation.usual[series, place])
    if np.isfinite(found).all():
        made["value"], made["usual_value"] = rounded(np.array(found))
    made["contribution"] = rounded(steps.mean(keepdims=True))[0]
    made["told"] = _told(made)
    return {**made, "by_step": rounded(steps)}


def _told(factor: dict[str, Any]) -> str:
    """One factor as a sentence."""
    name, effect = factor["name"], factor["contribution"]
    if "value" in factor:
        name = f"{name} (mean {factor['value']:.4g}, usually {factor['usual_value']:.4g})"
    if effect == 0:
        return f"{name} leaves the mean of the forecast as it is"
    return f"{name} {'raises' if effect > 0 else 'lowers'} the forecast by {abs(effect):.4g} on average"


def _summary(base: float, effects: list[tuple[Group, float]]) -> str:
    total = base + sum(effect for _, effect in effects)
    parts = ", ".join(f"{group.name} {effect:+.4g}" for group, effect in effects) or "nothing out of the usual"
    return f"the forecast averages {total:.4g}: {base:.4g} after a usual season; {parts}"
