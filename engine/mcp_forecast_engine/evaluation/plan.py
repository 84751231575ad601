"""How a history is divided: what trains, what validates, what tests, and how often the models are fitted again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort

Integers = NDArray[np.int64]

MOST_WINDOWS = 60
ENOUGH_WINDOWS = 8
MANY_SERIES = 20
_SHORTER = ", or pass a season_length that the history holds (60 for minutes of an hour; 1: none)"
# Rows (series at an origin) that are enough to choose and to judge by, and steps of them that fit into memory.
_MOST_SCORED = 1_000
_MOST_STEPS = 1_000_000


@dataclass(frozen=True)
class BacktestPlan:
    """Rolling-origin windows, counted back from the end of every series.

    The last `test_windows` origins test, the `validation_windows` before them choose settings and the arm; origins are
    `stride` steps apart. residual_windows: how many past windows the intervals learn from. refits: how often a model is
    fitted again in the test part; None leaves it to the line-up of models, 0 tests what was fitted before the
    validation windows. validation_stride: steps between validation origins; 0: the same as in the test part.
    """

    horizon: int
    season_length: int
    stride: int
    validation_windows: int
    test_windows: int
    refits: int | None = None
    validation_stride: int = 0
    residual_windows: int = 60
    bootstrap_samples: int = 2_000
    seed: int = 20_121_102

    @property
    def reach(self) -> int:
        """Steps between the first validation origin and the end of the series."""
        return self.back(0)

    @property
    def windows(self) -> int:
        """Validation and test windows together."""
        return self.validation_windows + self.test_windows

    @property
    def need(self) -> int:
        """Rows of a typical series: more than a season, and more than a horizon, lie before its first origin."""
        return self.reach + max(self.horizon, self.season_length) + 1

    def back(self, window: int) -> int:
        """Steps from the origin of a window (0: first validation window) to the end of the series."""
        test = self.horizon + (self.test_windows - 1) * self.stride
        if window >= self.validation_windows:
            return test - (window - self.validation_windows) * self.stride
        # The last validation window ends before the first test origin, on the same grid of strides.
        stride = self.validation_stride or self.stride
        gap = -(-self.horizon // self.stride) * self.stride
        return test + gap + (self.validation_windows - 1 - window) * stride

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def plan_for(
    panel: Panel, horizon: int, *, test_windows: int | None = None, validation_windows: int | None = None
) -> BacktestPlan:
    """Derive a plan from the length of a typical series, or say how many rows are needed.

    Up to 60 test and 60 validation windows, whole seasons apart so that they start where the forecast will start;
    closer together where the history is short and there are few series. Raises HistoryTooShort.
    """
    m, steps = max(panel.season_length, 1), int(np.median(panel.lengths)) if len(panel.lengths) else 0
    need = 2 * horizon + max(horizon, m) + 1
    if steps < need:
        raise HistoryTooShort(
            f"{steps} rows in a typical series; a horizon of {horizon} with season {m} needs {need}",
            field="horizon",
            allowed={"rows": need, "horizon": max(min((steps - m - 1) // 2, (steps - 1) // 3), 0)},
            next_step=f"send {need} rows per series, or shorten the horizon" + (_SHORTER if m > horizon else ""),
        )
    room = steps // 4 if steps < 500 else steps // 5
    series = max(len(panel.lengths), 1)
    most = max(min(MOST_WINDOWS, _MOST_SCORED // series, _MOST_STEPS // (series * horizon)), 1)
    stride = _stride(horizon=horizon, season=m, room=room, series=len(panel.lengths))
    windows = min(_fitting(room, horizon, stride), most)
    test, validation = test_windows or windows, validation_windows or windows
    plan = _plan(horizon, m, stride, validation, test)
    while plan.need > steps and plan.windows > 2:
        test, validation = (test, validation - 1) if validation >= test and validation > 1 else (test - 1, validation)
        plan = _plan(horizon, m, stride, validation, test)
    return plan if plan.need <= steps else _plan(horizon, m, 1, 1, 1)


def origins_of(panel: Panel, plan: BacktestPlan) -> list[Integers]:
    """Steps of history per window and series, int64 (S) each, validation first; -1 where a series is too short.

    A series takes part in a window if more than a horizon of history lies before the origin.
    """
    table = [panel.lengths - plan.back(window) for window in range(plan.windows)]
    return [np.where(origin > plan.horizon, origin, -1) for origin in table]


def _plan(horizon: int, season: int, stride: int, validation: int, test: int) -> BacktestPlan:
    return BacktestPlan(
        horizon=horizon,
        season_length=season,
        stride=stride,
        validation_windows=validation,
        test_windows=test,
    )


def _fitting(room: int, horizon: int, stride: int) -> int:
    return max((room - horizon) // stride + 1, 1)


def _stride(*, horizon: int, season: int, room: int, series: int) -> int:
    """Whole seasons, no overlap; then single seasons; then a quarter of the horizon."""
    apart = -(-horizon // season) * season
    for stride in (apart, season if season < horizon else horizon, max(horizon // 4, 1)):
        if _fitting(room, horizon, stride) >= (1 if series >= MANY_SERIES and stride <= room else ENOUGH_WINDOWS):
            return stride
    return max(horizon // 4, 1)
