"""The table of models: what each suits, what it costs, in the order in which a budget is spent on them.

Costs are CPU seconds of one thread, measured on x86-64 at 2 to 3 GHz (`benchmarks/forecasting/run.py` prints them
beside what a run took). They plan; they never measure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mcp_forecast_engine.evaluation.model_size import Size
from mcp_forecast_engine.evaluation.plan import MANY_SERIES
from mcp_forecast_engine.models.ridge_recipe import MOST_NAMED
from mcp_forecast_engine.models.ridge_tuning import is_far
from mcp_forecast_engine.models.spec import BASELINE_FAMILY, ForecastSpec

_HIDDEN = 128
# A network is fitted again after this many seasons of test: every 28 gained as much again at three times the cost.
_REFIT_AFTER = 91
# Steps above which a series has taught a pooled model enough to be tried before the classical ones.
_LONG = 400
# CPU seconds by the table.
_NEXT_TO_NOTHING = 0.4
# What a classical model costs for each step that it reads, by name.
_A_STEP: Final = {"theta": 5e-6, "ces": 3e-6, "ets": 13e-6, "ets log": 4e-6}
_CHEAPEST_BATCH = 32
# Series that effects choose their settings on.
_SOME_SERIES = 200


_BOTH = ("small", "large")


def _once(size: Size) -> int:
    return 1


@dataclass(frozen=True)
class ModelLine:
    """A line of the table. asked: the settings that it fixes. suits: whether it may be worth trying at all.

    fit: CPU seconds of one fit; tune: of choosing settings and forecasting; refits: fits over the test windows that a
    large budget pays for. needs: an optional package. budgets: those that have this line.
    """

    name: str
    family: str
    asked: dict[str, Any]
    suits: Callable[[Size, ForecastSpec], bool]
    fit: Callable[[Size], float]
    tune: Callable[[Size], float]
    refits: Callable[[Size], int] = _once
    needs: str = ""
    budgets: tuple[str, ...] = _BOTH


def _network(
    name: str,
    asked: dict[str, Any],
    *,
    many: bool,
    budgets: tuple[str, ...] = ("large",),
    seasonal: bool | None = None,
) -> ModelLine:
    """A perceptron; for one or a few series with a season, or for many series."""

    def suits(size: Size, spec: ForecastSpec) -> bool:
        few = size.series < MANY_SERIES and size.season_length > 1
        wanted = size.season_length > 1 if seasonal is None else seasonal
        near = size.season_length == 1 or size.horizon <= 3 * size.season_length  # further ahead they overfit
        return near and size.windows >= 500 and few != many and wanted == (size.season_length > 1)

    def fit(size: Size) -> float:
        return 0.1 + _network_cost(size, asked)

    return ModelLine(
        name, "mlp", asked, suits, fit, tune=lambda size: 0.6 * fit(size), refits=_by_quarter, needs="torch",
        budgets=budgets,
    )  # fmt: skip


def _network_cost(size: Size, asked: dict[str, Any]) -> float:
    """Windows shown in training, times products per window."""
    seeds = asked.get("seeds", 4)
    every = asked.get("origins") == "every"
    aligned = 40_000 * min(size.phases, 4)
    usual = 200_000 if size.series >= MANY_SERIES or size.season_length == 1 else 150_000 if every else aligned
    shown = size.windows if every or usual == 200_000 else min(size.aligned * size.phases, size.windows)
    visits = asked.get("visits", min(usual, 60 * shown))
    # A small history is shown in small batches, which cost nearly as much as larger ones.
    visits *= max(_CHEAPEST_BATCH / max(shown // 16, 8), 1.0)
    reach = asked.get("reach", 7 if size.season_length > 1 else 12)
    lags = reach * (size.season_length if size.season_length > 1 else size.horizon)
    inner = _HIDDEN + size.horizon
    products = 4 * (lags + size.covariate_columns) * seeds * inner + 6 * seeds * _HIDDEN * inner
    return float(25e-12 * visits * products)


def _by_quarter(size: Size) -> int:
    """A fit every 91 seasons of test; none where one series was fitted shortly before and is tested for less."""
    if size.series < MANY_SERIES and size.tests > 1 and size.tested <= _REFIT_AFTER:
        return 0
    return max(round(size.tested / _REFIT_AFTER), 1)


def _ridge(name: str, units: str) -> ModelLine:
    """The reference model again, in given units: the mean of two that differ is better than either."""

    def cost(size: Size) -> float:
        columns = size.lookback + size.covariate_columns
        sums, solutions = 4e-9 * min(size.aligned, 1_500) * columns**2, 1.2e-9 * columns**3
        return 0.5 + sums + solutions + 3e-3 * (size.tests + size.validations)

    asked = {"transform": "asinh", "units": units}
    return ModelLine(name, "direct_ridge", asked, _single, fit=lambda size: 0.0, tune=cost)


def _season_by_season(size: Size, spec: ForecastSpec) -> bool:
    """Horizons over several seasons without covariates, where the dense ridge has more weights than there is to see."""
    return is_far(spec) and not spec.covariates and size.windows >= 200


def _season_cost(size: Size) -> float:
    """The choice of its settings reads windows as wide as the dense ridge's; solving costs nothing."""
    return 0.5 + 3e-8 * min(size.windows, 20_000) * 3 * size.lookback + 3e-4 * (size.tests + size.validations)


def _single(size: Size, spec: ForecastSpec) -> bool:
    """One series: its level is a fact of its own, so units of the whole history say something windows do not."""
    return size.series == 1 and size.windows >= 200


