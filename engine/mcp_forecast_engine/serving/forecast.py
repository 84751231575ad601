"""A loaded model, a panel and its future covariates become a forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import CovariatesMismatch
from mcp_forecast_engine.evaluation.progress import OnProgress, Progress
from mcp_forecast_engine.models.contract import Contract
from mcp_forecast_engine.models.features import tail_of
from mcp_forecast_engine.serving.categories import recoded
from mcp_forecast_engine.serving.session import ModelSession

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BATCH = 128


@dataclass(frozen=True)
class Forecast:
    """Quantiles for the steps after the end of S series.

    ds: int64 (S, horizon), as in Panel. levels: as the model was trained, ascending. quantiles: (S, horizon, levels).
    """

    unique_id: tuple[str, ...]
    ds: Integers
    levels: tuple[float, ...]
    quantiles: Floats

    @property
    def median(self) -> Floats:
        """The point forecast, (S, horizon)."""
        return self.at(0.5)

    @property
    def mean(self) -> Floats:
        """The expectation, (S, horizon): every quantile for the part of probability nearest to its level."""
        levels = np.array(self.levels)
        edges = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [1.0]])
        return np.asarray(self.quantiles @ np.diff(edges), np.float64)

    @property
    def mostly_silent(self) -> bool:
        """Whether at most steps the median is zero although something may come: then only means add up to a sum."""
        return bool(((self.median == 0) & (self.quantiles[:, :, -1] > 0)).mean() >= 0.5)

    def at(self, level: float) -> Floats:
        """One quantile, (S, horizon)."""
        return self.quantiles[:, :, self.levels.index(level)]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, in the order of the series."""
        return {
            "unique_id": list(self.unique_id),
            "ds": self.ds.tolist(),
            "levels": list(self.levels),
            "quantiles": self.quantiles.tolist(),
        }


def forecast(
    session: ModelSession,
    panel: Panel,
    *,
    on_progress: OnProgress | None = None,
) -> Forecast:
    """Forecast from the end of every series of the panel, in batches; what `on_progress` raises ends it between them.

    Raises CovariatesMismatch, naming columns and rows, where the panel does not fit the model's contract.
    """
    contract = session.contract
    _require_axis(panel, contract)
    inputs, ds = tail_of(recoded(panel, contract.categories), contract.layout)
    size = len(inputs)
    progress = Progress(-(-size // BATCH), on_progress)
    found = []
    for start in range(0, size, BATCH):
        found.append(session.run(inputs if size <= BATCH else inputs.take(slice(start, start + BATCH))))
        progress.step(f"{min(start + BATCH, size)} of {size} series")
    return Forecast(
        unique_id=panel.unique_id,
        ds=ds,
        levels=contract.levels,
        quantiles=found[0] if len(found) == 1 else np.concatenate(found),
    )


def _require_axis(panel: Panel, contract: Contract) -> None:
    if panel.axis != contract.layout.axis:
        raise CovariatesMismatch(
            f"the data steps by {panel.axis.freq} ({panel.axis.kind}), "
            f"the model by {contract.layout.axis.freq} ({contract.layout.axis.kind})",
            field="freq",
            allowed=contract.layout.axis.freq,
            next_step="send data of the model's frequency, or train a model on this data",
        )
