"""Which static columns a seasonal profile pools over, chosen on windows that lie before the test part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.features import Layout
from mcp_forecast_engine.models.profile_path import Weights
from mcp_forecast_engine.models.profile_weights import Seen, backs_for, grouped, learn, seen_at
from mcp_forecast_engine.models.static_groups import Grouping, grouping_by, static_values, useful

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Groups = tuple[tuple[str, ...], ...]

# More columns than this are not tried one by one: those with the most groups come first.
_MOST_COLUMNS = 12
_MOST_WINDOWS = 4
_LEARNED_FROM = 4
# A few series that collapse or explode must not decide for all others.
_TRIMMED = 0.98


def choose_groups(panel: Panel, layout: Layout, horizon: int, origins: Sequence[Integers]) -> Groups:
    """No groups, one column's, or one column's and those of a pair with it: whichever errs least.

    layout.static: the columns to choose from. Distances of the windows from the end are those of a typical series.
    """
    static = static_values(panel, layout.static)
    columns = [i for i in range(len(layout.static)) if useful([i], static)]
    columns = sorted(columns, key=lambda i: (-len(np.unique(static[:, i])), layout.static[i]))[:_MOST_COLUMNS]
    windows = usable_backs(panel, layout, horizon, origins)
    if not columns or not windows:
        return tuple((layout.static[i],) for i in columns[:1])
    trial = _Trial(panel, layout, horizon, windows)
    singles: dict[tuple[tuple[int, ...], ...], float] = {
        ((i,),): trial.loss([grouping_by([i], static)]) for i in columns
    }
    losses: dict[tuple[tuple[int, ...], ...], float] = {(): trial.loss([]), **singles}
    ((best,),) = min(singles, key=lambda key: singles[key])
    for other in columns:
        pair = tuple(sorted((best, other)))
        if other != best and useful(pair, static):
            losses[((best,), pair)] = trial.loss([grouping_by([best], static), grouping_by(pair, static)])
    chosen = min(losses, key=lambda key: losses[key])
    return tuple(tuple(layout.static[i] for i in group) for group in chosen)


def usable_backs(panel: Panel, layout: Layout, horizon: int, origins: Sequence[Integers]) -> list[int]:
    """Distances of a few validation windows from the end; one horizon where none of them has a season before it."""
    m, length = layout.season_length, int(np.median(panel.lengths))
    found = {int(np.median((panel.lengths - origin)[origin >= 0])) for origin in origins if np.any(origin >= 0)}
    usable = sorted(back for back in found if length - back >= m)
    if not usable and length - horizon >= m:
        usable = [horizon]
    return usable[:: -(-len(usable) // _MOST_WINDOWS)] if usable else []


class _Trial:
    """Windows gathered once, for every grouping to be tried on."""

    def __init__(self, panel: Panel, layout: Layout, horizon: int, windows: Sequence[int]) -> None:
        self._panel, self._horizon = panel, horizon
        first, length = max(windows), int(np.median(panel.lengths))
        learned = backs_for(layout, length - first, horizon)
        stride = -(-len(learned) // _LEARNED_FROM) or 1
        self._learned = [seen_at(panel, layout, first + back) for back in learned[::stride]]
        self._scored = [seen_at(panel, layout, back) for back in windows]
        self._until = first

    def loss(self, groupings: Sequence[Grouping]) -> float:
        """Mean absolute error of the windows in units of how much each series moves, the worst series left out."""
        learned = [grouped(seen, groupings) for seen in self._learned]
        weights = learn(self._panel, learned, self._horizon, until=self._until, groupings=len(groupings))
        return float(np.mean([self._error(grouped(seen, groupings), weights) for seen in self._scored]))

    def _error(self, seen: Seen, weights: Weights) -> float:
        step = np.arange(min(seen.back, self._horizon))
        at = (self._panel.offsets[seen.series + 1] - seen.back)[:, None] + step
        path = weights.path(seen.view, seen.shapes, len(step))
        error = np.abs(path - self._panel.y[at] / seen.view.level) * self._panel.observed[at]
        of_series = np.sort(error.sum(axis=1) / np.maximum(self._panel.observed[at].sum(axis=1), 1) * seen.weight)
        return float(of_series[: max(int(_TRIMMED * len(of_series)), 1)].mean()) if len(of_series) else np.inf
