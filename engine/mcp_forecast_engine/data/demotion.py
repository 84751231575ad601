"""Columns that are known ahead by name only: over the horizon they are absent, frozen, or repeat the target."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel, Role
from mcp_forecast_engine.data.leaks import suspects
from mcp_forecast_engine.data.shifts import shifted_copies

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# A column that is absent at more than this part of the steps was filled there, not known.
MOSTLY = 0.5


def demoted(
    panel: Panel,
    origins: Sequence[Integers],
    horizon: int,
    *,
    keep: Collection[str] = (),
    given: Mapping[str, NDArray[np.bool_]] | None = None,
) -> tuple[dict[str, Role], tuple[str, ...]]:
    """The roles of a panel with known-future columns that earn no trust as historical, and why, by name.

    origins: per backtest window, steps of history by series, int64 (S), -1 for series that take no part. keep: columns
    that the time stamps alone give, which cannot be absent or frozen. given: per column, at which steps of the panel it
    had a value before it was filled (`given_steps`), bool (N); None: everywhere. Demoted is a column that
    - was filled at most of the last horizon, or at most steps of the horizons of the backtest,
    - has no value over the future for which other known-future columns are given,
    - has one value in all horizons of each series, although it varies: its past taught what its future never shows (a
      working-day flag is constant within a day, and stays, because the days differ),
    - repeats the target of fewer steps ago than the horizon: then its future is the answer.
    """
    names = [name for name, role in sorted(panel.roles.items()) if role == "known_future" and name not in keep]
    found = _repeating(panel, names, horizon)
    for name in [name for name in names if name in (given or {})]:
        if why := _filled(panel, (given or {})[name], origins, horizon):
            found.setdefault(name, why)
    found |= {name: why for name, why in _frozen(panel, names, origins, horizon).items() if name not in found}
    found |= {name: why for name, why in _absent(panel, names).items() if name not in found}
    roles: dict[str, Role] = {name: "historical" if name in found else role for name, role in panel.roles.items()}
    return roles, tuple(f"known-future covariate {name!r} {found[name]}: used as historical" for name in sorted(found))


def _filled(panel: Panel, given: NDArray[np.bool_], origins: Sequence[Integers], horizon: int) -> str:
    """Where a column was absent that a forecast would read, or nothing."""
    last = [np.maximum(panel.lengths - horizon, 0)]
    for where, starts in (("the last horizon", last), ("the horizons of the backtest", origins)):
        there = np.concatenate([_over(panel, given, start, horizon) for start in starts])
        if len(there) and np.mean(there) < 1 - MOSTLY:
            return f"is absent at {int(np.sum(~there))} of the {len(there)} steps of {where}"
    return ""


def _over(panel: Panel, given: NDArray[np.bool_], origin: Integers, horizon: int) -> NDArray[np.bool_]:
    """A mask at the steps of a horizon after one origin of each series that takes part, flat."""
    series = np.flatnonzero(origin >= 0)
    steps = origin[series][:, None] + np.arange(horizon)
    inside = steps < panel.lengths[series][:, None]
    return np.asarray(given[(panel.offsets[series][:, None] + steps)[inside]], bool)


def close_to_target(panel: Panel, *, keep: Collection[str] = ()) -> tuple[str, ...]:
    """Sentences about known-future columns that are nearly the target of their own step; keep: as for `demoted`."""
    names = [name for name, role in panel.roles.items() if role == "known_future" and name not in keep]
    columns = {name: panel.covariates[name] for name in names if name not in panel.categories}
    measured = np.where(panel.observed, panel.y, np.nan)
    found = suspects(measured, columns, panel.offsets, panel.season_length)
    return tuple(f"known-future covariate {name!r} {why}" for name, why in found.items())


def _absent(panel: Panel, names: Sequence[str]) -> dict[str, str]:
    given = [name for name in names if panel.future.get(name, np.zeros((0, 0))).shape[1] > 0]
    if not given:
        return {}
    others = ", ".join(map(repr, given[:3]))
    return {name: f"is absent over the future that is given for {others}" for name in names if name not in given}


def _frozen(panel: Panel, names: Sequence[str], origins: Sequence[Integers], horizon: int) -> dict[str, str]:
    """Compared at the places of the season that the horizons visit: one day ahead on Mondays, no Sunday can show."""
    visited = _visited(panel, origins, horizon)
    found = {}
    for name in names:
        low, high = _range_over(panel, panel.covariates[name], origins, horizon)
        seen, values = low <= high, panel.covariates[name]
        least = np.minimum.reduceat(np.where(visited, values, np.inf), panel.offsets[:-1])
        most = np.maximum.reduceat(np.where(visited, values, -np.inf), panel.offsets[:-1])
        if seen.any() and np.all(low[seen] == high[seen]) and np.any(least[seen] < most[seen]):
            found[name] = "varies in the history but has one value over every horizon of the backtest"
    return found


def _visited(panel: Panel, origins: Sequence[Integers], horizon: int) -> NDArray[np.bool_]:
    """Which steps lie at places of the season that some horizon visits, counted back from the end of each series."""
    m = max(panel.season_length, 1)
    back = np.repeat(panel.offsets[1:], panel.lengths) - np.arange(len(panel.y))
    ahead = [((panel.lengths - origin)[origin >= 0][:, None] - np.arange(horizon)).ravel() for origin in origins]
    return np.isin(back % m, np.unique(np.concatenate(ahead) % m)) if ahead else np.zeros(len(back), bool)


def _range_over(panel: Panel, values: Floats, origins: Sequence[Integers], horizon: int) -> tuple[Floats, Floats]:
    """Least and largest value over all horizons, by series, float64 (S); inf and -inf where a series takes no part."""
    low, high = np.full(len(panel.unique_id), np.inf), np.full(len(panel.unique_id), -np.inf)
    for origin in origins:
        series = np.flatnonzero(origin >= 0)
        ahead = values[(panel.offsets[series] + origin[series])[:, None] + np.arange(horizon)]
        low[series] = np.minimum(low[series], ahead.min(axis=1, initial=np.inf))
        high[series] = np.maximum(high[series], ahead.max(axis=1, initial=-np.inf))
    return low, high


def _repeating(panel: Panel, names: Sequence[str], horizon: int) -> dict[str, str]:
    columns = {name: panel.covariates[name] for name in names if name not in panel.categories}
    measured = np.where(panel.observed, panel.y, np.nan)
    lags = shifted_copies(measured, panel.offsets, columns, np.arange(-1, -horizon, -1))
    return {
        name: f"repeats the target of {-shift} steps ago, which is not known {horizon} steps ahead"
        for name, shift in lags.items()
    }
