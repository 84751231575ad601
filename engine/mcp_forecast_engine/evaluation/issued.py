"""The intervals that an arm issued last, as values: what serving goes on with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mcp_forecast_engine.models.calibration import Spread
from mcp_forecast_engine.models.scaling import Transform
from mcp_forecast_engine.models.spec import QUANTILES


@dataclass(frozen=True)
class Intervals:
    """Conformal offsets for serving: (horizon, levels), their unit, the phase and residuals they come from.

    transform, spread: what one unit is (`models.calibration.Unit`). widening: the factor on the width that recent
    coverage asked for; already inside the offsets. lookback: the steps before an origin that a unit is measured on;
    None, in evaluations of releases before 0.4: all that the model reads. stillness: as in `models.scaling`.
    intermittent: steps are mostly zero, see `models.calibration.Unit`.
    """

    offsets: tuple[tuple[float, ...], ...]
    transform: Transform
    spread: Spread
    phase: int | None
    residuals: int
    widening: float
    lookback: int | None = None
    stillness: tuple[float, float] = (0.0, 0.0)
    intermittent: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "levels": list(QUANTILES),
            "offsets": [list(row) for row in self.offsets],
            "transform": self.transform,
            "spread": self.spread,
            "phase": self.phase,
            "residuals": self.residuals,
            "widening": self.widening,
            "lookback": self.lookback,
            "stillness": list(self.stillness),
            "intermittent": self.intermittent,
        }
