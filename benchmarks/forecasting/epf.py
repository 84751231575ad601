"""Day-ahead electricity prices (Lago et al. 2021): 728 days refitted daily (A), and fev-bench's last 20 days (C)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forecasting import fev, naive, scores
from forecasting.panels import panel_of
from forecasting.tasks import Aim, Forecasts, Published, Row, Scores, Task, origins, truth
from mcp_forecast_engine.data.columns import ColumnRoles, Correction
from mcp_forecast_engine.data.frame import Panel

DAYS, DAYS_C, H = 728, 20, 24
# Both are day-ahead forecasts, published before the auction: known for all 24 hours at midnight.
DRIVERS = {
    "np": ("load_forecast", "wind_forecast"),
    "pjm": ("system_load_forecast", "zonal_comed_load_forecast"),
    "de": ("load_forecast", "wind_pv_forecast"),
}
ENSEMBLES = ("dnn_ensemble", "lear_ensemble")
PEERS = ("lightgbm", "lightgbm_differenced", "nhits")


def market_panel(folder: Path, market: str) -> Panel:
    """One market: 52,416 hours, its two drivers known ahead."""
    known = tuple(Correction(name, role="known_future") for name in DRIVERS[market])
    roles = ColumnRoles(time="ds", target="y", series=("unique_id",), covariates=known)
    return panel_of((folder / f"epf_{market}.parquet").read_bytes(), roles)


def score_a(panel: Panel, task: Task, found: Forecasts) -> Scores:
    """Protocol A's scores over all hours, with coverage."""
    y, median = truth(panel, task), found.median
    rule = scores.mae(y, naive.similar_day(panel, task).median)
    error = scores.mae(y, median)
    point = {"MAE": error, "sMAPE": scores.smape(y, median), "RMSE": scores.rmse(y, median), "rMAE": error / rule}
    return {**point, **scores.coverages(y, found.quantiles, found.levels)}


def score_c(panel: Panel, task: Task, found: Forecasts) -> Scores:
    """Protocol C's MASE and SQL, each window scaled by everything before it."""
    y, scale = truth(panel, task), scores.scales(panel, 24, origins(panel, task))
    point = {"MASE": scores.mase(y, found.median, scale)}
    if found.quantiles is not None:
        point["SQL"] = scores.sql(y, found.quantiles, found.levels, scale)
    return {**point, **scores.coverages(y, found.quantiles, found.levels)}


def references(folder: Path, market: str) -> Mapping[str, NDArray[np.float64]]:
    """The published ensembles' forecasts of protocol A's hours, (728, 1, 24) each, and the mean of both."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(folder / f"epf_{market}_published_forecasts.parquet", columns=list(ENSEMBLES))
    found = {name: table[name].to_numpy().astype(np.float64).reshape(DAYS, 1, H) for name in ENSEMBLES}
    return {"mean of both ensembles": np.mean(list(found.values()), axis=0), **found}


def _task(
    name: str,
    market: str,
    days: int,
    score: Callable[[Panel, Task, Forecasts], Scores],
    rule: Callable[[Panel, Task], Forecasts],
) -> Task:
    return Task(
        name=name,
        read=lambda folder: market_panel(folder, market),
        horizon=H,
        season_length=24,
        stride=H,
        test_windows=days,
        score=score,
        naive=rule,
    )


def _row_a(market: str, *, floor: tuple[float, float], goal: tuple[float, float], stretch: float) -> Row:
    return Row(
        name=f"epf_{market}",
        title=f"EPF {market.upper()}, protocol A: 728 days, one forecast of 24 hours each midnight",
        tasks=(_task(f"epf_{market}", market, DAYS, score_a, naive.similar_day),),
        columns=("MAE", "sMAPE", "RMSE", "rMAE", "cov80", "cov90"),
        definition="MAE, RMSE, sMAPE (0..200) over all 17,472 hours; rMAE = MAE over that of the similar-day rule; "
        "p: Diebold-Mariano on daily sums of |error|, negative statistic = the row is better",
        aims=(
            Aim("floor", {"MAE": floor[0]}, floor[1]),
            Aim("goal", {"MAE": goal[0]}, goal[1]),
            Aim("stretch", {"MAE": stretch}),
        ),
        published=lambda folder: PAPERS.get(market, ()),
        references=lambda folder: references(folder, market),
        peers=PEERS,
    )


def _row_c(market: str, floor: float) -> Row:
    return Row(
        name=f"epf_{market}_c",
        title=f"EPF {market.upper()}, protocol C (fev-bench epf_{market}): last 20 days",
        tasks=(_task(f"epf_{market}_c", market, DAYS_C, score_c, naive.repeated(24)),),
        columns=("MASE", "SQL", "cov80", "cov90"),
        definition="MASE: m = 24, scaled on everything before each window; SQL: 2 x pinball at 0.1 .. 0.9 on the same "
        "scale; mean over 20 windows (standard error 0.05-0.17)",
        aims=(Aim("floor", {"MASE": floor}, 20.0),),
        published=lambda folder: fev.published(folder, f"epf_{market}"),
        peers=PEERS,
    )


PAPERS = {
    "np": tuple(
        Published(name, {"MAE": mae, "sMAPE": smape, "RMSE": rmse}, "NBEATSx README (cchallu/nbeatsx)")
        for name, mae, smape, rmse in (
            ("NBEATSx-G ensemble", 1.58, 4.63, 3.16),
            ("NBEATSx-I ensemble", 1.62, 4.70, 3.27),
        )
    )
}
ROWS = (
    _row_a("np", floor=(1.70, 15), goal=(1.60, 60), stretch=1.55),
    _row_a("pjm", floor=(3.00, 15), goal=(2.85, 60), stretch=2.78),
    _row_a("de", floor=(3.60, 30), goal=(3.40, 60), stretch=3.30),
    _row_c("np", 0.87),
    _row_c("pjm", 0.48),
    _row_c("de", 0.62),
)
