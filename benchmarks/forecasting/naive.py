"""The rules that everyone has to beat, in plain numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from forecasting.tasks import Forecasts, Task, origins
from mcp_forecast_engine.data.frame import Panel


def repeated(period: int) -> Callable[[Panel, Task], Forecasts]:
    """The last `period` values again and again (1: the last value)."""

    def rule(panel: Panel, task: Task) -> Forecasts:
        first = panel.offsets[:-1][None, :] + origins(panel, task) - period
        return Forecasts(panel.y[first[:, :, None] + np.arange(task.horizon) % period])

    return rule


def similar_day(panel: Panel, task: Task) -> Forecasts:
    """Hourly prices: Tuesday to Friday as the day before, Saturday to Monday as a week ago (Lago et al. 2021)."""
    first = panel.offsets[:-1][None, :] + origins(panel, task)
    weekday = (panel.ds[first] // 86_400 + 3) % 7
    back = np.where((weekday >= 1) & (weekday <= 4), 24, 168)
    return Forecasts(panel.y[(first - back)[:, :, None] + np.arange(task.horizon)])
