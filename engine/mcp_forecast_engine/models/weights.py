"""A fitted model's own numbers as safetensors: written from the fit, apart from the ONNX graph, and read back whole.

Arrays are tensors, named by where they stand in the model; everything else (family, settings, columns, units) is one
JSON document in the file's metadata, with the data contract. What is read is built from a closed list of classes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, cast

import numpy as np

from mcp_forecast_engine.data.frame import TimeAxis
from mcp_forecast_engine.errors import ArtifactCorrupt, NotExportable
from mcp_forecast_engine.models.basis import Basis
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.combination import Combination
from mcp_forecast_engine.models.contract import REMAKE, Contract, read_contract
from mcp_forecast_engine.models.design import Design
from mcp_forecast_engine.models.effects_path import EffectsPath
from mcp_forecast_engine.models.features import Layout
from mcp_forecast_engine.models.linear_path import LinearPath
from mcp_forecast_engine.models.local_model import LocalModel
from mcp_forecast_engine.models.network_path import Layers, NetworkPath
from mcp_forecast_engine.models.network_rows import Columns, Rows
from mcp_forecast_engine.models.network_segments import SegmentLayers
from mcp_forecast_engine.models.network_standard import Standard
from mcp_forecast_engine.models.network_units import Units
from mcp_forecast_engine.models.profile_path import ProfilePath, Weights
from mcp_forecast_engine.models.scaling import Stillness, Yardstick
from mcp_forecast_engine.models.static_groups import Grouping
from mcp_forecast_engine.models.tabular_path import TabularPath
from mcp_forecast_engine.models.tabular_rows import Factor, TabularRows
from mcp_forecast_engine.models.tree_ensemble import TreeEnsemble

FORMAT: Final = 1
KEY: Final = "mcp_forecast.model"  # one entry alone: the library writes several in an order of its own
_KINDS: Final[dict[str, type]] = {
    kind.__name__: kind
    for kind in (
        Basis, CalibratedModel, Calibration, Columns, Combination, Design, EffectsPath, Factor, Grouping, Layers,
        Layout, LinearPath, LocalModel, NetworkPath, ProfilePath, Rows, SegmentLayers, Standard, Stillness, TabularPath,
        TabularRows, TimeAxis, TreeEnsemble, Unit, Units, Weights, Yardstick,
    )
}  # fmt: skip
Arrays = dict[str, np.ndarray[Any, Any]]


def write_weights(model: CalibratedModel, contract: Contract) -> bytes:
    """The model as a safetensors file; the same fit gives the same bytes.

    Tensors are named as in "path.members.0.weights". Raises NotExportable for a model whose numbers are not its own (a
    pretrained one, which stays in the operator's folder).
    """
    from safetensors.numpy import save

    arrays: Arrays = {}
    told = {"format": FORMAT, "contract": json.loads(contract.to_json()), "model": _plain(model, (), arrays)}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return bytes(save(arrays, metadata={KEY: text}))


def read_weights(data: bytes) -> tuple[CalibratedModel, Contract]:
    """The fitted model that a file holds, which answers with numpy alone, and its data contract.

    For who takes a model out of a bundle without ONNX (README); this server answers from the graph alone.
    Raises ArtifactCorrupt where the bytes are no such file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays: Arrays = load(data)
        told = json.loads(_metadata(data))
        if told["format"] != FORMAT:
            raise _corrupt(f"they have format {told['format']}, this software reads {FORMAT}")
        model, contract = _built(told["model"], arrays), read_contract(json.dumps(told["contract"]))
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _corrupt(str(error)) from error
    if not isinstance(model, CalibratedModel):
        raise _corrupt(f"they hold a {type(model).__name__}")
    return model, contract


def _metadata(data: bytes) -> str:
    """Our entry in the header: eight bytes of its length, then JSON (the library reads it from paths alone)."""
    size = int.from_bytes(data[:8], "little")
    return str(json.loads(data[8 : 8 + size])["__metadata__"][KEY])


def _plain(value: Any, path: tuple[str, ...], arrays: Arrays) -> Any:
    """A value as JSON; arrays go to `arrays`, by their place."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, np.ndarray):
        arrays[".".join(path)] = np.asarray(value, order="C")
        return {"array": ".".join(path)}
    if isinstance(value, float | np.generic):
        return _number(value)
    if isinstance(value, tuple | list):
        parts = [_plain(one, (*path, str(place)), arrays) for place, one in enumerate(value)]
        return {"tuple": parts} if isinstance(value, tuple) else parts
    if isinstance(value, Mapping):
        return {"map": {str(name): _plain(one, (*path, str(name)), arrays) for name, one in value.items()}}
    kind = type(value)
    if not is_dataclass(value) or _KINDS.get(kind.__name__) is not kind:
        family = getattr(value, "family", kind.__name__)
        raise NotExportable(
            f"a model of family {family} has no numbers of its own to write", next_step="keep its ONNX file or manifest"
        )
    parts_of = {f.name: _plain(getattr(value, f.name), (*path, f.name), arrays) for f in fields(value) if f.init}
    return {"kind": kind.__name__, "fields": parts_of}


def _number(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    return {"float": repr(float(plain))} if isinstance(plain, float) and not math.isfinite(plain) else plain


def _built(told: Any, arrays: Arrays) -> Any:
    """What `_plain` told."""
    if isinstance(told, list):
        return [_built(one, arrays) for one in told]
    if not isinstance(told, dict):
        return told
    if "kind" in told:
        return _KINDS[told["kind"]](**{name: _built(one, arrays) for name, one in told["fields"].items()})
    ((tag, content),) = told.items()
    return _TAGS[tag](content, arrays)


_TAGS: Final[dict[str, Callable[[Any, Arrays], Any]]] = {
    "array": lambda content, arrays: arrays[content],
    "float": lambda content, _: float(content),
    "tuple": lambda content, arrays: tuple(_built(one, arrays) for one in content),
    "map": lambda content, arrays: {name: _built(one, arrays) for name, one in cast(dict[str, Any], content).items()},
}


def _corrupt(why: str) -> ArtifactCorrupt:
    return ArtifactCorrupt(f"the bytes are no weights of ours: {why}", next_step=REMAKE)
