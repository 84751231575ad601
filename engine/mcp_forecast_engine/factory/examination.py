"""What running an exported model showed; who runs it is given to the factory, which does not serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mcp_forecast_engine.data.frame import Panel


@dataclass(frozen=True)
class Factor:
    """What moves the forecasts, and its share (0 to 1) of all that does: means of absolute contributions."""

    name: str
    kind: str
    share: float


@dataclass(frozen=True)
class Examination:
    """factors: the one that moves most first, over `series` series. latency_ms: of one series, median."""

    factors: tuple[Factor, ...]
    series: int
    latency_ms: float

    def explanation(self) -> dict[str, Any]:
        """The factors as a document, which is the same every time."""
        return {
            "schema_version": "explanation.v1",
            "method": "Shapley values of the exported model's medians, the recent history first; shares of the mean "
            "absolute contribution over the last horizon of the explained series",
            "series": self.series,
            "factors": [{"name": f.name, "kind": f.kind, "share": f.share} for f in self.factors],
        }


Examine = Callable[[bytes, Panel, int], Examination]
