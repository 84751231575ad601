"""What is to be forecast: horizon, season, which covariates; the quantile levels every forecast carries."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mcp_forecast_engine.data.frame import Panel

QUANTILES = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)
MEDIAN = QUANTILES.index(0.5)
BASELINE_FAMILY = "seasonal_naive"

_LONGEST_LOOKBACK = 720


@dataclass(frozen=True)
class ForecastSpec:
    """One forecasting question, the same for every model family.

    horizon, season_length, lookback: steps. known_future, historical, static: covariate names a model may read.
    nonnegative: the target was never below zero in what was seen of it, so neither is a quantile.
    """

    horizon: int
    season_length: int
    lookback: int
    known_future: tuple[str, ...] = ()
    historical: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    nonnegative: bool = False

    @property
    def covariates(self) -> tuple[str, ...]:
        """Every covariate read, in the order the model sees them."""
        return (*self.historical, *self.known_future, *self.static)

    @property
    def season(self) -> int:
        """Steps of a season, m; 1 where there is none."""
        return max(self.season_length, 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def spec_for(panel: Panel, horizon: int, *, roles: tuple[str, ...] = (), history: int | None = None) -> ForecastSpec:
    """Derive the question from the data: lookback from season and length, covariates from the roles asked for.

    roles: which of "known_future", "historical", "static" may be read; none means target only.
    history: steps available for training in a typical series (default: the median length).
    """
    steps = int(np.median(panel.lengths)) if history is None else history
    names = {role: tuple(sorted(n for n, r in panel.roles.items() if r == role)) for role in roles}
    return ForecastSpec(
        horizon=horizon,
        season_length=panel.season_length,
        lookback=lookback_for(season_length=panel.season_length, horizon=horizon, history=steps),
        known_future=names.get("known_future", ()),
        historical=names.get("historical", ()),
        static=names.get("static", ()),
        nonnegative=never_negative(panel),
    )


def never_negative(panel: Panel) -> bool:
    """Whether values were observed, none of them below zero."""
    return bool(panel.observed.any()) and bool(np.all(panel.y[panel.observed] >= 0))


def lookback_for(*, season_length: int, horizon: int, history: int) -> int:
    """How many past steps a window reads: a week of hours, eight weeks of days, three years of months, less if short.

    At least two thirds of the history, less the horizon, is left for windows to learn from.
    """
    m = max(season_length, 1)
    wanted = 12 if m == 1 else m * (7 if m in _SUB_DAILY else 3 if m < 24 and m != 7 else 8 if m == 7 else 2)
    room = max((history - horizon) // 3, 1)
    if m == 1:
        return max(min(wanted, room), 1)
    seasons = max(min(min(wanted, _LONGEST_LOOKBACK), room) // m, 1)
    return seasons * m


# Seasons of a day: 12, 24, 48, 96 and 144 steps would be ambiguous only for 12, which is far more often months.
_SUB_DAILY = (24, 48, 96, 144)
