from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from forecast_toys import hourly, panel_of

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Spread, Unit
from mcp_forecast_engine.models.contract import KEY, contract_of, read_contract
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.models.features import tail_inputs
from mcp_forecast_engine.models.spec import QUANTILES, spec_for
from mcp_forecast_engine.models.table import MODELS
from mcp_forecast_engine.serving.session import load_model

ROLES = ("known_future", "historical", "static")


def calibrated(
    panel: Panel, family: str, settings: dict[str, object], *, roles: tuple[str, ...], spread: Spread, phase: int | None
) -> CalibratedModel:
    spec = spec_for(panel, 24, roles=roles)
    offsets = np.sort(np.random.default_rng(0).normal(size=(24, len(QUANTILES))) * 0.2, axis=1)
    return CalibratedModel(
        MODELS[family].fit(panel, spec, settings), Calibration(offsets, Unit("identity", spread), phase)
    )


CASES = {
    "naive": ("seasonal_naive", {"period": 168}, (), "level", None),
    "naive by phase": ("seasonal_naive", {"period": 24}, (), "change", 3),
    "pooled": ("direct_ridge", {"transform": "identity", "aligned": False, "members": [[1.0, 0.1]]}, (), "level", None),
    "by phase": (
        "direct_ridge",
        {"transform": "identity", "aligned": True, "members": [[1.0, 1.0]]},
        ROLES,
        "level",
        0,
    ),
    "root": ("direct_ridge", {"transform": "root", "aligned": True, "members": [[1.0, 0.3]]}, ROLES, "change", 0),
    "log": (
        "direct_ridge",
        {"transform": "log", "aligned": False, "members": [[1.0, 0.3], [0.5, 1.0]]},
        ROLES,
        "change",
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("level", [60.0, 60_000.0])
def test_the_file_answers_as_the_model_does_at_every_hour_and_batch_size(case: str, level: float) -> None:
    family, settings, roles, spread, phase = CASES[case]
    whole = hourly(60, level=level)
    whole = replace(whole, y=np.maximum(whole.y, 0))
    model = calibrated(
        window_at(whole, np.array([24 * 58]), 24).history, family, settings, roles=roles, spread=spread, phase=phase
    )
    session = load_model(export_onnx(model, contract_of(model, whole)))
    for origin in (24 * 50, 24 * 50 + 7, 24 * 58):
        history = window_at(whole, np.array([origin]), 24).history
        inputs = tail_inputs(history, model.path.layout)
        many = replace(inputs, **{n: np.repeat(getattr(inputs, n), 3, axis=0) for n in inputs.__dataclass_fields__})
        expected, found = model.quantiles(many), session.run(many)
        assert found.shape == (3, 24, len(QUANTILES))
        size = np.abs(expected).mean()
        assert np.abs(found - expected).max() / size < 1e-5


def test_the_same_fit_gives_the_same_bytes() -> None:
    family, settings, roles, spread, phase = CASES["root"]
    panel = hourly(40)
    files = []
    for _ in range(2):
        model = calibrated(panel, family, settings, roles=roles, spread=spread, phase=phase)
        files.append(export_onnx(model, contract_of(model, panel, schema="sha256:ab")))
    assert files[0] == files[1]


def test_the_contract_travels_inside_the_file() -> None:
    family, settings, roles, spread, phase = CASES["by phase"]
    panel = hourly(40)
    model = calibrated(panel, family, settings, roles=roles, spread=spread, phase=phase)
    contract = contract_of(model, panel, schema="sha256:ab")
    file = onnx.load_from_string(export_onnx(model, contract))
    (entry,) = file.metadata_props
    assert entry.key == KEY
    assert read_contract(entry.value) == contract
    told = json.loads(entry.value)
    assert told["known_future"] == ["driver", "kind"]
    assert told["calendar"][0] == "hour_00"
    assert told["cov_hist"] == ["past", "driver", "kind"]
    assert told["categories"] == {"kind": ["a", "b", "c"]}
    assert told["levels"] == list(QUANTILES)
    assert (told["freq"], told["horizon"], told["schema"]) == ("h", 24, "sha256:ab")
    assert not any(node.doc_string or node.metadata_props for node in file.graph.node)


def test_a_long_horizon_with_many_covariates_is_averaged_in_blocks_in_the_file_too() -> None:
    draw = np.random.default_rng(0)
    n = 24 * 60
    panel = panel_of([draw.normal(size=n) + 5], season_length=24, known_future={
        f"x{i}": [draw.normal(size=n)] for i in range(12)
    })  # fmt: skip
    history = window_at(panel, np.array([n - 48]), 48).history
    spec = spec_for(history, 48, roles=("known_future",))
    path = MODELS["direct_ridge"].fit(history, spec, CASES["pooled"][1])
    assert path.design.blocks < 48
    model = CalibratedModel(path, Calibration(np.zeros((48, len(QUANTILES))), Unit("identity", "level"), None))
    inputs = tail_inputs(history, path.layout)
    found = load_model(export_onnx(model, contract_of(model, panel))).run(inputs)
    np.testing.assert_allclose(found, model.quantiles(inputs), rtol=1e-4, atol=1e-5)


def test_a_series_without_calendar_or_covariates_needs_only_its_target() -> None:
    panel = panel_of([np.random.default_rng(0).normal(size=90)], season_length=1, freq="1")
    spec = spec_for(panel, 4)
    path = MODELS["direct_ridge"].fit(panel, spec, {"transform": "identity", "aligned": False, "members": [[1.0, 1.0]]})
    model = CalibratedModel(path, Calibration(np.zeros((4, len(QUANTILES))), Unit("identity", "level"), None))
    file = onnx.load_from_string(export_onnx(model, contract_of(model, panel)))
    assert [part.name for part in file.graph.input] == ["target"]
