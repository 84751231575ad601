"""M4, hourly and weekly (Makridakis et al. 2020): every series once, scored by the competition's own rules."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from forecasting import naive, scores
from forecasting.panels import panel_of
from forecasting.tasks import Aim, Forecasts, Published, Row, Scores, Task, origins, truth
from mcp_forecast_engine.data.columns import ColumnRoles
from mcp_forecast_engine.data.frame import Panel

# Naive2's sMAPE and MASE, which OWA divides by ("Benchmarks and Evaluation.R" of the competition).
NAIVE2 = {"hourly": (18.383, 2.395), "weekly": (9.161, 2.777)}
BENCHMARKS = {
    "hourly": (("Theta", 1.006, 18.138, 2.455), ("sNaive", 0.628, 13.912, 1.193), ("Naive2", 1.0, 18.383, 2.395)),
    "weekly": (("Theta", 0.971, 9.093, 2.637), ("sNaive", 1.0, 9.161, 2.777), ("Naive2", 1.0, 9.161, 2.777)),
}
OFFICIAL = "M4 Evaluation and Ranks.xlsx"


def m4_panel(folder: Path, part: str, season_length: int) -> Panel:
    """All series, integer time 1 .. n with the test steps at the end; the season declared."""
    roles = ColumnRoles(time="ds", target="y", series=("unique_id",), drop=("split",))
    return panel_of((folder / f"m4_{part}.parquet").read_bytes(), roles, season_length)


def score(part: str, season: int) -> Callable[[Panel, Task, Forecasts], Scores]:
    """OWA, sMAPE and MASE with the competition's season, and coverage."""

    def figures(panel: Panel, task: Task, found: Forecasts) -> Scores:
        y = truth(panel, task)
        error = scores.smape(y, found.median)
        scaled = scores.mase(y, found.median, scores.scales(panel, season, origins(panel, task)))
        owa = (error / NAIVE2[part][0] + scaled / NAIVE2[part][1]) / 2
        return {"OWA": owa, "sMAPE": error, "MASE": scaled, **scores.coverages(y, found.quantiles, found.levels)}

    return figures


def official(folder: Path, part: str, *, most: int = 6) -> tuple[Published, ...]:
    """The best official entries by OWA, and three of the competition's benchmarks."""
    with (folder / "refs_m4_official.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["frequency"].lower() == part and row["OWA"]]
    rows.sort(key=lambda row: float(row["OWA"]))
    entries = [(row["team"], float(row["OWA"]), float(row["sMAPE"]), float(row["MASE"])) for row in rows[:most]]
    return tuple(
        Published(name, {"OWA": owa, "sMAPE": smape, "MASE": mase}, OFFICIAL)
        for name, owa, smape, mase in (*entries, *BENCHMARKS[part])
    )


def _row(part: str, horizon: int, season: int, aims: tuple[Aim, ...], peers: tuple[str, ...]) -> Row:
    task = Task(
        name=f"m4_{part}",
        read=lambda folder: m4_panel(folder, part, season),
        horizon=horizon,
        season_length=season,
        score=score(part, season),
        naive=naive.repeated(season),
    )
    return Row(
        name=f"m4_{part}",
        title=f"M4 {part}, every series, {horizon} steps",
        tasks=(task,),
        columns=("OWA", "sMAPE", "MASE", "cov80", "cov90"),
        definition=f"sMAPE (0..200) and MASE (m = {season}) per series, then the mean over series; OWA = mean of both "
        f"over Naive2's {NAIVE2[part][0]} and {NAIVE2[part][1]}",
        aims=aims,
        published=lambda folder: official(folder, part),
        peers=peers,
    )


ROWS = (
    _row(
        "hourly", 48, 24,
        (Aim("floor", {"OWA": 0.49}, 5), Aim("goal", {"OWA": 0.425}, 60), Aim("stretch", {"OWA": 0.40})),
        ("lightgbm", "lightgbm_differenced", "ces", "theta", "mstl", "nhits"),
    ),
    _row(
        "weekly", 13, 1,
        (Aim("floor", {"OWA": 0.74}, 10), Aim("goal", {"OWA": 0.69}, 25), Aim("stretch", {"OWA": 0.67})),
        ("lightgbm", "lightgbm_differenced", "ces", "theta", "arima"),
    ),
)  # fmt: skip
