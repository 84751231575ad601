"""What the direct ridge was told to be: its settings as a value, its units, the columns it reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.scaling import TINY, Stillness, Transform, Yardstick
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.windows import earlier_targets

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Member = tuple[float, float]
Units = Literal["window", "level", "training"]


@dataclass(frozen=True)
class Recipe:
    """The settings of a direct ridge.

    transform: of the target. units: "window", level and spread of each lookback; "level", level of its last season and
    a constant spread of each series; "training", constant level and spread of each series. aligned: one set of weights
    per phase of the season, or one for all. members: (recent part of the history up to 1, or number of recent seasons
    above 1; penalty), whose weights are averaged. future_penalty: the part of the penalty that columns of future
    covariates carry. local: the penalty on each series' own departure from the pooled weights; None: no weights of
    their own. lookback: steps; 0: as specified. naive_share: how much of a seasonal naive with naive_period is
    mixed in. drift: whether constants may say that levels move. seasons: weights shared by all places of a season, see
    `SeasonRidge`.
    """

    transform: Transform = "identity"
    units: Units = "window"
    aligned: bool = False
    members: tuple[Member, ...] = ((1.0, 1.0),)
    future_penalty: float = 1.0
    local: float | None = None
    lookback: int = 0
    naive_period: int = 0
    naive_share: float = 0.0
    drift: bool = True
    seasons: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Recipe:
        """Read settings; what they leave out is as the default says."""
        known = {name: value for name, value in settings.items() if name in cls.__dataclass_fields__}
        if "members" in known:
            known["members"] = tuple((float(part), float(penalty)) for part, penalty in known["members"])
        return cls(**known)

    def settings(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "members": [list(member) for member in self.members]}

    def spec(self, spec: ForecastSpec) -> ForecastSpec:
        """The question with this recipe's lookback."""
        return replace(spec, lookback=self.lookback) if self.lookback else spec

    def yardstick(self, panel: Panel, spec: ForecastSpec) -> Yardstick:
        """The constants of its units, measured on a training panel."""
        lookback = self.lookback or spec.lookback
        # A longer lookback is measured on the same steps, so that it holds the shorter one's columns.
        recent = spec.lookback if self.units == "window" and lookback > spec.lookback else 0
        stillness = Stillness.of(earlier_targets(panel, recent or lookback, panel.lengths), self.transform)
        if self.units == "window":
            return Yardstick(recent=recent, stillness=stillness)
        series = [panel.y[start:end] for start, end in zip(panel.offsets[:-1], panel.offsets[1:], strict=True)]
        level, spread = np.array([_constants(y) for y in series]).T
        if self.units == "level":
            steps = max(min(spec.season_length, spec.lookback), 1)
            return Yardstick(spread=spread, recent=steps, stillness=stillness)
        return Yardstick(level=level, spread=spread, stillness=stillness)


def _constants(y: Floats) -> tuple[float, float]:
    """Level and spread of a whole series, which spikes do not move; a spread of 0 where there is nothing to measure."""
    if not len(y):
        return 0.0, 0.0
    level = float(np.median(y))
    spread = 1.4826 * float(np.median(np.abs(y - level)))
    return level, next((s for s in (spread, float(y.std()), abs(level)) if s > TINY), 0.0)


def units_to_try(spec: ForecastSpec, steps: Integers, asked: Settings) -> list[tuple[Transform, Units]]:
    """Transforms and units that suit a panel; steps: int64 (S), the history of each series to learn from.

    A spread that is a constant of each series is a better measure than one lookback's where the history is much longer
    than that; a constant level suits a single series alone, others drift apart.
    """
    bent: tuple[Transform, ...] = ("root", "log") if spec.nonnegative else ()
    found: list[tuple[Transform, Units]] = [("identity", "window"), *((t, "window") for t in bent), ("asinh", "window")]
    if len(steps) <= MOST_NAMED and np.median(steps) >= LONG * (spec.lookback + spec.horizon):
        found.append(("identity", "level"))
    if len(steps) == 1:
        found.append(("asinh", "training"))
    fixed = {name: asked[name] for name in ("transform", "units") if name in asked}
    kept = [pair for pair in found if all(pair[name == "units"] == value for name, value in fixed.items())]
    return kept or [(cast(Transform, fixed.get("transform", "identity")), cast(Units, fixed.get("units", "window")))]


# Series whose names a file may carry for constants of their own, and histories that are long beside a lookback.
MOST_NAMED, LONG = 2_000, 4
