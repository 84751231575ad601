"""One peer on one task, inside the peers' own environment: `python peers.py NAME GIVEN.npz FOUND.npz`.

It reads a task as arrays and writes point forecasts (W, S, horizon); it scores nothing. Settings are plain ones, the
same for every task: what a user gets who names horizon, season and covariates.
"""

from __future__ import annotations

import importlib
import json
import logging
import resource
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

SEED = 1


@dataclass(frozen=True)
class Given:
    """A task: its long table (a pandas frame, the test steps at each series' end) and its sizes."""

    table: Any
    freq: Any
    horizon: int
    season_length: int
    stride: int
    windows: int
    series: int
    validation: int
    known: list[str]
    static: list[str]

    def before_test(self) -> Any:
        """The rows before the only window; the classical models are run on one window only."""
        if self.windows > 1:
            raise SystemExit("this peer forecasts one window; the task has several")
        return self.table.groupby("unique_id", sort=False).head(-self.horizon)

    def arranged(self, found: Any, column: str) -> np.ndarray:
        """A peer's long answer as (W, S, horizon)."""
        by = ["cutoff", "unique_id", "ds"] if "cutoff" in found and self.windows > 1 else ["unique_id", "ds"]
        values = found.sort_values(by)[column].to_numpy(np.float64)
        return np.asarray(values.reshape(self.windows, self.series, self.horizon), np.float64)


def classical(given: Given, *, names: tuple[str, ...]) -> np.ndarray:
    """Models of statsforecast, the median of them where there are several."""
    from statsforecast import StatsForecast, models

    m = given.season_length
    table = {
        "seasonal_naive": lambda: models.SeasonalNaive(m),
        "theta": lambda: models.DynamicOptimizedTheta(season_length=m),
        "ces": lambda: models.AutoCES(season_length=m),
        "ets": lambda: models.AutoETS(season_length=m),
        "arima": lambda: models.AutoARIMA(season_length=m),
        "mstl": lambda: models.MSTL(season_length=[m, 7 * m], trend_forecaster=models.AutoETS(model="ZZN")),
    }
    made = [table[name]() for name in names]
    engine = StatsForecast(models=made, freq=given.freq, fallback_model=models.SeasonalNaive(m), n_jobs=1)
    found = engine.forecast(df=given.before_test()[["unique_id", "ds", "y"]], h=given.horizon)
    return np.asarray(np.median([given.arranged(found, str(model)) for model in made], axis=0), np.float64)


def boosting(given: Given, *, differenced: bool) -> np.ndarray:
    """LightGBM over lags of the target or of its seasonal difference, recursive, with every covariate (mlforecast)."""
    from lightgbm import LGBMRegressor
    from mlforecast import MLForecast
    from mlforecast.target_transforms import Differences, LocalStandardScaler

    m = given.season_length
    long = int(given.table.groupby("unique_id", sort=False).size().min()) - given.horizon * given.windows
    # No difference of a year where the shortest series hardly has one.
    step = m if 3 * m < long else 1
    lags = sorted({*range(1, min(max(m, 13), long // 2) + 1), *(k * m for k in range(2, 8) if k * m < long // 2)})
    model = LGBMRegressor(n_estimators=200, learning_rate=0.05, random_state=SEED, verbose=-1)
    dates = {"h": ["dayofweek", "hour"], "W-FRI": ["week"]}
    scaled = [*([Differences([step])] if differenced else []), LocalStandardScaler()]
    engine = MLForecast(
        {"lightgbm": model}, given.freq, lags=lags, target_transforms=scaled, date_features=dates.get(given.freq)
    )
    found = engine.cross_validation(
        given.table, n_windows=given.windows, h=given.horizon, step_size=given.stride, refit=False,
        static_features=given.static,
    )  # fmt: skip
    return given.arranged(found, "lightgbm")


def network(given: Given, *, kind: str, steps: int) -> np.ndarray:
    """A network of neuralforecast with known-future covariates, every series scaled by its own mean and deviation."""
    import neuralforecast.models as models
    from neuralforecast import NeuralForecast

    week = 7 * given.season_length if given.season_length > 1 else 4 * given.horizon
    common = {
        "h": given.horizon, "input_size": max(week, 2 * given.horizon), "max_steps": steps, "random_seed": SEED,
        "futr_exog_list": given.known or None, "scaler_type": "identity", "alias": kind,
        "enable_progress_bar": False, "logger": False, "enable_checkpointing": False,
        "early_stop_patience_steps": 5 if given.validation else -1,
    }  # fmt: skip
    engine = NeuralForecast([getattr(models, kind)(**common)], freq=given.freq, local_scaler_type="standard")
    table = given.table[["unique_id", "ds", "y", *given.known]]
    found = engine.cross_validation(
        table, n_windows=given.windows, step_size=given.stride, refit=False, val_size=given.validation
    )
    return given.arranged(found, kind)


PEERS: dict[str, tuple[tuple[str, ...], Callable[[Given], np.ndarray]]] = {
    **{
        name: (("statsforecast", "statsforecast.models"), partial(classical, names=(name,)))
        for name in ("seasonal_naive", "theta", "ces", "ets", "arima", "mstl")
    },
    "median_of_three": (("statsforecast", "statsforecast.models"), partial(classical, names=("theta", "ces", "ets"))),
    "lightgbm": (("lightgbm", "mlforecast"), partial(boosting, differenced=False)),
    "lightgbm_differenced": (("lightgbm", "mlforecast"), partial(boosting, differenced=True)),
    "nhits": (("torch", "neuralforecast"), partial(network, kind="NHITS", steps=1_000)),
    "lstm": (("torch", "neuralforecast"), partial(network, kind="LSTM", steps=1_000)),
}


def read_given(path: Path) -> Given:
    """The task that the caller wrote."""
    import pandas as pd

    with np.load(path, allow_pickle=False) as arrays:
        meta = json.loads(str(arrays["meta"]))
        lengths = np.diff(arrays["offsets"])
        ds = arrays["ds"]
        table = pd.DataFrame({
            # Numbered, so that every library sorts series as the caller does.
            "unique_id": np.repeat([f"{s:06d}" for s in range(len(lengths))], lengths),
            "ds": pd.to_datetime(ds, unit="s") if meta["calendar"] else ds,
            "y": arrays["y"],
            **{name: arrays[f"x_{name}"] for name in (*meta["known"], *meta["static"])},
        })  # fmt: skip
    return Given(
        table=table,
        freq=meta["freq"] if meta["calendar"] else int(meta["freq"]),
        horizon=meta["horizon"],
        season_length=meta["season_length"],
        stride=meta["stride"],
        windows=meta["test_windows"],
        series=len(lengths),
        validation=(meta["choose_rows"] or 0) - (meta["fit_rows"] or 0),
        known=meta["known"],
        static=meta["static"],
    )


def main() -> None:
    """Read, forecast with the clock running, write."""
    name, given_path, found_path = sys.argv[1:]
    warnings.simplefilter("ignore")
    for logger in ("lightning.pytorch", "pytorch_lightning", "lightning_fabric"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    modules, forecaster = PEERS[name]
    given = read_given(Path(given_path))
    for module in modules:  # imports are not counted, here as for ours
        importlib.import_module(module)
    begun = _cpu_seconds()
    median = forecaster(given)
    used = _cpu_seconds() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    installed = ", ".join(f"{module} {metadata.version(module)}" for module in modules if "." not in module)
    np.savez(found_path, median=median, meta=json.dumps({"cpu_s": used, "peak_rss_mb": peak, "versions": installed}))


def _cpu_seconds() -> float:
    parts = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)


if __name__ == "__main__":
    main()
