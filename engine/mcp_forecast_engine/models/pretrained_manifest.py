"""The artifact of one pretrained model alone: which files answer, and the intervals put around them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import numpy as np

from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.contract import REMAKE, Contract, read_contract
from mcp_forecast_engine.models.pretrained_path import PretrainedPath
from mcp_forecast_engine.store.identity import canonical_bytes

FORMAT: Final = "mcp-forecast-pretrained/1"
_MEMBER: Final = ("name", "kind", "sha256", "licence", "library")


def is_manifest(content: bytes) -> bool:
    """Whether bytes of a model are a manifest; an ONNX file starts with another byte than a JSON object."""
    return content[:1] == b"{"


def manifest_of(path: PretrainedPath, calibration: Calibration, contract: Contract) -> bytes:
    """Canonical JSON: format, contract, calibration, and the one member by name and digest; no path, no weights."""
    member = {name: getattr(path, name) for name in _MEMBER}
    member |= {"categorical": list(path.categorical), "lookback": path.layout.lookback}
    return canonical_bytes(
        {
            "format": FORMAT,
            "contract": json.loads(contract.to_json()),
            "calibration": {
                "offsets": calibration.offsets.tolist(),
                "unit": calibration.unit.to_dict(),
                "phase": calibration.phase,
                "nonnegative": calibration.nonnegative,
                "lookback": calibration.lookback,
            },
            "members": [member],
        }
    )


def read_manifest(content: bytes) -> tuple[CalibratedModel, Contract]:
    """The model of a manifest, with its weights still in the operator's folder. Raises ArtifactCorrupt."""
    try:
        value: dict[str, Any] = json.loads(content)
        if value["format"] != FORMAT:
            raise ArtifactCorrupt(
                f"the model's manifest has format {value['format']}, this software reads {FORMAT}",
                next_step="upgrade mcp-forecast, or train the model again with this version",
            )
        contract = read_contract(json.dumps(value["contract"]))
        told = value["calibration"]
        calibration = Calibration(
            offsets=np.array(told["offsets"], np.float64),
            unit=Unit.read(told["unit"]),
            phase=told["phase"],
            nonnegative=told["nonnegative"],
            lookback=told.get("lookback"),
            phases=contract.tested,
        )
        (member,) = value["members"]
        named = {name: member[name] for name in _MEMBER}
        layout = replace(contract.layout, lookback=member.get("lookback", contract.layout.lookback))
        path = PretrainedPath(layout=layout, categorical=tuple(member["categorical"]), **named)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactCorrupt("the bytes are no manifest of a pretrained model", next_step=REMAKE) from error
    return CalibratedModel(path, calibration), contract