def _local(name: str, asked: dict[str, Any] | None = None, *, long: bool = False) -> ModelLine:
    """A classical model: it reads every window's own history, and learns nothing.

    Hard to beat where there is no season, or few of them; and where levels jump or wander, which no season count tells,
    so that it is tried wherever that costs next to nothing. Last in line on long series (`long`).
    """

    def cost(size: Size) -> float:
        return _A_STEP[name] * size.series * (size.tests + size.validations) * min(size.steps / size.series, 300)

    def suits(size: Size, spec: ForecastSpec) -> bool:
        cheap = cost(size) <= _NEXT_TO_NOTHING
        if long == (cheap or size.steps / size.series <= _LONG):
            return False
        if size.series >= MANY_SERIES and size.season_length > 1 and size.seasons < 3:
            return False  # too little to learn a season from alone: what related series share is the better teacher
        return cheap or size.season_length == 1 or size.seasons <= 30

    return ModelLine(name, name.split(" ")[0], asked or {}, suits, fit=lambda size: 0.0, tune=cost)


def _seasonal(size: Size, spec: ForecastSpec) -> bool:
    """Where the baseline repeats a season, the last value is another answer: the best there is for a random walk."""
    return size.season_length > 1


def _few_seasons(size: Size, spec: ForecastSpec) -> bool:
    """Related series with a season, and so few of them that what groups share says more than the own past."""
    return size.series > 1 and size.season_length > 1 and size.seasons <= 13


def _driven(size: Size, spec: ForecastSpec) -> bool:
    """Short histories with covariates that are known ahead, of so few series that each can have effects of its own."""
    return bool(spec.known_future) and size.series <= MOST_NAMED and size.steps / size.series <= _LONG


def _effects_fit(size: Size) -> float:
    """Products of some sixty columns at most, row by row; then a small system for every series."""
    columns = min(size.season_length, 24) + 4 * size.covariate_columns / (size.horizon + 24) + 1
    return 0.003 + 2e-10 * size.steps * columns**2 + 2e-5 * size.series + 2e-10 * size.series * columns**3


def _effects_tune(size: Size) -> float:
    """Nineteen fits of some of the series, forecasts, and of few series a fit for every window."""
    fits = 19 * min(_SOME_SERIES / size.series, 1.0)
    fits += size.tests + size.validations if size.series < MANY_SERIES else 0
    return fits * _effects_fit(size) + 0.03 + 5e-5 * size.series


def _profile_fit(size: Size) -> float:
    return 0.1 + 1e-6 * size.series * min(size.steps / size.series, 3 * size.season_length)


def _many_or_driven(size: Size, spec: ForecastSpec) -> bool:
    """Where trees find interactions: many series, or covariates that are known ahead; rows enough for both.

    Not from lags alone without a season: there trees only round off what a line extrapolates.
    """
    more = size.season_length > 1 or bool(spec.covariates)
    return size.windows >= 500 and more and (size.series >= MANY_SERIES or bool(spec.known_future))


def _tree_fit(size: Size) -> float:
    """Rows (series, origins, steps) times columns times trees."""
    return 0.5 + 4e-5 * min(size.windows * size.horizon, 80_000)


def _segments(size: Size, spec: ForecastSpec) -> bool:
    """One or a few series whose seasons are long enough to be read one after the other."""
    return size.series < MANY_SERIES and size.season_length >= 12 and size.horizon <= 3 * size.season_length


def _segment_fit(size: Size) -> float:
    return 0.3 + 1.1e-4 * min(40_000, 60 * size.aligned)


MODEL_LINES: Final[tuple[ModelLine, ...]] = (
    ModelLine("last value", BASELINE_FAMILY, {"period": 1}, _seasonal, fit=lambda size: 0.0, tune=lambda size: 0.0),
    ModelLine("effects", "effects", {}, _driven, fit=_effects_fit, tune=_effects_tune),
    ModelLine("seasonal profiles", "seasonal_profiles", {}, _few_seasons, fit=_profile_fit, tune=_profile_fit),
    _network("network", {"reach": 4}, many=False, budgets=_BOTH),
    _network("network", {}, many=True, seasonal=True),
    _network("network, quick", {"visits": 80_000, "seeds": 2}, many=True, seasonal=False, budgets=("small",)),
    _local("theta"),
    _local("ets"),
    _local("ces"),
    _local("ets log", {"scale": "log"}),
    _network("network", {"visits": 150_000}, many=True, seasonal=False),
    _ridge("ridge, units of the window", "window"),
    _ridge("ridge, units of the past", "training"),
    ModelLine(
        "ridge, season by season", "direct_ridge", {"seasons": True}, _season_by_season, fit=lambda size: 0.0,
        tune=_season_cost, budgets=("large",),
    ),
    _network("network, every origin", {"origins": "every", "reach": 7, "seeds": 2}, many=False),
    _network("network, units of the past", {"reach": 7, "scale": "raw"}, many=False),
    _network("network, a week", {"reach": 7, "measured": 7}, many=False),
    ModelLine(
        "network, season by season", "segment_lstm", {"reach": 7}, _segments, fit=_segment_fit, refits=_by_quarter,
        tune=lambda size: 0.4 * _segment_fit(size), needs="torch", budgets=("large",),
    ),
    _network("network, short", {"reach": 8, "visits": 150_000}, many=True, seasonal=False),
    _network("network, long training", {"visits": 500_000}, many=True, seasonal=True),
    _network("network, long", {"reach": 14}, many=True, seasonal=True),
    _local("theta", long=True),
    _local("ets", long=True),
    _local("ces", long=True),
    ModelLine(
        "boosted trees", "tabular", {}, _many_or_driven, fit=_tree_fit, tune=lambda size: 1.5 * _tree_fit(size),
        needs="lightgbm",
    ),
)  # fmt: skip
