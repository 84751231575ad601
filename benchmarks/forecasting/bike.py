"""Hourly bike rentals (Fanaee-T and Gama 2013): 60 days, one forecast of 24 hours each midnight, weather given."""

from __future__ import annotations

from pathlib import Path

from forecasting import naive, scores
from forecasting.panels import panel_of, scored_everywhere
from forecasting.tasks import Aim, Forecasts, Row, Scores, Task, truth
from mcp_forecast_engine.data.columns import ColumnRoles, Correction
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.steps import FillCovariates, FillGaps, MergeDuplicates

WEATHER = ("temp", "atemp", "hum", "windspeed", "weathersit", "holiday", "workingday", "season")
# An hour without a row had no rental: zero is what happened there, and the data notes score it.
STEPS = (MergeDuplicates(), FillGaps(target="zero"), FillCovariates())


def bike_panel(folder: Path) -> Panel:
    """17,544 hours; the day's weather known ahead; `casual` and `registered`, which add up to y, left out."""
    known = tuple(Correction(name, role="known_future") for name in WEATHER)
    roles = ColumnRoles(time="ds", target="y", series=("unique_id",), covariates=known, drop=("casual", "registered"))
    data = (folder / "bike_sharing_hourly.parquet").read_bytes()
    return scored_everywhere(panel_of(data, roles, steps=STEPS))


def score(panel: Panel, task: Task, found: Forecasts) -> Scores:
    """MAE, RMSE, WAPE over all 1,440 hours, and coverage."""
    y, median = truth(panel, task), found.median
    point = {"MAE": scores.mae(y, median), "RMSE": scores.rmse(y, median), "WAPE": scores.wape(y, median)}
    return {**point, **scores.coverages(y, found.quantiles, found.levels)}


ROWS = (
    Row(
        name="bike",
        title="Bike sharing, 60 days, 24 hours each midnight, weather known",
        tasks=(
            Task(
                name="bike",
                read=bike_panel,
                horizon=24,
                season_length=24,
                stride=24,
                test_windows=60,
                score=score,
                naive=naive.repeated(168),
            ),
        ),
        columns=("MAE", "RMSE", "WAPE", "cov80", "cov90"),
        definition="MAE, RMSE and WAPE (sum |error| / sum |y|) over 1,440 hours; absent hours count as y = 0",
        aims=(Aim("floor", {"MAE": 40}, 10), Aim("goal", {"MAE": 36.5}, 60), Aim("stretch", {"MAE": 35})),
        peers=("lightgbm", "lightgbm_differenced", "nhits", "lstm"),
    ),
)
