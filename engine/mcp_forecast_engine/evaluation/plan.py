"""How a history is divided: what trains, what validates, what tests, and how often the models are fitted again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.frequency import parse_frequency
from mcp_forecast_engine.data.grid import stamp_at, steps_since
from mcp_forecast_engine.errors import HistoryTooShort

Integers = NDArray[np.int64]

MOST_WINDOWS = 60
ENOUGH_WINDOWS = 8
MANY_SERIES = 20
_SHORTER = ", or pass a `season_length` that the history holds (60 for minutes of an hour; 1: none)"
# Rows (series at an origin) that are enough to choose and to judge by, and steps of them that fit into memory.
_MOST_SCORED = 1_000
_MOST_STEPS = 1_000_000


@dataclass(frozen=True)
class BacktestPlan:
    """Rolling-origin windows, counted back from the last date of the panel, or from the end of every series.

    The last `test_windows` origins test, the `validation_windows` before them choose settings and the arm; origins are
    `stride` steps apart, the last one `ahead` steps before the end; 0: the horizon. residual_windows: how many past
    windows the intervals learn from. refits: how often a model is fitted again in the test part; None leaves it to the
    line-up of models, 0 tests what was fitted before the validation windows. validation_stride: steps between
    validation origins; 0: the same as in the test part. own_ends: windows are counted from the end of each series,
    whatever dates these are, as protocols of public collections ask for; else see `counts_own_ends`. baseline_season:
    steps that the baseline repeats and that MASE is scaled by, where they are not season_length (see `baseline`).
    """

    horizon: int
    season_length: int
    stride: int
    validation_windows: int
    test_windows: int
    refits: int | None = None
    validation_stride: int = 0
    ahead: int = 0
    own_ends: bool = False
    residual_windows: int = 60
    bootstrap_samples: int = 2_000
    seed: int = 20_121_102
    baseline_season: int = 0

    @property
    def reach(self) -> int:
        """Steps between the first validation origin and the end of the series."""
        return self.back(0)

    @property
    def scale_season(self) -> int:
        """Steps of the season that errors are measured by: that of the baseline."""
        return self.baseline_season or max(self.season_length, 1)

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
        test = (self.ahead or self.horizon) + (self.test_windows - 1) * self.stride
        if window >= self.validation_windows:
            return test - (window - self.validation_windows) * self.stride
        # The last validation window ends before the first test origin, on the same grid of strides.
        stride = self.validation_stride or self.stride
        gap = -(-self.horizon // self.stride) * self.stride
        return test + gap + (self.validation_windows - 1 - window) * stride

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; baseline_season only where it is another one."""
        return {name: value for name, value in asdict(self).items() if name != "baseline_season" or value}


