"""ETTh1 (Zhou et al. 2021): seven transformer series, four horizons, a window at every hour, fitted once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from forecasting import naive, scores
from forecasting.panels import panel_of
from forecasting.tasks import Aim, Forecasts, Published, Row, Scores, Task, truth
from mcp_forecast_engine.data.columns import ColumnRoles
from mcp_forecast_engine.data.frame import Panel

# Months of 30 days: 12 to fit, 4 to choose, 4 to test.
FIT, CHOOSE, END = 8_640, 11_520, 14_400
HORIZONS = (96, 192, 336, 720)
COLUMNS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")


def etth_panel(folder: Path) -> Panel:
    """The seven columns as seven series, up to the last test row, in their own units."""
    panel = panel_of((folder / "ETTh1.csv.gz").read_bytes(), ColumnRoles(time="date", wide=COLUMNS))
    keep = np.concatenate([np.arange(start, start + END) for start in panel.offsets[:-1]])
    return replace(
        panel,
        offsets=np.arange(len(panel.unique_id) + 1, dtype=np.int64) * END,
        ds=panel.ds[keep],
        y=panel.y[keep],
        observed=panel.observed[keep],
        covariates={name: values[keep] for name, values in panel.covariates.items()},
    )


def spread(panel: Panel) -> np.ndarray:
    """Standard deviation of each series over the rows that fit, (S): the unit of the scores."""
    return np.array([panel.y[start : start + FIT].std() for start in panel.offsets[:-1]])


def score(panel: Panel, task: Task, found: Forecasts) -> Scores:
    """MSE and MAE of z-scored values; the mean cancels, so that the spread of the fit rows is all it takes."""
    unit = spread(panel)[None, :, None]
    y, median = truth(panel, task) / unit, found.median / unit
    point = {"MSE": scores.mse(y, median), "MAE": scores.mae(y, median)}
    return {**point, **scores.coverages(y * unit, found.quantiles, found.levels)}


def gather(parts: Mapping[str, Scores]) -> Scores:
    """Each horizon's scores, and their means over the horizons."""
    names = [name for name in ("MSE", "MAE") if all(name in part for part in parts.values())]
    means = {f"mean {name}": float(np.mean([part[name] for part in parts.values()])) for name in names}
    return {**means, **{f"{name} {task}": value for task, part in parts.items() for name, value in part.items()}}


def _task(horizon: int) -> Task:
    return Task(
        name=str(horizon),
        read=etth_panel,
        horizon=horizon,
        season_length=24,
        stride=1,
        test_windows=END - CHOOSE - horizon + 1,
        fit_rows=FIT,
        choose_rows=CHOOSE,
        score=score,
        naive=naive.repeated(24),
    )


def _paper(name: str, source: str, *errors: tuple[float, float]) -> Published:
    by_horizon = zip(HORIZONS, errors, strict=True)
    return Published(name, gather({str(h): {"MSE": mse, "MAE": mae} for h, (mse, mae) in by_horizon}), source)


PAPERS = (
    _paper("PatchTST/64", "yuqinie98/PatchTST table 3", (0.370, 0.400), (0.413, 0.429), (0.422, 0.440), (0.447, 0.468)),
    _paper("DLinear", "cure-lab/LTSF-Linear", (0.375, 0.399), (0.405, 0.416), (0.439, 0.443), (0.472, 0.490)),
    _paper("NLinear", "cure-lab/LTSF-Linear", (0.374, 0.394), (0.408, 0.415), (0.429, 0.427), (0.440, 0.453)),
    Published("TimeXer, lookback 96", {"mean MSE": 0.437, "mean MAE": 0.437}, "thuml/TimeXer Result_Multivariate"),
)
ROWS = (
    Row(
        name="etth1",
        title="ETTh1, 7 series, windows at every hour, horizons 96 / 192 / 336 / 720",
        tasks=tuple(_task(horizon) for horizon in HORIZONS),
        columns=("mean MSE", "mean MAE", *(f"MSE {h}" for h in HORIZONS)),
        definition="MSE and MAE over 7 series z-scored with rows 0 .. 8,639, fitted on those rows only, chosen on rows "
        ".. 11,519, every window of rows 11,520 .. 14,399; mean over four horizons",
        aims=(
            Aim("floor", {"mean MSE": 0.410}, 10),
            Aim("goal", {"mean MSE": 0.400}, 60),
            Aim("stretch", {"mean MSE": 0.395}),
        ),
        gather=gather,
        published=lambda folder: PAPERS,
        peers=("nhits",),
    ),
)
