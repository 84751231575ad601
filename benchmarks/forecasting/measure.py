"""A row measured: read, forecast, check, score, compare with published forecasts; the result as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from forecasting.dm import diebold_mariano
from forecasting.machine import cpu_seconds, machine_text, peak_rss_mb, versions
from forecasting.tasks import Floats, Forecasts, Row, Task, check, truth
from mcp_forecast_engine.data.frame import Panel

Entry = dict[str, Any]
Forecaster = Callable[[Panel, Task], Forecasts]


def measure(row: Row, folder: Path, forecaster: Forecaster, *, today: date) -> Entry:
    """All tasks of a row by one forecaster. Reading is counted apart; CPU seconds are what the forecaster says."""
    parts, cpu, reading, notes, peaks = {}, 0.0, 0.0, [], []
    against: dict[str, dict[str, float]] = {}
    for task in row.tasks:
        begun = cpu_seconds()
        panel = task.read(folder)
        reading += cpu_seconds() - begun
        found = forecaster(panel, task)
        check(panel, task, found)
        parts[task.name] = task.score(panel, task, found)
        cpu += found.cpu_s
        peaks.append(peak_rss_mb() if found.peak_rss_mb is None else found.peak_rss_mb)
        notes += [f"{task.name}: {note}" for note in found.notes]
        if row.references is not None:
            against = _against(row.references(folder), found.median, truth(panel, task))
    return {
        "scores": row.gather(parts),
        "cpu_s": round(cpu, 2),
        "read_cpu_s": round(reading, 2),
        "peak_rss_mb": round(max(peaks)),
        "against": against,
        "notes": notes,
        "date": today.isoformat(),
        "machine": machine_text(),
        "versions": versions(),
    }


def references(row: Row, folder: Path) -> dict[str, Entry]:
    """The published forecasts of a row scored by the same code, name → entry."""
    if row.references is None:
        return {}
    (task,) = row.tasks
    panel = task.read(folder)
    found = row.references(folder)
    y = truth(panel, task)
    return {
        name: {
            "scores": task.score(panel, task, Forecasts(median)),
            "against": _against({k: v for k, v in found.items() if k != name}, median, y),
            "source": "published forecasts, scored here",
        }
        for name, median in found.items()
    }


def _against(published: Mapping[str, Floats], median: Floats, y: Floats) -> dict[str, dict[str, float]]:
    """Diebold-Mariano on the windows' sums of |error|: against each published forecast."""
    own = _window_losses(median, y)
    found = {}
    for name, other in published.items():
        gap = diebold_mariano(own, _window_losses(other, y))
        found[name] = {"mae_less": gap.mean / y[0].size, "statistic": gap.statistic, "p_value": gap.p_value}
    return found


def _window_losses(median: Floats, y: Floats) -> Floats:
    return np.asarray(np.abs(median - y).sum(axis=(1, 2)), np.float64)
