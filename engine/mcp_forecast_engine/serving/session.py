"""A model file becomes something that answers; a few stay loaded, by digest."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.models.contract import KEY, REMAKE, Contract, read_contract
from mcp_forecast_engine.models.features import Inputs
from mcp_forecast_engine.models.pretrained_manifest import is_manifest

Floats = NDArray[np.float64]


_TYPES: Final[dict[str, np.dtype[Any]]] = {
    **dict.fromkeys(("target", "cov_hist", "cov_future", "calendar", "static"), np.dtype(np.float32)),
    **dict.fromkeys(("phase", "known", "series"), np.dtype(np.int64)),
}
_OUTPUTS: Final = ["quantiles"]


class ModelSession(Protocol):
    """A loaded model: its contract, and `run` from inputs to quantiles."""

    @property
    def inline(self) -> bool:
        """Whether a server may run it; else only a worker does."""
        ...

    @property
    def contract(self) -> Contract:
        """What it reads and answers."""
        ...

    def run(self, inputs: Inputs) -> Floats:
        """Quantiles of B windows, (B, horizon, levels)."""
        ...


@dataclass(frozen=True)
class OnnxSession:
    """A model that onnxruntime answers by."""

    inline: ClassVar[bool] = True
    contract: Contract
    runtime: Any
    reads: tuple[str, ...]

    def fed(self, inputs: Inputs) -> dict[str, NDArray[Any]]:
        """What the graph reads of the inputs, by name, in its types; nothing is copied that has its type already."""
        return {name: np.asarray(getattr(inputs, name), _TYPES[name]) for name in self.reads}

    def run(self, inputs: Inputs) -> Floats:
        """Quantiles of B windows, (B, horizon, levels)."""
        (found,) = self.runtime.run(_OUTPUTS, self.fed(inputs))
        return np.asarray(found, np.float64)


def load_model(content: bytes) -> ModelSession:
    """Load an exported model on one thread, or what a manifest names; raises ArtifactCorrupt where the bytes are no
    model of ours."""
    if is_manifest(content):
        from mcp_forecast_engine.serving.pretrained_session import load_manifest

        return load_manifest(content)
    # Imported here: tools/list must not wait for the runtime.
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        runtime = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf) as error:
        raise ArtifactCorrupt("the bytes are no ONNX model that can be loaded", next_step=REMAKE) from error
    contract = read_contract(runtime.get_modelmeta().custom_metadata_map.get(KEY, ""))
    return OnnxSession(contract, runtime, tuple(part.name for part in runtime.get_inputs()))


class ModelSessions:
    """The most recently used models, by digest; safe to share between threads."""

    def __init__(self, capacity: int = 8) -> None:
        self._capacity, self._lock = capacity, Lock()
        self._loaded: OrderedDict[str, ModelSession] = OrderedDict()

    def get(self, digest: str, content: bytes) -> ModelSession:
        """The session of a digest, loaded from `content` where it is not at hand."""
        with self._lock:
            if digest in self._loaded:
                self._loaded.move_to_end(digest)
                return self._loaded[digest]
        session = load_model(content)
        with self._lock:
            self._loaded[digest] = session
            while len(self._loaded) > self._capacity:
                self._loaded.popitem(last=False)
        return session

    def find(self, digest: str) -> ModelSession | None:
        """The session of a digest where it is loaded already: saves reading the bytes."""
        with self._lock:
            if digest in self._loaded:
                self._loaded.move_to_end(digest)
            return self._loaded.get(digest)
