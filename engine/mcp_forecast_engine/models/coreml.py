"""An exported model as a Core ML package: the same graph for Apple's devices, authored apart from serving."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tempfile
import uuid
import zipfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types
from onnx import TensorProto, numpy_helper

from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.models.contract import KEY
from mcp_forecast_engine.models.coreml_ops import OPERATIONS, operations_of
from mcp_forecast_engine.models.coreml_translation import Translation, narrowed

DEPLOYMENT: Final = "iOS17"  # and macOS 14: the oldest that selects and gathers as our graphs do
MOST_WINDOWS: Final = 256  # of one prediction; Core ML wants a bound
# Relative to the level of the series: Core ML has no doubles, so units are computed in 24 bits of mantissa.
TOLERANCE: Final = 1e-3
_UNVERIFIED: Final = "Core ML predicts on macOS only; the parity test of this software has to run there"
_CHECKED_HERE: Final = "authored on macOS; `verified` is set by the parity test, never by authoring"
_SPEC: Final = "Data/com.apple.CoreML/model.mlmodel"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_DRAWN: Final = ("com.github.apple.coremltools.conversion_date",)  # what differs from day to day
_NAMES: Final = uuid.UUID("7c9dfc9a-5a3e-5f0e-9b0c-2f6f5d6b8a11")  # of the parts of a package


@dataclass(frozen=True)
class Port:
    """An input or output of the package. shape: the first is the batch, 1 to 256. dtype: float32 or int32."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Receipt:
    """What was authored, of what, and whether anybody checked it.

    source, package: sha256 of the ONNX bytes and of the package's bytes. operations: by name, how often each occurs in
    the ONNX graph. tolerance: largest difference from the ONNX model, in units of the level, that the parity test
    allows. verified: always "unverified" where it is authored; why says what is missing.
    """

    name: str
    source: str
    package: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operations: dict[str, int]
    deployment: str
    precision: str
    author: str
    tolerance: float
    verified: str
    why: str

    def to_json(self) -> str:
        """Canonical JSON: sorted keys."""
        return json.dumps(asdict(self), sort_keys=True, indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class CoreMLPackage:
    """content: a zip that holds the folder `<name>.mlpackage`; the same model gives the same bytes."""

    content: bytes
    receipt: Receipt


def author_core_ml(model: bytes, *, name: str = "forecast") -> CoreMLPackage:
    """Translate an exported ONNX model into a Core ML package and say what was made.

    The package computes in float32 throughout, for iOS 17 and macOS 14 or newer, 1 to 256 windows a prediction; int64
    inputs are int32. The data contract stays in its metadata. Off macOS nothing can be predicted, so the receipt says
    unverified. Needs the extra `coreml`. Raises ArtifactCorrupt where the bytes are no ONNX model, ModelUntranslatable
    where an operation has no translation.
    """
    graph = _read(model)
    inputs = tuple(_port(value) for value in graph.graph.input)
    outputs = tuple(_port(value) for value in graph.graph.output)
    contract = {entry.key: entry.value for entry in graph.metadata_props}.get(KEY, "")
    content = _zipped(_converted(graph, inputs, contract), f"{name}.mlpackage")
    receipt = Receipt(
        name=name,
        source=f"sha256:{hashlib.sha256(model).hexdigest()}",
        package=f"sha256:{hashlib.sha256(content).hexdigest()}",
        inputs=inputs,
        outputs=outputs,
        operations=operations_of(graph.graph.node),
        deployment=DEPLOYMENT,
        precision="float32",
        author=f"coremltools {version('coremltools')}",
        tolerance=TOLERANCE,
        verified="unverified",
        why=_CHECKED_HERE if sys.platform == "darwin" else _UNVERIFIED,
    )
    return CoreMLPackage(content, receipt)


def translate(graph: Any, builder: Any, found: dict[str, Any]) -> Any:
    """The output of an ONNX graph in MIL; found: its inputs by name, variables of a program or constant arrays."""
    constants = {tensor.name: narrowed(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    translation = Translation(builder, OPERATIONS, {**constants, **found})
    for node in graph.node:
        translation.node(node)
    return translation.found[graph.output[0].name]


def _read(model: bytes) -> Any:
    try:
        return onnx.load_from_string(model)
    except DecodeError as error:
        raise ArtifactCorrupt("the bytes are no ONNX model", next_step="pass a model.onnx of list_artifacts") from error


def _converted(graph: Any, inputs: tuple[Port, ...], contract: str) -> Any:
    """The Core ML model, not loaded."""
    import coremltools as ct
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import Function, Program, get_new_symbol, types

    kinds = {"float32": types.fp32, "int32": types.int32}
    Builder.name_count.clear()  # names count up over programs: the same model has to get the same names
    target, batch = getattr(ct.target, DEPLOYMENT), get_new_symbol()
    declared = {
        port.name: Builder.placeholder(shape=(batch, *port.shape[1:]), dtype=kinds[port.dtype]) for port in inputs
    }
    with Function(declared, opset_version=target) as function:
        output = translate(graph.graph, Builder, dict(function.inputs))
        function.set_outputs([Builder.identity(x=output, name=graph.graph.output[0].name)])
    program = Program()
    program.add_function("main", function)
    made = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=target,
        compute_precision=ct.precision.FLOAT32,
        inputs=[
            ct.TensorType(port.name, (ct.RangeDim(1, MOST_WINDOWS, 1), *port.shape[1:]), kinds[port.dtype])
            for port in inputs
        ],
        skip_model_load=True,
    )
    made.user_defined_metadata[KEY] = contract
    for name in _DRAWN:
        made.user_defined_metadata.pop(name, None)
    return made


def _port(value: Any) -> Port:
    kind = value.type.tensor_type
    sizes = tuple(dim.dim_param or dim.dim_value for dim in kind.shape.dim)
    return Port(value.name, "int32" if kind.elem_type == TensorProto.INT64 else "float32", ("batch", *sizes[1:]))


def _zipped(made: Any, folder: str) -> bytes:
    """The package as a zip without dates or drawn names, files in order, stored as they are."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / folder
        made.save(str(root))
        files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    files["Manifest.json"] = _named_anew(files["Manifest.json"])
    files[_SPEC] = _in_order(files[_SPEC])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{folder}/{name}", _EPOCH)
            entry.external_attr, entry.create_system = 0o644 << 16, 3
            archive.writestr(entry, files[name])
    return out.getvalue()


def _in_order(specification: bytes) -> bytes:
    """The same message with its maps in order of their keys: protobuf writes them in an order of its own."""
    from coremltools.proto.Model_pb2 import Model

    found = Model()
    found.ParseFromString(specification)
    return bytes(found.SerializeToString(deterministic=True))


def _named_anew(manifest: bytes) -> bytes:
    """Parts of a package are named by chance; here by their path."""
    value = json.loads(manifest)
    entries = value["itemInfoEntries"]
    names = {old: str(uuid.uuid5(_NAMES, entry["path"])) for old, entry in entries.items()}
    value["itemInfoEntries"] = {names[old]: entry for old, entry in entries.items()}
    value["rootModelIdentifier"] = names[value["rootModelIdentifier"]]
    return json.dumps(value, sort_keys=True, indent=1).encode()
