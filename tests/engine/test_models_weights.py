"""Weights apart from the graph: every family's own numbers, which answer as the served file does."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from forecast_toys import panel_of

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import ArtifactCorrupt, NotExportable
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.combination import Combination
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.models.features import tail_inputs
from mcp_forecast_engine.models.pretrained_path import PretrainedPath
from mcp_forecast_engine.models.scaling import Stillness
from mcp_forecast_engine.models.spec import QUANTILES, spec_for
from mcp_forecast_engine.models.table import MODELS
from mcp_forecast_engine.models.weights import KEY, read_weights, write_weights
from mcp_forecast_engine.serving.session import load_model

HORIZON = 6
ROLES = ("known_future", "historical", "static")
NEEDS = {"mlp": "torch", "segment_lstm": "torch", "tabular": "lightgbm"}
ASKED: dict[str, dict[str, int]] = {
    "mlp": {"seeds": 2, "visits": 400, "hidden": 8},
    "segment_lstm": {"seeds": 2, "visits": 400, "hidden": 8},
    "tabular": {"trees": 20},
}
OWN = [name for name in MODELS if name != "pretrained"]


def shops() -> Panel:
    """Eight series of twelve steps a season, with a promotion, visitors of the past and a kind each."""
    draw, t = np.random.default_rng(5), np.arange(240)
    promotions = [(draw.random(240) < 0.15).astype(float) for _ in range(8)]
    series = [
        200 + 40 * i + 50 * np.sin(2 * np.pi * t / 12) + 60 * promotion + draw.normal(0, 8, 240)
        for i, promotion in enumerate(promotions)
    ]
    panel = panel_of(
        series,
        season_length=12,
        freq="1",
        known_future={"promotion": promotions},
        historical={"visitors": [y / 3 + draw.normal(0, 2, 240) for y in series]},
        static={"kind": [float(i % 2) for i in range(8)]},
    )
    return window_at(panel, panel.lengths - HORIZON, HORIZON).history


@pytest.fixture(scope="module")
def panel() -> Panel:
    return shops()


def fitted(family: str, panel: Panel) -> CalibratedModel:
    """A calibrated model of a family, or two of them mixed."""
    if family in NEEDS and find_spec(NEEDS[family]) is None:
        pytest.skip(f"{family} is trained with {NEEDS[family]}, which is not installed")
    spec = replace(spec_for(panel, HORIZON, roles=ROLES), lookback=24)
    names = ("seasonal_naive", "direct_ridge") if family == "combination" else (family,)
    paths = [
        kind.fit(panel, spec, kind.tune(panel, spec, [panel.lengths - 2 * HORIZON], ASKED.get(name, {})))
        for name, kind in ((name, MODELS[name]) for name in names)
    ]
    path = Combination(tuple(paths), (0.25, 0.75), "mean") if family == "combination" else paths[0]
    offsets = np.sort(np.random.default_rng(0).normal(size=(HORIZON, len(QUANTILES))) * 0.2, axis=1)
    return CalibratedModel(path, Calibration(offsets, Unit("identity", "change", Stillness(0.1, 0.2)), None))


@pytest.mark.parametrize("family", [*OWN, "combination"])
def test_weights_are_read_back_into_a_model_that_answers_as_the_served_file_does(family: str, panel: Panel) -> None:
    model = fitted(family, panel)
    contract = contract_of(model, panel, schema="sha256:ab")
    data = write_weights(model, contract)
    assert write_weights(model, contract) == data
    read, told = read_weights(data)
    assert told == contract
    assert read.layout == model.layout
    inputs = tail_inputs(panel, read.layout)
    found = read.quantiles(inputs)
    np.testing.assert_array_equal(found, model.quantiles(inputs))
    served = load_model(export_onnx(model, contract)).run(inputs)
    assert np.abs(found - served).max() / np.abs(served).mean() < 1e-6
    assert write_weights(read, told) == data


def test_tensors_are_named_by_their_place_and_any_reader_finds_them(panel: Panel) -> None:
    from safetensors.numpy import load

    model = fitted("combination", panel)
    data = write_weights(model, contract_of(model, panel))
    tensors = load(data)
    weights = model.path.members[1].weights  # type: ignore[attr-defined]  # the ridge's
    np.testing.assert_array_equal(tensors["path.members.1.weights"], weights)
    np.testing.assert_array_equal(tensors["calibration.offsets"], model.calibration.offsets)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert list(header["__metadata__"]) == [KEY]
    assert json.loads(header["__metadata__"][KEY])["contract"]["family"] == "combination"


def test_a_pretrained_model_has_no_weights_of_its_own(panel: Panel) -> None:
    model = fitted("seasonal_naive", panel)
    contract = contract_of(model, panel)
    borrowed = object.__new__(PretrainedPath)
    with pytest.raises(NotExportable, match="family pretrained"):
        write_weights(replace(model, path=borrowed), contract)


def test_bytes_that_are_no_weights_are_refused(panel: Panel) -> None:
    from safetensors.numpy import load, save

    model = fitted("seasonal_naive", panel)
    data = write_weights(model, contract_of(model, panel))
    (text,) = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"].values()
    told, tensors = json.loads(text), load(data)
    stranger = {"kind": "Path", "fields": {}}
    for other in (
        {**told, "format": 9},
        {**told, "model": stranger},
        {**told, "model": told["model"]["fields"]["calibration"]},
        {**told, "model": {"kind": "CalibratedModel", "fields": {"path": None}}},
    ):
        with pytest.raises(ArtifactCorrupt, match="no weights of ours"):
            read_weights(save(tensors, metadata={KEY: json.dumps(other)}))
    fewer = {name: tensors[name] for name in list(tensors)[1:]}
    for broken in (b"", data[:-8], data[:40], b"\xff" * 64, save(tensors), save(fewer, metadata={KEY: text})):
        with pytest.raises(ArtifactCorrupt, match="no weights of ours"):
            read_weights(broken)
