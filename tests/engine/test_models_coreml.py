"""A Core ML package says what it holds, computes what the model computes, and stays unverified until a Mac ran it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from forecast_toys import hourly, panel_of
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import ArtifactCorrupt, ModelUntranslatable
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.combination import Combination
from mcp_forecast_engine.models.contract import KEY, contract_of, read_contract
from mcp_forecast_engine.models.coreml import (
    MOST_WINDOWS,
    TOLERANCE,
    CoreMLPackage,
    author_core_ml,
    translate,
)
from mcp_forecast_engine.models.coreml_translation import narrowed
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.models.features import Inputs, tail_inputs
from mcp_forecast_engine.models.graph import ML_DOMAIN, Graph
from mcp_forecast_engine.models.spec import QUANTILES, spec_for
from mcp_forecast_engine.models.table import MODELS

ROLES = ("known_future", "historical", "static")
LOCAL = ("theta", "ces", "ets")
FAMILIES = (*(name for name in ("seasonal_naive", "direct_ridge", *LOCAL) if name in MODELS), "combination")


def short_panel() -> Panel:
    """Three years of months: what a local model walks through in a moment."""
    draw = np.random.default_rng(4)
    month = np.arange(42)
    series = [100 + 10 * np.sin(2 * np.pi * month / 12) + 0.5 * month * i + draw.normal(size=42) for i in range(2)]
    panel = panel_of(series, season_length=12, freq="1")
    return window_at(panel, panel.lengths - 6, 6).history


def long_panel() -> Panel:
    panel = hourly(40)
    return window_at(panel, panel.lengths - 24, 24).history


def calibrated(path: Any, horizon: int) -> CalibratedModel:
    offsets = np.sort(np.random.default_rng(0).normal(size=(horizon, len(QUANTILES))) * 0.2, axis=1)
    return CalibratedModel(path, Calibration(offsets, Unit("identity", "change"), 3))


def made(family: str) -> tuple[CalibratedModel, Panel]:
    """A fitted model of a family, as served, and the panel it answers for."""
    panel = short_panel() if family in LOCAL else long_panel()
    horizon = 6 if family in LOCAL else 24
    spec = spec_for(panel, horizon, roles=ROLES)
    if family == "combination":
        names = ("seasonal_naive", "direct_ridge")
        both = [MODELS[name].fit(panel, spec, MODELS[name].tune(panel, spec, [], {})) for name in names]
        return calibrated(Combination(tuple(both), (0.5, 0.5), "median"), horizon), panel
    return calibrated(MODELS[family].fit(panel, spec, MODELS[family].tune(panel, spec, [], {})), horizon), panel


@pytest.fixture(scope="module")
def ridge() -> tuple[bytes, CalibratedModel, Panel]:
    model, panel = made("direct_ridge")
    return export_onnx(model, contract_of(model, panel, schema="sha256:ab")), model, panel


@pytest.fixture(scope="module")
def package(ridge: tuple[bytes, CalibratedModel, Panel]) -> CoreMLPackage:
    pytest.importorskip("coremltools", reason="the extra `coreml` is not installed: no package is authored here")
    return author_core_ml(ridge[0])


def arrays(inputs: Inputs, read: list[str]) -> dict[str, np.ndarray]:
    every = {name: getattr(inputs, name) for name in inputs.__dataclass_fields__}
    return {name: narrowed(every[name]) for name in read}


class Evaluator:
    """The builder of MIL on constants: every operation has its value at once, a loop walks at once."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)

    def while_loop(self, *, _cond: Any, _body: Any, loop_vars: Any) -> Any:
        """Ask the condition, run the body."""
        while _cond(*loop_vars).val:
            loop_vars = _body(*loop_vars)
        return loop_vars

    def scatter(self, *, data: Any, indices: Any, updates: Any, axis: int, mode: str) -> Any:
        """Write rows; coremltools defines no value of it."""
        assert (axis, mode) == (0, "update")
        written = np.array(data.val)
        written[indices.val] = updates.val
        return self._builder.const(val=written)

    def lstm(self, *, x: Any, initial_h: Any, initial_c: Any, output_sequence: bool, **given: np.ndarray) -> list[Any]:
        """Gates i, f, o and the cell, as coremltools documents them."""
        assert output_sequence
        state, cell, kept = initial_h.val, initial_c.val, []
        for row in x.val:
            gates = row @ given["weight_ih"].T + state @ given["weight_hh"].T + given["bias"]
            i, f, o = (1 / (1 + np.exp(-gate)) for gate in np.split(gates, 4, axis=1)[:3])
            cell = f * cell + i * np.tanh(np.split(gates, 4, axis=1)[3])
            state = o * np.tanh(cell)
            kept.append(state)
        return [self._builder.const(val=np.stack(kept).astype(np.float32))]


