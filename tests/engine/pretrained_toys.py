"""Folders of pretrained models for tests: files that only look like models, and tiny ones with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_model
from mcp_forecast_engine.models.features import Inputs, inputs_at
from mcp_forecast_engine.models.pretrained_checkpoint import Checkpoint
from mcp_forecast_engine.models.pretrained_folder import PretrainedFolder
from mcp_forecast_engine.models.pretrained_path import PretrainedPath
from mcp_forecast_engine.models.spec import QUANTILES, spec_for
from mcp_forecast_engine.models.table import MODELS

ROLES = ("known_future", "historical", "static")
PRETRAINED = MODELS["pretrained"]


def folder_of(root: Path, **models: dict[str, bytes]) -> PretrainedFolder:
    """Sub-folders with files; each gets a config.json of a Chronos-2 unless it brings one."""
    for name, files in models.items():
        told = {"config.json": b'{"chronos_pipeline_class": "Chronos2Pipeline"}', "model.safetensors": b"weights"}
        for file, content in {**told, **files}.items():
            place = root / name / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    return PretrainedFolder(root)


def _chronos_2(place: Path) -> None:
    import torch
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig

    told = {
        "context_length": 2_048, "output_patch_size": 16, "input_patch_size": 16, "input_patch_stride": 16,
        "quantiles": [round(0.1 * i, 1) for i in range(1, 10)], "use_reg_token": True, "use_arcsinh": True,
        "max_output_patches": 4, "time_encoding_scale": 2_048,
    }  # fmt: skip
    torch.manual_seed(0)
    config = Chronos2CoreConfig(
        d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, dropout_rate=0.0, initializer_factor=0.3,
        chronos_config=told, chronos_pipeline_class="Chronos2Pipeline", architectures=["Chronos2Model"],
    )  # fmt: skip
    Chronos2Model(config).save_pretrained(place)


def _chronos_bolt(place: Path) -> None:
    import torch
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from transformers import T5Config

    told = {
        "context_length": 512, "prediction_length": 16, "input_patch_size": 16, "input_patch_stride": 16,
        "quantiles": [round(0.1 * i, 1) for i in range(1, 10)], "use_reg_token": True,
    }  # fmt: skip
    torch.manual_seed(0)
    config = T5Config(
        d_model=16, d_kv=8, d_ff=16, num_layers=1, num_decoder_layers=1, num_heads=2, vocab_size=2, dropout_rate=0.0,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, initializer_factor=1.0, chronos_config=told,
        chronos_pipeline_class="ChronosBoltPipeline", architectures=["ChronosBoltModelForForecasting"],
    )  # fmt: skip
    ChronosBoltModelForForecasting(config).save_pretrained(place)


def _timesfm(place: Path) -> None:
    import torch
    from transformers import TimesFm2_5Config, TimesFm2_5ModelForPrediction

    torch.manual_seed(0)
    config = TimesFm2_5Config(
        num_hidden_layers=1, hidden_size=16, intermediate_size=16, head_dim=8, num_attention_heads=2,
        num_key_value_heads=2, output_quantile_len=32, horizon_length=16, context_length=512,
        max_position_embeddings=512, initializer_range=0.3,
    )  # fmt: skip
    TimesFm2_5ModelForPrediction(config).save_pretrained(place)


MAKERS: dict[str, Callable[[Path], None]] = {"chronos-2": _chronos_2, "bolt": _chronos_bolt, "timesfm": _timesfm}


def tail(panel: Panel, horizon: int = 24) -> Panel:
    """The panel without its last steps, which become the known future."""
    window = window_at(panel, panel.lengths - horizon, horizon)
    return window.history


def fitted(panel: Panel, name: str, horizon: int = 24, roles: tuple[str, ...] = ROLES) -> PretrainedPath:
    """A model of the folder at hand, as a training would hold it."""
    spec = spec_for(panel, horizon, roles=roles)
    model = PRETRAINED.fit(panel, spec, PRETRAINED.tune(panel, spec, [panel.lengths - 2 * horizon], {"model": name}))
    assert isinstance(model, PretrainedPath)
    return model


def windows(panel: Panel, model: PretrainedPath, count: int) -> Inputs:
    """The last windows that lie inside the panel, one step apart."""
    origin = int(panel.lengths[0]) - model.layout.horizon - np.arange(count)
    return inputs_at(panel, model.layout, np.zeros(count, np.int64), origin)


def path_of(panel: Panel, found: Checkpoint) -> PretrainedPath:
    """A fitted model without asking for its library."""
    told = {"model": found.name, "kind": found.kind, "sha256": found.sha256, "licence": found.licence}
    settings = {**told, "library": "chronos-forecasting 2.3.2", "lookback": 200}
    model = PRETRAINED.fit(panel, spec_for(panel, 24, roles=ROLES), settings)
    assert isinstance(model, PretrainedPath)
    return model


def calibrated(path: Any) -> CalibratedModel:
    """With some intervals around it."""
    offsets = np.sort(np.random.default_rng(0).normal(size=(path.layout.horizon, len(QUANTILES))), axis=1)
    return CalibratedModel(path, Calibration(offsets, Unit("identity", "level"), phase=0))


def manifest(panel: Panel, found: Checkpoint) -> bytes:
    """The artifact of a model alone."""
    model = calibrated(path_of(panel, found))
    return export_model(model, contract_of(model, panel))