def plan_for(
    panel: Panel, horizon: int, *, test_windows: int | None = None, validation_windows: int | None = None
) -> BacktestPlan:
    """Derive a plan from the length of a typical series, or say how many rows are needed.

    Up to 60 test and 60 validation windows, whole seasons apart and whole seasons before the end, so that they start
    where the forecast will start; closer together where the history is short and there are few series. Raises
    HistoryTooShort.
    """
    m, steps = max(panel.season_length, 1), int(np.median(panel.lengths)) if len(panel.lengths) else 0
    if steps < rows_needed(horizon, m):
        raise too_short(steps, horizon, m)
    room = steps // 4 if steps < 500 else steps // 5
    series = max(len(panel.lengths), 1)
    most = max(min(MOST_WINDOWS, _MOST_SCORED // series, _MOST_STEPS // (series * horizon)), 1)
    stride = _stride(horizon=horizon, season=m, room=room, series=len(panel.lengths))
    windows = min(_fitting(room, horizon, m, stride), most)
    test, validation = test_windows or windows, validation_windows or windows
    plan = _plan(horizon, m, stride, validation, test)
    while plan.need > steps and plan.windows > 2:
        test, validation = (test, validation - 1) if validation >= test and validation > 1 else (test - 1, validation)
        plan = _plan(horizon, m, stride, validation, test)
    return plan if plan.need <= steps else _plan(horizon, m, 1, 1, 1)


def rows_needed(horizon: int, season: int) -> int:
    """Rows of a typical series that a horizon needs: one window to choose by, one to test, and history before them."""
    return 2 * horizon + max(horizon, season) + 1


def longest_horizon(rows: int, season: int) -> int:
    """The longest horizon that this many rows can be tested at; 0: none."""
    return max(min((rows - season - 1) // 2, (rows - 1) // 3), 0)


def too_short(rows: int, horizon: int, season: int) -> HistoryTooShort:
    """The refusal of a horizon that the history cannot test, with the horizons and lengths that it could."""
    need, most, plain = rows_needed(horizon, season), longest_horizon(rows, season), longest_horizon(rows, 1)
    allowed: dict[str, Any] = {"rows": f"at least {need}"}
    if most:
        allowed["horizon"] = f"1 to {most}"
        advice = f"send {need} rows per series, or shorten the horizon" + (_SHORTER if season > horizon else "")
    else:
        advice = f"no horizon can be tested on {rows} rows with season {season}: send at least {need} rows per series"
        advice += f"; or pass `season_length=1`, with a horizon of at most {plain}" if plain and season > 1 else ""
    return HistoryTooShort(
        f"{rows} rows in a typical series; a horizon of {horizon} with season {season} needs {need}",
        field="horizon",
        allowed=allowed,
        next_step=advice,
    )


def origins_of(panel: Panel, plan: BacktestPlan) -> list[Integers]:
    """Steps of history per window and series, int64 (S) each, validation first; -1 where a series takes no part.

    A window is cut at one date for all series, counted back from the last date of the panel: what is fitted before it
    has seen no later value of any series. A series takes part if more than a horizon of history lies before the date,
    and the whole horizon after it. Where dates cannot be had, see `counts_own_ends`, windows are counted back from the
    end of each series. Integer time counts each series' own steps: equal numbers of two series need not be one time.
    """
    behind = np.zeros_like(panel.lengths) if counts_own_ends(panel, plan) else _behind(panel)
    return _origins(panel, plan, behind)


def cutoffs_of(panel: Panel, plan: BacktestPlan) -> list[Integers]:
    """Steps before the cutoff of every window, also of series that take no part in it, int64 (S) each."""
    behind = np.zeros_like(panel.lengths) if counts_own_ends(panel, plan) else _behind(panel)
    return [np.clip(panel.lengths + behind - plan.back(w), 0, panel.lengths) for w in range(plan.windows)]


def counts_own_ends(panel: Panel, plan: BacktestPlan) -> bool:
    """Whether windows are counted from the end of each series although these are dates apart.

    So it is where the plan asks for it, and where one date for all would leave a window without a series, or fewer than
    half of the series that are long enough tested.
    """
    behind = _behind(panel)
    if plan.own_ends or not behind.any():
        return bool(behind.any())
    dated, own = (_origins(panel, plan, one) for one in (behind, np.zeros_like(behind)))
    tested, could = (np.any(np.stack(found[plan.validation_windows :]) >= 0, axis=0).sum() for found in (dated, own))
    return bool(2 * tested < could) or not all(np.any(origin >= 0) for origin in dated)


def _origins(panel: Panel, plan: BacktestPlan, behind: Integers) -> list[Integers]:
    table = [panel.lengths + behind - plan.back(window) for window in range(plan.windows)]
    return [
        np.where((origin > plan.horizon) & (origin + plan.horizon <= panel.lengths), origin, -1) for origin in table
    ]


def _behind(panel: Panel) -> Integers:
    """Whole steps from the end of each series to the last date of the panel, int64 (S); 0 in integer time."""
    if panel.axis.kind == "integer" or np.any(panel.lengths < 1):
        return np.zeros_like(panel.lengths)
    step, ends = parse_frequency(panel.axis.freq), panel.ds[panel.offsets[1:] - 1]
    found = steps_since(ends, ends.max(), step)
    # Series may stand half a step apart: the nearest step must not lie after the date.
    return np.asarray(found - (stamp_at(ends, found, step) > ends.max()), np.int64)


def _plan(horizon: int, season: int, stride: int, validation: int, test: int) -> BacktestPlan:
    return BacktestPlan(
        horizon=horizon,
        season_length=season,
        stride=stride,
        validation_windows=validation,
        test_windows=test,
        ahead=_ahead(horizon, season, stride),
    )


def _ahead(horizon: int, season: int, stride: int) -> int:
    """Steps from the last origin to the end: whole seasons where the origins are whole seasons apart."""
    return horizon if stride % season else -(-horizon // season) * season


def _fitting(room: int, horizon: int, season: int, stride: int) -> int:
    return max((room - _ahead(horizon, season, stride)) // stride + 1, 1)


def _stride(*, horizon: int, season: int, room: int, series: int) -> int:
    """Whole seasons, no overlap; then single seasons; then a quarter of the horizon."""
    apart = -(-horizon // season) * season
    for stride in (apart, season if season < horizon else horizon, max(horizon // 4, 1)):
        least = 1 if series >= MANY_SERIES and stride <= room else ENOUGH_WINDOWS
        if _fitting(room, horizon, season, stride) >= least:
            return stride
    return max(horizon // 4, 1)