def evaluated(content: bytes, inputs: Inputs) -> np.ndarray:
    """The answer of a translated model to inputs."""
    read = [port.name for port in onnx.load_from_string(content).graph.input]
    return of_constants(content, arrays(inputs, read))


def of_constants(content: bytes, given: dict[str, np.ndarray]) -> np.ndarray:
    """What coremltools' own definition of every translated operation makes of the inputs: no Mac is needed."""
    coremltools = pytest.importorskip("coremltools", reason="the extra `coreml` is not installed")
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import Function

    graph = onnx.load_from_string(content).graph
    with Function({"unused": Builder.placeholder(shape=(1,))}, opset_version=coremltools.target.iOS17):
        found = {name: Builder.const(val=value) for name, value in given.items()}
        return np.asarray(translate(graph, Evaluator(Builder), found).val, np.float64)


DRAW = np.random.default_rng(9)
TREES: dict[str, Any] = {  # one tree of three leaves, one of a single leaf
    "domain": ML_DOMAIN, "n_targets": 1, "aggregate_function": "SUM", "post_transform": "NONE",
    "nodes_treeids": [0, 0, 0, 0, 0, 1], "nodes_nodeids": [0, 1, 2, 3, 4, 0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"],
    "nodes_featureids": [2, 0, 0, 0, 0, 0], "nodes_values": [0.25, 0.0, -0.5, 0.0, 0.0, 0.0],
    "nodes_truenodeids": [1, 0, 3, 0, 0, 0], "nodes_falsenodeids": [2, 0, 4, 0, 0, 0],
    "nodes_missing_value_tracks_true": [0] * 6, "target_treeids": [0, 0, 0, 1], "target_nodeids": [1, 3, 4, 0],
    "target_ids": [0] * 4, "target_weights": [1.0, -2.0, 4.0, 8.0],
}  # fmt: skip
TWO = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
# Operation, its inputs beside x (batch, 6), its attributes. Lists are whole numbers.
CASES: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    **{op: (op, [], {}) for op in ("Abs", "Exp", "Sign", "Relu", "Sigmoid", "Tanh", "Round", "Neg", "Identity")},
    **{op: (op, [DRAW.normal(size=(1, 6)).astype(np.float32)], {}) for op in TWO},
    **{op: (op, [[1]], {"keepdims": 0}) for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")},
    "MatMul": ("MatMul", [DRAW.normal(size=(6, 2)).astype(np.float32)], {}),
    "Sum of one": ("Sum", [], {}),
    "Gather from the end": ("Gather", [[-1, 0, 0]], {"axis": 1}),
    "Slice from the end": ("Slice", [[-4], [2**62], [1]], {}),
    "Slice backwards": ("Slice", [[-1], [-(2**31) + 1], [1], [-1]], {}),
    "Slice to before the end": ("Slice", [[1], [-1], [1]], {}),
    "Reshape": ("Reshape", [[0, 2, -1]], {}),
    "Reshape with the batch inside": ("Reshape", [[-1, 3, 2]], {}),
    "Unsqueeze": ("Unsqueeze", [[2]], {}),
    "Transpose": ("Transpose", [], {"perm": [1, 0]}),
    "Tile": ("Tile", [[1, 3]], {}),
    "TopK": ("TopK", [[4]], {"axis": 1, "largest": 0, "sorted": 1}),
    "ArgMax": ("ArgMax", [], {"axis": 1, "keepdims": 0}),
    "CumSum": ("CumSum", [1], {}),
    "TreeEnsembleRegressor": ("TreeEnsembleRegressor", [], TREES),
}  # fmt: skip


def single(case: str) -> tuple[bytes, np.ndarray]:
    """A graph of one operation, and what onnxruntime makes of some rows."""
    import onnxruntime

    op, others, given = CASES[case]
    g = Graph()
    source = g.input("target", ("batch", 6))
    constants = [g.constant(value, np.float32 if isinstance(value, np.ndarray) else np.int64) for value in others]
    found = g.node(op, source, *constants, outputs=2 if op == "TopK" else 1, **given)
    g.output("quantiles", g.cast(found, onnx.TensorProto.FLOAT), ("batch",))
    content = re_shaped(g.model("forecast", {}))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, session.run(None, {"target": ROWS})[0]


def re_shaped(content: bytes) -> bytes:
    """Without the shape of its output, which differs from case to case."""
    model = onnx.load_from_string(content)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return bytes(model.SerializeToString())


ROWS = DRAW.normal(size=(5, 6)).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_an_operation_computes_what_onnxruntime_computes(case: str) -> None:
    content, expected = single(case)
    found = of_constants(content, {"target": ROWS})
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_an_lstm_and_its_gates_compute_what_onnxruntime_computes() -> None:
    import onnxruntime

    g, size = Graph(), 3
    source = g.input("target", ("batch", 6))
    tokens = g.node("Transpose", g.node("Reshape", source, g.constant([-1, 3, 2], np.int64)), perm=[1, 0, 2])
    gates = [DRAW.normal(size=shape) for shape in ((1, 4 * size, 2), (1, 4 * size, size), (1, 8 * size))]
    states = g.node("LSTM", tokens, *(g.constant(gate, np.float32) for gate in gates), hidden_size=size)
    g.output("quantiles", g.node("Gather", states, g.constant(-1, np.int64), axis=0), (1, "batch", size))
    content = g.model("forecast", {})
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    expected = session.run(None, {"target": ROWS})[0]
    np.testing.assert_allclose(of_constants(content, {"target": ROWS}), expected, rtol=1e-5, atol=1e-6)
    assert author_core_ml(content).receipt.operations["LSTM"] == 1


def test_whole_numbers_and_choices_compute_what_onnxruntime_computes() -> None:
    import onnxruntime

    g = Graph()
    source = g.input("target", ("batch", 6))
    whole = g.cast(g.node("Mul", source, g.constant(10.0, np.float32)), onnx.TensorProto.INT64)
    rest = g.cast(g.node("Mod", whole, g.constant(4, np.int64)), onnx.TensorProto.FLOAT)
    third = g.node("Unsqueeze", rest, g.constant([2], np.int64))
    even = g.node("Greater", g.node("Squeeze", third, g.constant([2], np.int64)), g.constant(1.5, np.float32))
    chosen = g.node("Where", even, g.constant(1.0, np.float32), g.constant(-1.0, np.float32))
    g.output("quantiles", g.node("Concat", rest, chosen, axis=1), ("batch", 12))
    content = g.model("forecast", {})
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(of_constants(content, {"target": ROWS}), session.run(None, {"target": ROWS})[0])
    assert author_core_ml(content).receipt.outputs[0].shape == ("batch", 12)


def test_trees_are_authored_for_any_number_of_windows() -> None:
    pytest.importorskip("coremltools", reason="the extra `coreml` is not installed")
    content, _ = single("TreeEnsembleRegressor")
    assert author_core_ml(content).receipt.operations["TreeEnsembleRegressor"] == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_translated_operations_compute_what_the_model_computes(family: str) -> None:
    model, panel = made(family)
    inputs = tail_inputs(panel, model.path.layout)
    several = Inputs(**{n: np.repeat(getattr(inputs, n), 3, axis=0) for n in inputs.__dataclass_fields__})
    found = evaluated(export_onnx(model, contract_of(model, panel)), several)
    assert found.shape == (len(several), model.path.layout.horizon, len(QUANTILES))
    assert largest_difference(found, model.quantiles(several)) < TOLERANCE


def largest_difference(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """In units of the expected answer's level, which is what TOLERANCE bounds."""
    return float(np.abs(found - expected).max()) / (float(np.abs(expected).mean()) or 1.0)


def test_a_large_level_costs_float32_no_more_than_is_said() -> None:
    model, panel = made("direct_ridge")
    inputs = tail_inputs(panel, model.path.layout)
    high = replace(inputs, target=inputs.target + 100_000)
    found = evaluated(export_onnx(model, contract_of(model, panel)), high)
    assert largest_difference(found, model.quantiles(high)) < TOLERANCE


def test_the_specification_has_the_inputs_outputs_and_shapes_of_the_contract(
    package: CoreMLPackage, ridge: tuple[bytes, CalibratedModel, Panel]
) -> None:
    from coremltools.proto.MIL_pb2 import DataType

    spec = specification(package)
    layout = ridge[1].path.layout
    shapes = {one.name: [(r.lowerBound, r.upperBound) for r in one.type.multiArrayType.shapeRange.sizeRanges]
              for one in spec.description.input}  # fmt: skip
    batch = (1, MOST_WINDOWS)
    assert shapes == {
        "target": [batch, (layout.lookback,) * 2],
        "cov_hist": [batch, (layout.past,) * 2, (3, 3)],
        "cov_future": [batch, (24, 24), (2, 2)],
        "calendar": [batch, (35, 35)],
        "phase": [batch],
    }
    assert [one.name for one in spec.description.output] == ["quantiles"]
    assert read_contract(spec.description.metadata.userDefined[KEY]).layout == layout
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    used = {operation.type for operation in block.operations}
    assert {"linear", "topk", "gather", "select"} <= used  # a product and a sum became one operation
    kinds = {out.type.tensorType.dataType for operation in block.operations for out in operation.outputs}
    assert DataType.FLOAT16 not in kinds
    (found,) = [out for operation in block.operations for out in operation.outputs if out.name == "quantiles"]
    sizes = [dimension.constant.size for dimension in found.type.tensorType.dimensions]
    assert (found.type.tensorType.dataType, sizes[1:]) == (DataType.FLOAT32, [24, len(QUANTILES)])


def specification(package: CoreMLPackage) -> Any:
    from coremltools.proto.Model_pb2 import Model

    spec = Model()
    spec.ParseFromString(files(package)["forecast.mlpackage/Data/com.apple.CoreML/model.mlmodel"])
    return spec


def files(package: CoreMLPackage) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_receipt_binds_both_files_and_claims_nothing_that_was_not_run(
    package: CoreMLPackage, ridge: tuple[bytes, CalibratedModel, Panel]
) -> None:
    told = json.loads(package.receipt.to_json())
    assert told["source"] == f"sha256:{sha256(ridge[0]).hexdigest()}"
    assert told["package"] == f"sha256:{sha256(package.content).hexdigest()}"
    assert told["verified"] == "unverified"
    assert told["why"]
    assert (told["precision"], told["deployment"]) == ("float32", "iOS17")
    assert told["inputs"][0] == {"name": "target", "dtype": "float32", "shape": ["batch", 168]}
    assert told["inputs"][-1] == {"name": "phase", "dtype": "int32", "shape": ["batch"]}
    assert told["outputs"] == [{"name": "quantiles", "dtype": "float32", "shape": ["batch", 24, len(QUANTILES)]}]
    assert told["operations"]["MatMul"] >= 1


def test_the_same_model_gives_the_same_bytes_also_in_another_process(
    package: CoreMLPackage, ridge: tuple[bytes, CalibratedModel, Panel], tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(ridge[0])
    code = (
        "import sys; from pathlib import Path; from mcp_forecast_engine.models.coreml import author_core_ml; "
        "Path(sys.argv[2]).write_bytes(author_core_ml(Path(sys.argv[1]).read_bytes()).content)"
    )
    where = [str(tmp_path / name) for name in ("model.onnx", "package.zip")]
    subprocess.run([sys.executable, "-c", code, *where], check=True, capture_output=True)
    assert Path(where[1]).read_bytes() == package.content
    assert author_core_ml(ridge[0]).content == package.content
    manifest = json.loads(files(package)["forecast.mlpackage/Manifest.json"])
    assert manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["name"] == "model.mlmodel"


def test_an_operation_without_translation_is_refused_by_name() -> None:
    pytest.importorskip("coremltools", reason="the extra `coreml` is not installed")
    graph = Graph()
    source = graph.input("target", ("batch", 3))
    graph.output("quantiles", graph.node("Erf", source), ("batch", 3))
    with pytest.raises(ModelUntranslatable, match="Erf") as refusal:
        author_core_ml(graph.model("forecast", {}))
    assert "MatMul" in refusal.value.allowed
    with pytest.raises(ArtifactCorrupt):
        author_core_ml(b"no model")


@pytest.mark.skipif(sys.platform != "darwin", reason="Core ML predicts on macOS only: the package stays unverified")
@pytest.mark.parametrize("size", [1, 7, 256])
def test_on_macos_the_package_predicts_what_the_model_computes(
    size: int, package: CoreMLPackage, ridge: tuple[bytes, CalibratedModel, Panel], tmp_path: Path
) -> None:
    coremltools = pytest.importorskip("coremltools")
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        archive.extractall(tmp_path)
    inputs = tail_inputs(ridge[2], ridge[1].path.layout)
    several = Inputs(**{n: np.repeat(getattr(inputs, n), size, axis=0) for n in inputs.__dataclass_fields__})
    loaded = coremltools.models.MLModel(str(tmp_path / "forecast.mlpackage"))
    given = arrays(several, [port.name for port in package.receipt.inputs])
    found = np.asarray(loaded.predict(given)["quantiles"], np.float64)
    assert largest_difference(found, ridge[1].quantiles(several)) < TOLERANCE


def test_core_ml_is_loaded_only_when_a_package_is_authored() -> None:
    code = "import sys; import mcp_forecast_engine.models.coreml; print('coremltools' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
