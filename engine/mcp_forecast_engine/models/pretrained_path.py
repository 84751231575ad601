"""A pretrained model as a fitted one: a name, a digest and a layout; the weights stay in the operator's folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.errors import ArtifactCorrupt, NotExportable
from mcp_forecast_engine.models.features import Inputs, Layout
from mcp_forecast_engine.models.pretrained_folder import pretrained_folder
from mcp_forecast_engine.models.pretrained_kinds import at_once
from mcp_forecast_engine.models.scaling import divisor

if TYPE_CHECKING:
    from mcp_forecast_engine.models.graph import Graph, Ports
    from mcp_forecast_engine.models.pretrained_loading import Window

Floats = NDArray[np.float64]

_FLAT = 1e-9
# No path leaves so many spreads of its window, as with the other families.
_FURTHEST = 10_000.0


@dataclass(frozen=True)
class PretrainedPath:
    """Answers by the model `name` of the operator's folder, if its files hash to `sha256`.

    kind, licence, library: what the model is, under which terms, and what loaded it. categorical: columns whose numbers
    are codes of categories.
    """

    family: ClassVar[str] = "pretrained"
    layout: Layout
    name: str
    kind: str
    sha256: str
    licence: str
    library: str
    categorical: tuple[str, ...] = ()

    def point(self, inputs: Inputs) -> Floats:
        """The model's median in the series' units, (B, horizon); windows of one call do not see each other.

        Each window goes in with its own mean at zero and its spread at one, in double precision: so scaling and
        shifting a series scales and shifts its forecast, whatever the model's own arithmetic loses. Raises
        ArtifactCorrupt where the weights changed or give no numbers, PretrainedUnavailable where they cannot be loaded.
        """
        from mcp_forecast_engine.models.network_training import one_torch_thread

        layout = self.layout
        reader = pretrained_folder().reader(self.name, self.sha256)
        level, spread = _units(inputs)
        some = at_once(self.kind, len(layout.cov_hist), layout.horizon)
        found = np.empty((len(inputs), layout.horizon))
        with one_torch_thread():
            for start in range(0, len(inputs), some):
                part = slice(start, start + some)
                windows = self._windows(inputs.take(part), level[part], spread[part])
                found[part] = reader.medians(windows, layout.horizon, layout.lookback)
        if not np.isfinite(found).all():
            raise ArtifactCorrupt(
                f"the pretrained model {self.name!r} gives no finite numbers",
                next_step="ask the operator to fetch its files again, or train without it",
            )
        return np.clip(found, -_FURTHEST, _FURTHEST) * spread + level

    def write(self, graph: Graph, ports: Ports) -> str:
        """Refused: these weights stay where they are. Raises NotExportable."""
        raise NotExportable(
            f"the pretrained model {self.name!r} is served from the operator's folder and cannot be written as ONNX",
            next_step="use it alone, where the artifact names it; a combination holds only models that can be written",
        )

    def _windows(self, inputs: Inputs, level: Floats, spread: Floats) -> list[Window]:
        """The genuine steps of every window, by column name."""
        from mcp_forecast_engine.models.pretrained_loading import Window

        z = (inputs.target - level) / divisor(spread)
        hist, ahead = list(enumerate(self.layout.cov_hist)), list(enumerate(self.layout.known_future))
        return [
            Window(
                target=z[i, -known:],
                past={name: self._told(name, inputs.cov_hist[i, -known:, at]) for at, name in hist},
                ahead={name: self._told(name, inputs.cov_future[i, :, at]) for at, name in ahead},
            )
            for i, known in enumerate(np.maximum(inputs.known, 1))
        ]

    def _told(self, name: str, values: Floats) -> NDArray[np.float64] | NDArray[np.str_]:
        return values.astype(np.int64).astype(np.str_) if name in self.categorical else values


def _units(inputs: Inputs) -> tuple[Floats, Floats]:
    """Mean and spread of the genuine steps of every window, (B, 1) each.

    A flat one takes its level as spread, one of zeros has none and is forecast zero.
    """
    place = np.arange(-inputs.target.shape[1], 0)
    seen = place >= -np.maximum(inputs.known, 1)[:, None]
    count = seen.sum(axis=1, keepdims=True)
    level = np.where(seen, inputs.target, 0.0).sum(axis=1, keepdims=True) / count
    rest = np.where(seen, inputs.target - level, 0.0)
    spread = np.sqrt((rest**2).sum(axis=1, keepdims=True) / count)
    size = np.abs(level)
    flat = spread <= _FLAT * size
    return level, np.where(flat, size, spread)
