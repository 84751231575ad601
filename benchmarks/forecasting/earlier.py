"""Peers as they were run once with care on 2 cores, settings tried by hand: the figures a fresh peer run must face."""

from __future__ import annotations

from forecasting.tasks import Published, Scores


def _run(name: str, cpu_s: float, **figures: float) -> Published:
    return Published(name, dict(figures), f"run once on 2 cores, {cpu_s:g} CPU s")


def _tourism(name: str, cpu_s: float, yearly: float, quarterly: float, monthly: float) -> Published:
    scores: Scores = {"yearly sMAPE": yearly, "quarterly sMAPE": quarterly, "monthly sMAPE": monthly}
    return Published(name, scores, f"run once on 2 cores, {cpu_s:g} CPU s")


RUNS: dict[str, tuple[Published, ...]] = {
    "epf_np": (
        _run("NHITS, covariates", 143, MAE=1.862, sMAPE=5.49),
        _run("LightGBM, covariates, differenced", 93, MAE=2.204, sMAPE=6.54),
    ),
    "epf_pjm": (_run("NHITS, covariates", 86, MAE=3.395),),
    "m4_hourly": (
        _run("NHITS", 127, OWA=0.504, sMAPE=11.57, MASE=0.907),
        _run("LightGBM, differenced", 11, OWA=0.545, sMAPE=12.78, MASE=0.945),
        _run("MSTL", 84, OWA=0.604, sMAPE=13.76, MASE=1.102),
    ),
    "m4_weekly": (_run("LightGBM", 31, OWA=0.790), _run("AutoARIMA", 194, OWA=0.868)),
    "bike": (
        _run("LSTM, covariates", 269, MAE=41.4, RMSE=63.8),
        _run("LightGBM, covariates", 12, MAE=42.4, RMSE=67.7),
    ),
    "tourism": (
        _tourism("median of Theta, CES, ETS", 86, 20.13, 14.48, 18.35),
        _tourism("DynamicOptimizedTheta", 10, 20.13, 15.39, 20.28),
        _tourism("AutoCES", 4, 21.05, 15.10, 19.77),
        _tourism("AutoETS", 70, 21.47, 14.84, 19.09),
    ),
}
