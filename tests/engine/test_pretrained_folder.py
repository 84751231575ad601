"""The operator's folder of pretrained models, and the manifests that name them; nothing here needs their libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forecast_toys import hourly
from pretrained_toys import calibrated, folder_of, manifest, path_of, tail

from mcp_forecast.settings import child_environment, read_settings
from mcp_forecast_engine.engine import Engine
from mcp_forecast_engine.errors import ArtifactCorrupt, DataInvalid, NotExportable, PretrainedUnavailable
from mcp_forecast_engine.factory.bound import layout_of
from mcp_forecast_engine.models.combination import Combination
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_model
from mcp_forecast_engine.models.pretrained import LONGEST_CONTEXT, at_hand, context_for, forecast_cpu_s
from mcp_forecast_engine.models.pretrained_checkpoint import NOT_STATED, Checkpoint
from mcp_forecast_engine.models.pretrained_folder import PretrainedFolder, reading_from
from mcp_forecast_engine.models.spec import ForecastSpec, spec_for
from mcp_forecast_engine.models.table import MODELS
from mcp_forecast_engine.serving.forecast import forecast
from mcp_forecast_engine.serving.plan import pin_plan
from mcp_forecast_engine.serving.pretrained_session import PretrainedSession
from mcp_forecast_engine.serving.session import load_model
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.database import open_database


def test_the_models_are_the_sub_folders_with_a_configuration_and_a_plain_name(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, tiny={}, second={})
    (tmp_path / "Upper Case").mkdir()
    (tmp_path / "Upper Case" / "config.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    assert folder.names() == ("second", "tiny")
    assert PretrainedFolder(tmp_path / "absent").names() == PretrainedFolder(None).names() == ()


@pytest.mark.parametrize(
    "name", ["../tiny", "tiny/..", "..", ".", "", "/etc", "a\\b", "amazon/chronos-2", "Tiny", "a" * 65, "a\n"]
)
def test_a_name_with_a_path_in_it_is_refused(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path, tiny={})
    with pytest.raises(DataInvalid, match="is no name of a pretrained model") as caught:
        folder.checkpoint(name)
    assert "sub-folder" in caught.value.allowed
    assert caught.value.field == "pretrained"


def test_an_unknown_name_is_answered_with_the_names_there_are_and_no_path(tmp_path: Path) -> None:
    with pytest.raises(PretrainedUnavailable, match="no pretrained model 'large'") as caught:
        folder_of(tmp_path, tiny={}).checkpoint("large")
    assert caught.value.allowed == ["tiny"]
    assert str(tmp_path) not in f"{caught.value.message} {caught.value.next_step}"


def test_without_a_folder_the_answer_names_the_setting() -> None:
    with pytest.raises(PretrainedUnavailable) as caught:
        PretrainedFolder(None).checkpoint("tiny")
    assert "MCP_FORECAST_PRETRAINED" in (caught.value.next_step or "")


def test_the_digest_covers_every_file_but_hidden_ones(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, tiny={"part/extra.bin": b"1"}, twin={"part/extra.bin": b"1"})
    first = folder.checkpoint("tiny")
    assert first.sha256 == folder.checkpoint("twin").sha256
    (tmp_path / "tiny" / ".cache").mkdir()
    (tmp_path / "tiny" / ".cache" / "stamp").write_text("now")
    assert folder.checkpoint("tiny").sha256 == first.sha256
    for file in ("model.safetensors", "part/extra.bin", "new.txt"):
        before = folder.checkpoint("tiny").sha256
        (tmp_path / "tiny" / file).write_bytes(b"changed")
        assert folder.checkpoint("tiny").sha256 != before


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": b"---\nlicense: apache-2.0\ntags:\n- x\n---\n# Model"}, "apache-2.0"),
        ({"LICENSE": b"\n\n                Apache License\n  Version 2.0"}, "Apache License"),
        ({"README.md": b"# Model", "COPYING": b"Community\x07 terms\n" + b"x" * 9_000}, "Community terms"),
        ({"config.json": b'{"model_type": "timesfm2_5", "license": "mit"}'}, "mit"),
        ({"README.md": b"a model", "LICENSE": b"\xff\xfe" + b"z" * 400}, None),
        ({}, NOT_STATED),
    ],
)  # fmt: skip
def test_the_licence_is_what_the_model_says_of_itself(
    tmp_path: Path, files: dict[str, bytes], licence: str | None
) -> None:
    found = folder_of(tmp_path, tiny=files).checkpoint("tiny").licence
    assert len(found) <= 80
    assert found.isprintable()
    assert licence is None or found == licence


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"config.json": b'{"model_type": "gpt2"}'}, "of a kind that cannot be read"),
        ({"config.json": b"not json"}, "config.json of the pretrained model 'tiny' cannot be read"),
        ({"config.json": b"[1]"}, "of a kind that cannot be read"),
        ({"config.json": b"[" * 100_000}, "config.json of the pretrained model 'tiny' cannot be read"),
        ({"config.json": b'{"model_type": "timesfm2_5", "context_length": 0}'}, "states no context length"),
        ({"model.safetensors": b""}, "no weights in the safetensors format"),
    ],
)  # fmt: skip
def test_what_is_no_model_of_a_known_kind_is_refused_with_what_is_one(
    tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    with pytest.raises(PretrainedUnavailable, match=said) as caught:
        folder_of(tmp_path, tiny=files).checkpoint("tiny")
    assert caught.value.allowed
    assert "ask the operator" in (caught.value.next_step or "")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file is at hand that opens and cannot be read")
def test_a_file_that_cannot_be_read_leaves_the_model_out_and_says_why_without_a_path(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, good={}, torn={})
    pinned = folder.pinned({"torn": folder.checkpoint("torn").sha256})
    (tmp_path / "torn" / "extra.bin").symlink_to("/proc/self/mem")
    for ask in (folder.checkpoint, folder.outline):
        with pytest.raises(PretrainedUnavailable, match="'torn' cannot be read: Input/output error") as caught:
            ask("torn")
        assert caught.value.allowed
        assert "ask the operator" in (caught.value.next_step or "")
        assert str(tmp_path) not in f"{caught.value.message} {caught.value.next_step}"
    with pytest.raises(ArtifactCorrupt, match=r"since this run was asked for: .*cannot be read"):
        pinned.checkpoint("torn")
    found, left_out = at_hand(folder)
    assert "torn" not in found
    assert any("torn takes no part" in told and "cannot be read" in told for told in left_out)


def test_weights_that_are_a_pickle_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, tiny={"pytorch_model.bin": b"weights"})
    (tmp_path / "tiny" / "model.safetensors").unlink()
    with pytest.raises(PretrainedUnavailable, match="no weights in the safetensors format"):
        folder.checkpoint("tiny")


def test_files_that_changed_since_the_training_are_named_with_what_to_do(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, tiny={})
    content = manifest(hourly(20), folder.checkpoint("tiny"))
    (tmp_path / "tiny" / "model.safetensors").write_bytes(b"others")
    with reading_from(folder), pytest.raises(ArtifactCorrupt, match="are not those this was trained with") as caught:
        forecast(load_model(content), tail(hourly(20)))
    assert "train again" in (caught.value.next_step or "")


def test_without_a_folder_a_manifest_loads_and_says_what_is_missing_when_it_runs(tmp_path: Path) -> None:
    session = load_model(manifest(hourly(20), folder_of(tmp_path, tiny={}).checkpoint("tiny")))
    assert not session.inline
    with pytest.raises(PretrainedUnavailable, match="named no folder"):
        forecast(session, tail(hourly(20)))


def test_a_manifest_names_the_model_and_holds_no_path_and_no_weights(tmp_path: Path) -> None:
    panel, found = hourly(20), folder_of(tmp_path, tiny={"README.md": b"license: mit"}).checkpoint("tiny")
    content = manifest(panel, found)
    told = json.loads(content)
    assert told["format"] == "mcp-forecast-pretrained/1"
    (member,) = told["members"]
    assert (member["name"], member["sha256"], member["licence"]) == ("tiny", found.sha256, "mit")
    assert str(tmp_path).encode() not in content
    assert content == manifest(panel, found)
    model = path_of(panel, found)
    session = load_model(content)
    assert session.contract == contract_of(calibrated(model), panel)
    assert layout_of(content) == model.layout
    assert isinstance(session, PretrainedSession)
    assert session.model.path == model  # read back whole
    np.testing.assert_array_equal(session.model.calibration.offsets, calibrated(model).calibration.offsets)


@pytest.mark.parametrize(
    "change",
    [{"format": "mcp-forecast-pretrained/9"}, {"members": []}, {"calibration": {}}, {"contract": {"format": 9}}],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    content = manifest(hourly(20), folder_of(tmp_path, tiny={}).checkpoint("tiny"))
    for bad in (json.dumps({**json.loads(content), **change}).encode(), b"{", b"{}", b'{"format": 1}'):
        with pytest.raises(ArtifactCorrupt):
            load_model(bad)


def test_a_combination_with_a_pretrained_model_cannot_be_written(tmp_path: Path) -> None:
    panel = hourly(20)
    alone = path_of(panel, folder_of(tmp_path, tiny={}).checkpoint("tiny"))
    naive = MODELS["seasonal_naive"].fit(panel, spec_for(panel, 24), {"period": 24})
    model = calibrated(Combination((naive, alone), (0.5, 0.5), "mean"))
    with pytest.raises(NotExportable, match="cannot be written as ONNX"):
        export_model(model, contract_of(model, panel))


def test_reading_a_folder_and_a_manifest_loads_no_torch(tmp_path: Path) -> None:
    content = manifest(hourly(20), folder_of(tmp_path, tiny={}).checkpoint("tiny"))
    (tmp_path / "manifest").write_bytes(content)
    script = (
        "import sys; from pathlib import Path; from mcp_forecast_engine.serving.session import load_model; "
        "from mcp_forecast_engine.models.pretrained_folder import PretrainedFolder; "
        f"root = Path({str(tmp_path)!r}); session = load_model((root / 'manifest').read_bytes()); "
        "PretrainedFolder(root).checkpoint('tiny'); "
        "print([n for n in ('torch', 'onnx', 'transformers', 'chronos') if n in sys.modules], session.inline)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"


def test_a_server_leaves_a_pretrained_model_to_a_worker(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "models", tiny={})
    artifacts = ArtifactStore(tmp_path / "artifacts")
    made = artifacts.put(manifest(hourly(20), folder.checkpoint("tiny")))
    database = open_database(tmp_path / "forecast.db")
    engine = Engine(database, artifacts, wall_limit_s=1.0, pretrained=folder)
    plan = pin_plan(asked={}, identity={"dataset_id": "ds_1", "model_digest": made}, series_count=1)
    assert engine.try_inline(plan, should_stop=lambda: False) is plan
    database.close()


def test_the_context_is_the_history_bounded_by_the_model_and_by_memory() -> None:
    spec = ForecastSpec(24, 24, 168)
    many = replace(spec, known_future=tuple(f"x{i}" for i in range(15)))
    big = Checkpoint("a", "chronos-2", "sha256:0", NOT_STATED, context=8_192, size=480_000_000)
    assert [context_for(big, spec, steps) for steps in (30, 700, 9_999)] == [30, 700, LONGEST_CONTEXT]
    assert context_for(replace(big, context=512), spec, 9_999) == 512
    assert context_for(big, many, 9_999) == 512
    assert context_for(replace(big, kind="timesfm-2.5"), many, 9_999) == LONGEST_CONTEXT
    assert forecast_cpu_s(big, many, 512) > forecast_cpu_s(big, spec, 512) > 0


def test_the_planned_cost_is_near_what_full_size_models_took() -> None:
    """Measured on one thread, random weights: `pretrained_kinds`."""
    spec = ForecastSpec(24, 24, 168)
    two = replace(spec, known_future=("a", "b"))
    sizes = {"chronos-2": 477_910_656, "chronos-bolt": 821_171_712, "timesfm-2.5": 925_157_120}
    found = {kind: Checkpoint("a", kind, "sha256:0", NOT_STATED, 8_192, size) for kind, size in sizes.items()}
    for kind, asked, steps, took in (
        ("chronos-2", spec, 512, 0.106), ("chronos-2", two, 2_048, 1.191), ("chronos-bolt", spec, 512, 0.091),
        ("chronos-bolt", spec, 2_048, 0.334), ("timesfm-2.5", spec, 512, 0.204), ("timesfm-2.5", spec, 2_048, 0.744),
    ):  # fmt: skip
        assert forecast_cpu_s(found[kind], asked, steps) == pytest.approx(took, rel=0.2)


def test_workers_may_ask_no_hub_and_get_the_folder_as_a_full_path(tmp_path: Path) -> None:
    settings = read_settings({"MCP_FORECAST_PRETRAINED": "models"}, tmp_path)
    assert settings.pretrained_folder == tmp_path.resolve() / "models"
    child = child_environment(settings)
    assert child["HF_HUB_OFFLINE"] == child["TRANSFORMERS_OFFLINE"] == "1"
    assert read_settings(child, tmp_path / "elsewhere").pretrained_folder == settings.pretrained_folder
    assert read_settings({}, tmp_path).pretrained_folder is None
