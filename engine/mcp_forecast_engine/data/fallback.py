"""What stands in for an optional covariate that is missing, by a named policy, and what is said about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel, Role

Floats = NDArray[np.float64]

# Over the horizon: the value one season earlier (again and again), or the last one where there is no season before.
LAST_SEASON: Final = "last_season"
# In data that lacks the column: what it usually was in training, the median of numbers, else the most frequent value.
USUAL: Final = "usual_value"
POLICIES: Final = {
    LAST_SEASON: "the value one season earlier, else the last one",
    USUAL: "the median of training, or its most frequent value",
}


@dataclass(frozen=True)
class Optional:
    """A nullable covariate that a model reads. usual: its usual value in training, a word for categories."""

    name: str
    role: Role
    usual: float | str


def optional_covariates(serving: Mapping[str, Any]) -> tuple[Optional, ...]:
    """The nullable covariates of a training result's `serving` part; runs of older releases have none."""
    return tuple(
        Optional(one["name"], cast(Role, one["role"]), one["fallback"]["usual"])
        for one in serving["covariates"]
        if one.get("nullable") and "fallback" in one
    )


def usual_value(panel: Panel, name: str) -> float | str:
    """The usual value of a covariate of a panel: median of numbers, else the most frequent (the first of equals)."""
    values = panel.covariates[name]
    present, counts = np.unique(values, return_counts=True)
    words = panel.categories.get(name)
    if words is not None:
        return words[int(present[np.argmax(counts)])]
    flag = bool(np.all((present == 0) | (present == 1)))
    return float(present[np.argmax(counts)]) if flag else float(np.median(values))


def with_fallbacks(panel: Panel, optional: Sequence[Optional], horizon: int) -> tuple[Panel, tuple[str, ...]]:
    """The panel with every optional covariate there, over `horizon` steps ahead too, and a warning for each stand-in.

    A future value that is NaN, or beyond the steps that are given, falls back by LAST_SEASON; a column that the data
    lacks by USUAL. Required covariates are left as they are: what is missing of them is refused elsewhere.
    """
    warnings = []
    for one in optional:
        if one.name not in panel.covariates:
            panel = _usual(panel, one, horizon)
            warnings.append(
                f"optional covariate {one.name!r} is not in the data: fallback {USUAL} ({POLICIES[USUAL]}), "
                f"{one.usual}, at every step"
            )
        elif one.role == "known_future":
            values, missing = _last_season(panel, one.name, horizon)
            if missing:
                panel = replace(panel, future={**panel.future, one.name: values})
                warnings.append(
                    f"optional covariate {one.name!r} is missing at {missing} of {values.size} future steps: fallback "
                    f"{LAST_SEASON} ({POLICIES[LAST_SEASON]})"
                )
    return panel, tuple(warnings)


def _usual(panel: Panel, one: Optional, horizon: int) -> Panel:
    code = 0.0 if isinstance(one.usual, str) else one.usual
    categories = {**panel.categories, one.name: (one.usual,)} if isinstance(one.usual, str) else panel.categories
    future = panel.future
    if one.role == "known_future":
        future = {**future, one.name: np.full((len(panel.unique_id), horizon), code)}
    return replace(
        panel,
        covariates={**panel.covariates, one.name: np.full(len(panel.y), code)},
        roles={**panel.roles, one.name: one.role},
        categories=categories,
        future=future,
    )


def _last_season(panel: Panel, name: str, horizon: int) -> tuple[Floats, int]:
    """The future of a covariate, float64 (S, horizon), and how many of its values are stand-ins."""
    series = len(panel.unique_id)
    given = panel.future.get(name, np.zeros((series, 0)))[:, :horizon]
    values = np.full((series, horizon), np.nan)
    values[:, : given.shape[1]] = given
    absent = np.isnan(values)
    m, last = max(panel.season_length, 1), panel.offsets[1:]
    for step in range(horizon):
        back = step - m
        if back >= 0:
            earlier = values[:, back]
        else:
            inside = panel.lengths + back >= 0
            row = np.where(inside, last + back, last - 1)
            earlier = panel.covariates[name][row]
        values[:, step] = np.where(absent[:, step], earlier, values[:, step])
    return values, int(absent.sum())
