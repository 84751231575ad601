"""The shape of a panel: how many series and steps there are to learn from, and how far the future is known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.profile import time_text


@dataclass(frozen=True)
class PanelShape:
    """Extent of a panel.

    steps: of all series together; filled: those of them that were not measured. shortest, longest: steps of a series.
    start, end: first and last step with a target, ISO 8601 or the step number. future_steps: steps after it for which
    every known-future covariate is given.
    """

    freq: str
    season_length: int
    series_count: int
    steps: int
    filled: int
    shortest: int
    longest: int
    start: str
    end: str
    future_steps: int

    def to_dict(self) -> dict[str, Any]:
        """The shape as JSON values."""
        return asdict(self)


def shape_of(panel: Panel) -> PanelShape:
    """The shape of a panel."""
    return PanelShape(
        freq=panel.axis.freq,
        season_length=panel.season_length,
        series_count=len(panel.unique_id),
        steps=len(panel.y),
        filled=int((~panel.observed).sum()),
        shortest=int(panel.lengths.min()),
        longest=int(panel.lengths.max()),
        start=time_text(int(panel.ds.min()), panel.axis),
        end=time_text(int(panel.ds.max()), panel.axis),
        future_steps=int(panel.future_ds.shape[1]),
    )
