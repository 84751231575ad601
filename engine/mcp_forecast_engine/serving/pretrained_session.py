"""A manifest becomes something that answers: by a pretrained model of the operator's folder, in a worker only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.calibration import CalibratedModel
from mcp_forecast_engine.models.contract import Contract
from mcp_forecast_engine.models.features import Inputs
from mcp_forecast_engine.models.pretrained_manifest import read_manifest

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PretrainedSession:
    """What a manifest says; its weights are read, and torch is loaded, when it runs. model: with its intervals."""

    inline: ClassVar[bool] = False
    contract: Contract
    model: CalibratedModel

    def run(self, inputs: Inputs) -> Floats:
        """Quantiles of B windows, (B, horizon, levels).

        Raises ArtifactCorrupt where the weights are not those of the training, PretrainedUnavailable where they are
        not in this worker's folder.
        """
        return self.model.quantiles(inputs)


def load_manifest(content: bytes) -> PretrainedSession:
    """The session of a manifest; raises ArtifactCorrupt where the bytes are none."""
    model, contract = read_manifest(content)
    return PretrainedSession(contract, model)
