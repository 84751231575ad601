"""A loaded model, a panel and its future covariates become a forecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import CovariatesMismatch
from mcp_forecast_engine.evaluation.progress import OnProgress, Progress
from mcp_forecast_engine.models.contract import Contract
from mcp_forecast_engine.models.features import tail_of
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


def recoded(panel: Panel, categories: Mapping[str, tuple[str, ...]]) -> Panel:
    """Category codes as the model learned them; a category it never saw gets -1, which no indicator answers to."""
    if all(panel.categories.get(name, known) == known for name, known in categories.items()):
        return panel
    covariates, future = dict(panel.covariates), dict(panel.future)
    for name, known in categories.items():
        here = panel.categories.get(name, known)
        if here == known:
            continue
        place = {value: code for code, value in enumerate(known)}
        code = np.array([place.get(value, -1) for value in here], np.float64)
        covariates[name] = code[covariates[name].astype(np.int64)]
        if name in future:
            future[name] = code[future[name].astype(np.int64)]
    return replace(panel, covariates=covariates, future=future)
