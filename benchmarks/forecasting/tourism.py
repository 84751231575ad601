"""Tourism (Athanasopoulos et al. 2011): 1,311 short series, yearly, quarterly and monthly."""

from __future__ import annotations

from pathlib import Path

from forecasting import naive, scores
from forecasting.panels import panel_of, table_bytes
from forecasting.tasks import Aim, Forecasts, Row, Scores, Task, origins, truth
from mcp_forecast_engine.data.columns import ColumnRoles
from mcp_forecast_engine.data.frame import Panel

GROUPS = {"yearly": (4, 1), "quarterly": (8, 4), "monthly": (24, 12)}  # horizon, season


def tourism_panel(folder: Path, group: str) -> Panel:
    """The series of one frequency, integer time; the season declared."""
    import pyarrow.compute as pc
    import pyarrow.parquet as parquet

    table = parquet.read_table(folder / "tourism.parquet")
    table = table.filter(pc.equal(table["period"], group)).select(["unique_id", "ds", "y"])
    roles = ColumnRoles(time="ds", target="y", series=("unique_id",))
    return panel_of(table_bytes(table), roles, GROUPS[group][1])


def score(panel: Panel, task: Task, found: Forecasts) -> Scores:
    """sMAPE and MASE per series, then the mean over series; and coverage."""
    y = truth(panel, task)
    scale = scores.scales(panel, task.season_length, origins(panel, task))
    point = {"sMAPE": scores.smape(y, found.median), "MASE": scores.mase(y, found.median, scale)}
    return {**point, **scores.coverages(y, found.quantiles, found.levels)}


def _task(group: str) -> Task:
    horizon, season = GROUPS[group]
    return Task(
        name=group,
        read=lambda folder: tourism_panel(folder, group),
        horizon=horizon,
        season_length=season,
        score=score,
        naive=naive.repeated(season),
    )


def _by_group(yearly: float, quarterly: float, monthly: float) -> dict[str, float]:
    return {"yearly sMAPE": yearly, "quarterly sMAPE": quarterly, "monthly sMAPE": monthly}


ROWS = (
    Row(
        name="tourism",
        title="Tourism, 518 yearly, 427 quarterly, 366 monthly series",
        tasks=tuple(_task(group) for group in GROUPS),
        columns=tuple(f"{group} {name}" for name in ("sMAPE", "MASE") for group in GROUPS),
        definition="sMAPE (0..200) and MASE (m = 1 / 4 / 12) per series, then the mean over the series of a group",
        aims=(
            Aim("floor", _by_group(20.4, 14.6, 18.5), 40),
            Aim("goal", _by_group(20.0, 14.2, 18.0), 90),
            Aim("stretch", _by_group(19.5, 13.9, 17.7)),
        ),
        peers=("theta", "ces", "ets", "median_of_three"),
    ),
)
