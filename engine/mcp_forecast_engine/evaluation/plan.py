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
_MOST_SCORED = 20_000
_REFITS = 12


@dataclass(frozen=True)
class BacktestPlan:
    """Rolling-origin windows, counted back from the end of every series.

    The last `test_windows` origins test, the `validation_windows` before them choose settings and the arm; origins are
    `stride` steps apart. Models are refitted on everything before the origin at every `refit_every`-th window and
    only forecast in between. residual_windows: how many past windows the intervals learn from.
    """

    horizon: int
    season_length: int
    stride: int
    validation_windows: int
    test_windows: int
    refit_every: int
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
        """Rows a series needs to take part in every window."""
        return self.reach + self.horizon + max(self.season_length, 1)

    def back(self, window: int) -> int:
        """Steps from the origin of a window (0: first validation window) to the end of the series."""
        test = self.horizon + (self.test_windows - 1) * self.stride
        if window >= self.validation_windows:
            return test - (window - self.validation_windows) * self.stride
        # The last validation window ends before the first test origin, on the same grid of strides.
        gap = -(-self.horizon // self.stride) * self.stride
        return test + gap + (self.validation_windows - 1 - window) * self.stride

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
    need = 3 * horizon + m
    if steps < need:
        raise HistoryTooShort(
            f"{steps} rows in a typical series; a horizon of {horizon} with season {m} needs {need}",
            field="horizon",
            allowed={"rows": need, "horizon": max((steps - m) // 3, 0)},
            next_step=f"send {need} rows per series, or shorten the horizon",
        )
    room = steps // 4 if steps < 500 else steps // 5
    most = max(min(MOST_WINDOWS, _MOST_SCORED // max(len(panel.lengths), 1)), 1)
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

    A series takes part in a window if a season and a horizon of history lie before the origin.
    """
    least = plan.horizon + max(plan.season_length, 1)
    table = [panel.lengths - plan.back(window) for window in range(plan.windows)]
    return [np.where(origin >= least, origin, -1) for origin in table]


def _plan(horizon: int, season: int, stride: int, validation: int, test: int) -> BacktestPlan:
    return BacktestPlan(
        horizon=horizon,
        season_length=season,
        stride=stride,
        validation_windows=validation,
        test_windows=test,
        refit_every=-(-max(validation, test) // _REFITS),
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
