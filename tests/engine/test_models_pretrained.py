"""Pretrained models that forecast: tiny ones with random weights; needs the extra `foundation`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from forecast_toys import hourly, panel_of
from pretrained_toys import MAKERS, PRETRAINED, ROLES, calibrated, fitted, tail, windows

from mcp_forecast_engine.errors import DataInvalid, PretrainedUnavailable
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_model
from mcp_forecast_engine.models.features import inputs_at, tail_inputs
from mcp_forecast_engine.models.pretrained_checkpoint import NOT_STATED
from mcp_forecast_engine.models.pretrained_folder import PretrainedFolder, reading_from
from mcp_forecast_engine.models.pretrained_loading import Reader
from mcp_forecast_engine.models.spec import spec_for
from mcp_forecast_engine.serving.forecast import forecast
from mcp_forecast_engine.serving.session import load_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PretrainedFolder]:
    pytest.importorskip("chronos", reason="the extra `foundation` is not installed: no pretrained model is loaded")
    root = tmp_path_factory.mktemp("pretrained")
    for name, save in MAKERS.items():
        save(root / name)
    folder = PretrainedFolder(root)
    with reading_from(folder):
        yield folder


@pytest.mark.parametrize("name", MAKERS)
def test_a_local_model_forecasts_every_window_in_finite_numbers(tiny: PretrainedFolder, name: str) -> None:
    panel = hourly(40)
    model = fitted(panel, name)
    found = model.point(windows(panel, model, 9))
    assert found.shape == (9, 24)
    assert np.isfinite(found).all()
    assert found.std() > 0


@pytest.mark.parametrize("name", MAKERS)
def test_the_path_is_the_librarys_own_median(tiny: PretrainedFolder, tmp_path: Path, name: str) -> None:
    import torch
    from chronos import BaseChronosPipeline
    from transformers import TimesFm2_5ModelForPrediction

    MAKERS[name](tmp_path)
    panel = hourly(40)
    model = fitted(panel, name, horizon=16, roles=())
    inputs = windows(panel, model, 3)
    raw = torch.from_numpy(inputs.target.astype(np.float32))
    if name == "timesfm":
        own = TimesFm2_5ModelForPrediction.from_pretrained(tmp_path, local_files_only=True)
        with torch.no_grad():
            expected = own(past_values=list(raw), truncate_negative=False).full_predictions[:, :16, 5]
    else:
        pipeline = BaseChronosPipeline.from_pretrained(tmp_path, device_map="cpu", dtype=torch.float32)
        told = raw[:, None] if name == "chronos-2" else raw
        quantiles, _ = pipeline.predict_quantiles(told, prediction_length=16, quantile_levels=[0.5])
        expected = torch.stack([one[0, :, 0] for one in quantiles]) if name == "chronos-2" else quantiles[:, :, 0]
    np.testing.assert_allclose(model.point(inputs), expected.numpy(), atol=1e-4 * panel.y.std())


@pytest.mark.parametrize("name", MAKERS)
def test_two_calls_give_the_same_bytes(tiny: PretrainedFolder, name: str) -> None:
    panel = hourly(40)
    model = fitted(panel, name)
    first, second = (model.point(windows(panel, model, 5)).tobytes() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", MAKERS)
def test_a_window_is_forecast_the_same_in_any_company(tiny: PretrainedFolder, name: str) -> None:
    panel = hourly(40)
    model = fitted(panel, name)
    inputs = windows(panel, model, 140)  # more than one call of the library
    some = np.array([0, 70, 139])
    alone = np.concatenate([model.point(inputs.take(some[[i]])) for i in range(3)])
    np.testing.assert_allclose(alone, model.point(inputs)[some], atol=1e-5 * panel.y.std())


@pytest.mark.parametrize("name", MAKERS)
def test_scaling_and_shifting_a_series_scales_and_shifts_its_forecast(tiny: PretrainedFolder, name: str) -> None:
    panel = hourly(40)
    moved = replace(panel, y=-2e-3 + 1e4 * panel.y)
    model = fitted(panel, name)
    first, second = model.point(windows(panel, model, 6)), model.point(windows(moved, model, 6))
    np.testing.assert_allclose((second + 2e-3) / 1e4, first, atol=1e-6 * panel.y.std())


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_after_the_origin_of_a_window_is_read_but_known_covariates(tiny: PretrainedFolder, name: str) -> None:
    panel = hourly(40)
    model = fitted(panel, name)
    origin = np.array([500])
    late = np.arange(len(panel.y)) >= 500
    spoilt = replace(
        panel, y=np.where(late, 1e9, panel.y), covariates={**panel.covariates, "past": np.where(late, 1e9, 0.0)}
    )
    clean = replace(panel, covariates={**panel.covariates, "past": np.zeros(len(panel.y))})
    first, second = (model.point(inputs_at(one, model.layout, np.array([0]), origin)) for one in (clean, spoilt))
    np.testing.assert_array_equal(first, second)


def test_a_history_shorter_than_the_context_is_read_as_it_is(tiny: PretrainedFolder) -> None:
    whole = hourly(40)
    for name in MAKERS:
        model = fitted(whole, name)
        short = inputs_at(whole, model.layout, np.array([0]), np.array([100]))
        filled = short.target.copy()
        filled[:, :-100] = 1e6  # what continues it backwards must not matter
        np.testing.assert_array_equal(model.point(short), model.point(replace(short, target=filled)))


def test_chronos_2_reads_known_future_past_and_categorical_covariates(tiny: PretrainedFolder) -> None:
    panel = hourly(40)
    model = fitted(panel, "chronos-2")
    assert model.layout.cov_hist == ("past", "driver", "kind")
    assert model.categorical == ("kind",)
    inputs = windows(panel, model, 3)
    expected = model.point(inputs)
    for at in range(2):
        ahead = inputs.cov_future.copy()
        ahead[:, :, at] = (ahead[:, :, at] + 1) % 3 if at else ahead[:, :, at] + 5
        assert not np.allclose(model.point(replace(inputs, cov_future=ahead)), expected)
    before = inputs.cov_hist.copy()
    before[:, :, 0] += np.linspace(0, 9, before.shape[1])
    assert not np.allclose(model.point(replace(inputs, cov_hist=before)), expected)
    unseen = inputs.cov_future.copy()
    unseen[:, :, 1] = -1
    assert np.isfinite(model.point(replace(inputs, cov_future=unseen))).all()


def test_models_that_read_no_covariates_ask_for_none(tiny: PretrainedFolder) -> None:
    for name in ("bolt", "timesfm"):
        layout = fitted(hourly(40), name).layout
        assert (layout.cov_hist, layout.known_future, layout.static, layout.past) == ((), (), (), 1)


def test_the_order_of_series_and_of_columns_changes_nothing(tiny: PretrainedFolder) -> None:
    panel = hourly(40)
    model = fitted(panel, "chronos-2")
    inputs = windows(panel, model, 7)
    expected = model.point(inputs)
    order = np.random.default_rng(0).permutation(7)
    np.testing.assert_allclose(model.point(inputs.take(order)), expected[order], atol=1e-6 * panel.y.std())
    spec = spec_for(panel, 24, roles=ROLES)
    turned = replace(spec, known_future=spec.known_future[::-1])
    other = PRETRAINED.fit(panel, turned, PRETRAINED.tune(panel, turned, [panel.lengths - 48], {"model": "chronos-2"}))
    found = other.point(windows(panel, other, 7))
    np.testing.assert_allclose(found, expected, atol=1e-6 * panel.y.std())


@pytest.mark.parametrize("name", MAKERS)
def test_a_horizon_beyond_the_models_own_is_continued(tiny: PretrainedFolder, name: str) -> None:
    panel = hourly(60)
    found = fitted(panel, name, horizon=100).point(windows(panel, fitted(panel, name, horizon=100), 2))
    assert found.shape == (2, 100)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", MAKERS)
def test_flat_short_and_negative_series_get_finite_forecasts(tiny: PretrainedFolder, name: str) -> None:
    draw = np.random.default_rng(0)
    panel = panel_of(
        [np.zeros(90), np.full(90, -7.0), -5 - draw.random(90), draw.random(3)], season_length=12, freq="1"
    )
    spec = spec_for(panel, 6)
    model = PRETRAINED.fit(panel, spec, PRETRAINED.tune(panel, spec, [], {"model": name}))
    found = model.point(tail_inputs(panel, model.layout))
    assert np.isfinite(found).all()
    assert np.abs(found[0]).max() < 1e3
    assert model.point(tail_inputs(panel, model.layout).take(slice(0, 0))).shape == (0, 6)


def test_the_settings_say_which_weights_under_which_licence_by_which_library(tiny: PretrainedFolder) -> None:
    panel = hourly(40)
    found = PRETRAINED.tune(panel, spec_for(panel, 24), [panel.lengths - 48], {"model": "timesfm"})
    assert json.loads(json.dumps(found)) == found
    assert found["sha256"] == tiny.checkpoint("timesfm").sha256
    assert (found["kind"], found["licence"], found["lookback"]) == ("timesfm-2.5", NOT_STATED, 512)
    assert found["library"].startswith("transformers 5.")
    with pytest.raises(DataInvalid, match="no pretrained model is named"):
        PRETRAINED.tune(panel, spec_for(panel, 24), [], {})


@pytest.mark.parametrize("name", MAKERS)
def test_the_manifest_answers_as_the_model_does_with_ordered_quantiles(tiny: PretrainedFolder, name: str) -> None:
    panel = tail(hourly(40))
    model = calibrated(fitted(panel, name))
    found = forecast(load_model(export_model(model, contract_of(model, panel))), panel)
    np.testing.assert_array_equal(found.quantiles, model.quantiles(tail_inputs(panel, model.path.layout)))
    assert (np.diff(found.quantiles, axis=2) >= 0).all()


def test_weights_that_do_not_fill_the_model_are_refused(tiny: PretrainedFolder, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for name, save in MAKERS.items():
        save(tmp_path / name)
        file = tmp_path / name / "model.safetensors"
        whole = load_file(file)
        cut = dict(sorted(whole.items())[1:])
        for content in (cut, {key: value[:1] for key, value in whole.items()}, None):
            if content is None:
                file.write_bytes(b"no weights at all")
            else:
                save_file(content, file, metadata={"format": "pt"})
            folder = PretrainedFolder(tmp_path)
            with reading_from(folder), pytest.raises(PretrainedUnavailable, match="are no whole"):
                folder.reader(name, folder.checkpoint(name).sha256)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("chronos-2", {"chronos_config": None}),
        ("chronos-2", {"chronos_config": {"quantiles": [0.1, 0.9]}}),
        ("chronos-2", {"chronos_config": {"input_patch_size": 0}}),
        ("bolt", {"chronos_config": {"quantiles": []}}),
        ("bolt", {"d_kv": "wide"}),
        ("timesfm", {"patch_length": 0}),
    ],
)
def test_a_configuration_that_makes_no_model_is_refused_with_what_to_do(
    tiny: PretrainedFolder, tmp_path: Path, name: str, change: dict[str, Any]
) -> None:
    MAKERS[name](tmp_path / name)
    file = tmp_path / name / "config.json"
    told = json.loads(file.read_text())
    for key, value in change.items():
        told[key] = {**told[key], **value} if isinstance(value, dict) else value
    file.write_text(json.dumps(told))
    folder = PretrainedFolder(tmp_path)
    with pytest.raises(PretrainedUnavailable, match="are no whole") as caught:
        folder.reader(name, folder.checkpoint(name).sha256)
    assert caught.value.allowed
    assert "ask the operator" in (caught.value.next_step or "")


def test_threads_that_ask_at_once_share_one_model(tiny: PretrainedFolder, tmp_path: Path) -> None:
    MAKERS["bolt"](tmp_path / "bolt")
    MAKERS["chronos-2"](tmp_path / "chronos-2")
    folder = PretrainedFolder(tmp_path)
    digests = {name: folder.checkpoint(name).sha256 for name in folder.names()}
    for asked in (["bolt"] * 8, ["chronos-2"] * 8):
        ready = Barrier(len(asked))

        def ask(name: str, ready: Barrier = ready) -> Reader:
            ready.wait()
            return folder.reader(name, digests[name])

        with ThreadPoolExecutor(len(asked)) as pool:
            readers = list(pool.map(ask, asked))
        assert len({id(reader) for reader in readers}) == 1
    with ThreadPoolExecutor(8) as pool:  # two models by turns: each thread gets the one it asked for
        names = [name for _ in range(8) for name in digests]
        found = list(pool.map(lambda name: folder.reader(name, digests[name]), names))
    assert [type(reader) is type(folder.reader("bolt", digests["bolt"])) for reader in found] == [
        name == "bolt" for name in names
    ]


def test_loading_leaves_the_hub_unreachable(tiny: PretrainedFolder) -> None:
    from huggingface_hub import constants

    tiny.reader("bolt", tiny.checkpoint("bolt").sha256)
    assert constants.HF_HUB_OFFLINE is True
