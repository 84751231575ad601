"""How much a panel has to learn from: what the table of models goes by, in what suits and in what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.windows import MOST_WINDOWS


@dataclass(frozen=True)
class Size:
    """How much there is to learn from: windows and whole seasons of them before the validation part, series, columns.

    seasons: of a typical series. aligned: windows that start at one phase. phases: at how many the windows of the plan
    start. tests, validations: windows of the plan; tested: seasons (steps, where there is none) between the first and
    the last test origin.
    """

    windows: int
    aligned: int
    phases: int
    series: int
    steps: int
    seasons: float
    lookback: int
    covariate_columns: int
    horizon: int
    season_length: int
    tests: int
    validations: int
    tested: float


def size_of(panel: Panel, spec: ForecastSpec, plan: BacktestPlan) -> Size:
    """Measure a panel by its lengths and columns alone."""
    m = max(spec.season_length, 1)
    usable = np.maximum(panel.lengths - plan.reach - spec.horizon - spec.lookback, 0)
    windows = int(usable.sum())
    return Size(
        windows=min(windows, MOST_WINDOWS),
        aligned=min(windows // m, MOST_WINDOWS),
        phases=m // gcd(plan.stride, m),
        series=len(panel.unique_id),
        steps=int(panel.lengths.sum()),
        seasons=float(np.median(panel.lengths)) / m,
        lookback=spec.lookback,
        covariate_columns=spec.horizon * len(spec.known_future) + 24 * len(spec.covariates) + 20,
        horizon=spec.horizon,
        season_length=m,
        tests=plan.test_windows,
        validations=plan.validation_windows,
        tested=(plan.test_windows - 1) * plan.stride / m,
    )
