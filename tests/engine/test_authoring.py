"""The extra that writes Core ML packages never fails a training."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import onnx
import pytest
import runtime_toy as toy
from ledger_toys import claim, submit
from onnx import TensorProto, helper

from mcp_forecast_engine.factory.authoring import core_ml_files
from mcp_forecast_engine.runtime.job import Job


def model() -> bytes:
    """A graph of one operation."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("x", "y")]
    made = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "one", ends[:1], ends[1:]))
    return onnx.ModelProto.SerializeToString(made)


def test_an_installation_of_it_that_does_not_work_costs_the_package_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "site" / "coremltools"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libmilstoragepython is missing')\n")
    for name in [one for one in sys.modules if one.partition(".")[0] == "coremltools"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(broken.parent)
    home = toy.open_home(tmp_path / "home")
    submit(home, "a")
    run = claim(home, 0.0)
    assert run is not None
    job = Job(
        run, database=home.database, artifacts=home.artifacts, clock=lambda: 1.0, milestone=lambda name: None,
        deadline=time.monotonic() + 60.0,
    )  # fmt: skip
    assert core_ml_files(job, model()) == {}
    assert home.steps("run_a") == {}
    assert "no Core ML package of run_a: libmilstoragepython is missing" in caplog.text
    home.database.close()
