"""Pretrained models beside those that are trained here: pinned by a plan, tried alone, served by a worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forecast_toys import hourly, panel_of
from pretrained_toys import MAKERS, folder_of
from runtime_toy import Home, open_home

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.registration import DatasetRequest
from mcp_forecast_engine.engine import Engine
from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.evaluation.backtest import backtest
from mcp_forecast_engine.evaluation.budget import BUDGETS, Budget
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.evaluation.pretrained_candidates import shortlist
from mcp_forecast_engine.evaluation.report import BacktestReport
from mcp_forecast_engine.evaluation.trust import judge
from mcp_forecast_engine.factory.plan import TrainingPlan
from mcp_forecast_engine.models.pretrained_folder import PretrainedFolder, reading_from
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.registry.scope import Scope
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.runtime.worker import work
from mcp_forecast_engine.serving.plan import InferencePlan

LARGE = Budget("large", 50.0)


def skewed(steps: int = 420) -> Panel:
    """One series without order in time and with a long lower tail: its median lies far above its mean."""
    return panel_of([5 - np.random.default_rng(2).exponential(size=steps) ** 2], season_length=7, freq="1")


def save_level(place: Path) -> None:
    """A tiny Chronos-2 that answers the mean of the window and a third of its spread: near the median of `skewed`."""
    import torch
    from chronos.chronos2 import Chronos2Model

    MAKERS["chronos-2"](place)
    model = Chronos2Model.from_pretrained(place)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.fill_(0.34 if name == "output_patch_embedding.output_layer.bias" else 0.0)
    model.save_pretrained(place)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("chronos", reason="the extra `foundation` is not installed: no pretrained model takes part")
    root = tmp_path_factory.mktemp("pretrained")
    save_level(root / "level")
    for name in ("bolt", "chronos-2"):
        MAKERS[name](root / name)
    return root


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    opened = open_home(tmp_path / "home")
    yield opened
    opened.database.close()


def engine_of(home: Home, folder: Path | None) -> Engine:
    return Engine(home.database, home.artifacts, wall_limit_s=600.0, pretrained=PretrainedFolder(folder))


def planned(engine: Engine, home: Home) -> TrainingPlan:
    """The plan of a training on `skewed`, as a daily series."""
    start = date(2023, 1, 1)
    rows = [{"ds": str(start + timedelta(days=n)), "y": float(y)} for n, y in enumerate(skewed().y)]
    prepared = engine.datasets.prepare_rows(rows, DatasetRequest())
    with home.database.command() as connection:
        engine.datasets.record(connection, prepared, now=0.0)
    asked: dict[str, Any] = dict.fromkeys(("season_length", "test_windows", "covariates"))
    return engine.plan_training(
        dataset_id=prepared.dataset_id, horizon=7, profile="default", budget="large", requester="test", scope=Scope(),
        **{**asked, "covariates": ()},
    )  # fmt: skip


def worked(engine: Engine, home: Home, plan: TrainingPlan | InferencePlan) -> Run:
    """The run of a plan after a worker had it."""
    with home.database.command() as connection:
        engine.submit(connection, plan, caller="test", now=home.database.clock())
    claimed = home.claim(lease_s=600.0)
    assert claimed is not None
    work(
        claimed.run_id, claimed.epoch, database=home.database, artifacts=home.artifacts, perform=engine.perform,
        clock=home.database.clock, milestone=lambda name: None, lease_s=600.0, ended=lambda connection, run: None,
    )  # fmt: skip
    return home.run(claimed.run_id)


# without any library


def test_a_folder_that_is_not_set_or_is_empty_changes_nothing(home: Home, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    plans = [planned(engine_of(home, folder), home) for folder in (None, tmp_path / "models")]
    assert plans[0].run_key == plans[1].run_key
    assert "pretrained" not in plans[0].body
    panel, small = skewed(), BUDGETS["small"]
    plain = backtest(panel, plan_for(panel, 7), small).report.to_dict()
    with reading_from(PretrainedFolder(tmp_path / "models")):
        assert backtest(panel, plan_for(panel, 7), small).report.to_dict() == plain
    assert "pretrained" not in json.dumps(plain)


def test_a_model_that_cannot_be_loaded_takes_no_part_and_the_plan_says_so(home: Home, tmp_path: Path) -> None:
    folder_of(tmp_path, odd={"config.json": b'{"model_type": "gpt2"}'})
    plan = planned(engine_of(home, tmp_path), home)
    assert "pretrained" not in plan.body
    assert any(told.startswith("the pretrained model odd takes no part") for told in plan.warnings)


def test_a_run_sees_the_models_it_has_pinned_and_no_others(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, tiny={}, later={})
    pinned = folder.pinned({"tiny": folder.checkpoint("tiny").sha256})
    assert pinned.names() == ("tiny",)
    assert pinned.checkpoint("tiny") == folder.checkpoint("tiny") == pinned.outline("tiny")
    with pytest.raises(ArtifactCorrupt):
        pinned.checkpoint("later")
    assert folder.pinned({}).names() == ()


def read(folder: PretrainedFolder) -> None:
    """As a training does: what it is first, its files later."""
    folder.outline("tiny")
    folder.checkpoint("tiny")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", None])
def test_a_pinned_model_whose_files_changed_is_refused_with_what_to_do(tmp_path: Path, file: str | None) -> None:
    folder = folder_of(tmp_path, tiny={})
    pinned = folder.pinned({"tiny": folder.checkpoint("tiny").sha256})
    changed = tmp_path / "tiny" / (file or "config.json")
    if file is None:
        changed.unlink()
    else:
        changed.write_bytes(b"others")
    with pytest.raises(ArtifactCorrupt, match="changed or removed since this run was asked for") as caught:
        read(pinned)
    assert "another run" in (caught.value.next_step or "")


# with the libraries and tiny models


@pytest.fixture(scope="module")
def report(models: Path) -> BacktestReport:
    with reading_from(PretrainedFolder(models)):
        return backtest(skewed(), plan_for(skewed(), 7), LARGE).report


def test_a_pretrained_model_that_is_clearly_better_answers_alone(report: BacktestReport) -> None:
    arm = report.arm(report.chosen)
    (member,) = arm.members
    assert (arm.name, arm.family, member.name) == ("pretrained", "pretrained", "pretrained level")
    assert set(member.settings) >= {"model", "sha256", "licence", "library", "lookback"}
    lines = {line.name: line for line in report.tried}
    assert {name for name in lines if name.startswith("pretrained ")} == {
        "pretrained level", "pretrained bolt", "pretrained chronos-2",
    }  # fmt: skip
    assert [line.name for line in report.tried if line.weight > 0] == ["pretrained level"]
    others = [line for line in report.tried if line.family != "pretrained"]
    assert lines["pretrained level"].validation_mase < 0.98 * min(line.validation_mase for line in others)
    assert not any(m.family == "pretrained" for a in report.arms if a.name != "pretrained" for m in a.members)


def test_a_caution_says_that_the_test_windows_may_have_been_seen(report: BacktestReport) -> None:
    (told,) = [warning for warning in report.warnings if warning.startswith("pretrained level")]
    assert "licence: not stated" in told
    assert "may have seen the test windows" in told
    trust = judge(report)
    assert [reason.verdict for reason in trust.reasons if reason.text == told] == ["caution"]
    assert trust.verdict != "trust"
    assert not any("trained by others" in note for note in trust.notes)


def test_the_same_folder_gives_the_same_report(models: Path, report: BacktestReport) -> None:
    with reading_from(PretrainedFolder(models)):
        assert backtest(skewed(), plan_for(skewed(), 7), LARGE).report.to_dict() == report.to_dict()


def test_a_pretrained_model_that_is_no_better_is_listed_and_not_served(models: Path) -> None:
    panel = hourly(30)
    with reading_from(PretrainedFolder(models)):
        found = backtest(panel, plan_for(panel, 24), Budget("small", 50.0)).report
    assert found.chosen != "pretrained"
    assert "pretrained" not in [arm.name for arm in found.arms]
    (line,) = [line for line in found.tried if line.name == "pretrained chronos-2"]
    assert line.covariates == found.arm("with_covariates").covariates
    assert (line.weight, line.planned_cpu_s > 4) == (0.0, True)
    (bolt,) = [line for line in found.tried if line.name == "pretrained bolt"]
    assert bolt.covariates == ()


def test_the_budget_decides_how_far_back_a_large_model_reads_and_names_what_is_too_dear(
    models: Path, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, big={})
    with (tmp_path / "big" / "model.safetensors").open("wb") as file:
        file.truncate(200_000_000)
    panel, spec = hourly(200), ForecastSpec(24, 24, 168)
    plan = plan_for(panel, 24)
    with reading_from(folder):
        found = [shortlist(panel, spec, plan, left) for left in (50.0, 8.0, 5.0)]
    rich, poor = (short.asked[0].candidate for short in found[:2])
    assert (rich.asked["lookback"], poor.asked["lookback"]) == (2_048, 512)
    assert 8 < rich.cpu_s < 50
    assert found[2].asked == ()
    assert found[2].left_out[0].startswith("pretrained big was not tried: planned")


def test_files_that_are_no_whole_model_are_named_and_the_training_goes_on(models: Path, tmp_path: Path) -> None:
    (tmp_path / "hollow").mkdir()
    for file, content in (("config.json", (models / "level" / "config.json").read_bytes()), ("model.safetensors", b"")):
        (tmp_path / "hollow" / file).write_bytes(content or b"no weights")
    with reading_from(PretrainedFolder(tmp_path)):
        found = backtest(skewed(), plan_for(skewed(), 7), LARGE).report
    assert any(note.startswith("pretrained hollow was not tried") for note in found.notes)


def test_changed_weights_are_another_run(models: Path, home: Home, tmp_path: Path) -> None:
    for name in ("a", "b"):
        MAKERS["chronos-2"](tmp_path / name / "tiny")
    save_level(tmp_path / "b" / "tiny")
    first, again, other = (planned(engine_of(home, tmp_path / name), home) for name in ("a", "a", "b"))
    assert first.run_id == again.run_id != other.run_id
    (pin,) = first.body["pretrained"].items()
    assert pin == ("tiny", PretrainedFolder(tmp_path / "a").checkpoint("tiny").sha256)


def test_a_pretrained_model_is_trained_kept_by_name_and_served_by_a_worker(models: Path, home: Home) -> None:
    engine = engine_of(home, models)
    plan = planned(engine, home)
    assert set(plan.body["pretrained"]) == {"level", "bolt", "chronos-2"}
    trained = worked(engine, home, plan)
    assert trained.finished, trained.error
    document = engine.documents.of(trained)
    assert document["chosen"] == "pretrained"
    kept = {artifact["name"]: artifact["digest"] for artifact in document["artifacts"]}
    told = json.loads(home.artifacts.get(kept["model.json"]))
    assert told["members"][0]["sha256"] == plan.body["pretrained"]["level"]
    asked = engine.plan_inference(run_id=trained.run_id, dataset_id=None, horizon=None, future=None, levels=(80,))
    assert engine.try_inline(asked, should_stop=lambda: False) is asked
    served = worked(engine, home, asked)
    assert served.state == "SUCCEEDED", served.error
    (series,) = engine.documents.of(served)["series"]
    middle = float(np.median(skewed().y))
    assert len(series["median"]) == 7
    assert all(abs(value - middle) < 1.0 for value in series["median"])


def test_weights_that_change_between_plan_and_work_end_the_run_with_what_to_do(models: Path, home: Home) -> None:
    plan = planned(engine_of(home, models), home)
    changed = home.path / "models"
    for name in plan.body["pretrained"]:
        MAKERS["bolt" if name == "bolt" else "chronos-2"](changed / name)
    ended = worked(engine_of(home, changed), home, plan)
    assert ended.state == "FAILED"
    assert ended.error is not None
    assert "asked for" in ended.error["message"]
