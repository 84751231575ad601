from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import REFERENCES_ONLY, hourly, panel_of

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import ArtifactCorrupt, CovariatesMismatch
from mcp_forecast_engine.evaluation.backtest import backtest, fit_arm
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.models.features import tail_inputs
from mcp_forecast_engine.serving.forecast import forecast
from mcp_forecast_engine.serving.session import ModelSessions, load_model


@pytest.fixture(scope="module")
def tail() -> Panel:
    panel = hourly(70)
    return window_at(panel, panel.lengths - 24, 24).history


@pytest.fixture(scope="module")
def content(tail: Panel) -> bytes:
    report = backtest(tail, plan_for(tail, 24), REFERENCES_ONLY).report
    model = fit_arm(tail, report.arm("with_covariates"))
    return export_onnx(model, contract_of(model, tail, schema="sha256:00"))


def test_a_forecast_continues_the_series_hour_by_hour(tail: Panel, content: bytes) -> None:
    found = forecast(load_model(content), tail)
    assert found.unique_id == ("s0000",)
    np.testing.assert_array_equal(found.ds[0], tail.ds[-1] + 3_600 * np.arange(1, 25))
    assert (np.diff(found.quantiles, axis=2) >= 0).all()
    assert (found.at(0.1) <= found.median).all()
    truth = hourly(70).y[-24:]
    assert np.abs(found.median[0] - truth).mean() < np.abs(tail.y[-24:] - truth).mean()


def test_missing_future_covariates_are_named_with_the_rows_needed(tail: Panel, content: bytes) -> None:
    short = replace(tail, future={"driver": tail.future["driver"][:, :5], "kind": tail.future["kind"]})
    with pytest.raises(CovariatesMismatch, match=r"driver \(5 of 24 rows\)") as refusal:
        forecast(load_model(content), short)
    assert refusal.value.field == "future"


def test_a_missing_column_and_another_frequency_are_refused(tail: Panel, content: bytes) -> None:
    session = load_model(content)
    with pytest.raises(CovariatesMismatch, match="kind"):
        forecast(session, replace(tail, covariates={"driver": tail.covariates["driver"]}))
    with pytest.raises(CovariatesMismatch, match="steps by D"):
        forecast(session, replace(tail, axis=replace(tail.axis, freq="D")))


def test_category_codes_are_read_by_name_not_by_number(tail: Panel, content: bytes) -> None:
    session = load_model(content)
    turned = replace(
        tail,
        categories={"kind": ("c", "b", "a")},
        covariates=tail.covariates | {"kind": 2 - tail.covariates["kind"]},
        future=tail.future | {"kind": 2 - tail.future["kind"]},
    )
    np.testing.assert_array_equal(forecast(session, turned).quantiles, forecast(session, tail).quantiles)


def test_thousands_of_series_come_in_batches_that_can_be_stopped() -> None:
    draw = np.random.default_rng(0)
    panel = panel_of([draw.gamma(2, 10, size=60) for _ in range(600)], season_length=7, freq="1")
    report = backtest(panel, plan_for(panel, 7), REFERENCES_ONLY).report
    model = fit_arm(panel, report.arm(report.chosen))
    session = load_model(export_onnx(model, contract_of(model, panel)))
    seen: list[str] = []
    found = forecast(session, panel, on_progress=lambda _done, _total, text: seen.append(text))
    assert seen == [f"{done} of 600 series" for done in (128, 256, 384, 512, 600)]
    expected = model.quantiles(tail_inputs(panel, model.layout))
    np.testing.assert_allclose(found.quantiles, expected, rtol=1e-4, atol=1e-4)

    def stop(done: int, total: int, text: str) -> None:
        raise InterruptedError(f"after {done} of {total}")

    with pytest.raises(InterruptedError, match="after 1 of 5"):
        forecast(session, panel, on_progress=stop)


def test_a_session_is_loaded_once_per_digest_and_the_oldest_goes(content: bytes) -> None:
    sessions = ModelSessions(capacity=2)
    first = sessions.get("a", content)
    assert sessions.get("a", content) is first
    sessions.get("b", content)
    sessions.get("c", content)
    assert sessions.find("a") is None
    assert sessions.find("c") is not None


def test_a_session_that_was_found_counts_as_used(content: bytes) -> None:
    sessions = ModelSessions(capacity=2)
    first = sessions.get("a", content)
    sessions.get("b", content)
    assert sessions.find("a") is first
    sessions.get("c", content)
    assert sessions.find("a") is first
    assert sessions.find("b") is None


@pytest.mark.parametrize("broken", [b"", b"no model", b"\x08\x0a\x12\x00"])
def test_bytes_that_are_no_model_are_refused(broken: bytes) -> None:
    with pytest.raises(ArtifactCorrupt):
        load_model(broken)


def test_serving_imports_neither_onnx_nor_pyarrow_nor_pandas() -> None:
    code = (
        "import sys; import mcp_forecast_engine.serving.forecast, mcp_forecast_engine.serving.session; "
        "print([m for m in ('onnx', 'onnxruntime', 'pyarrow', 'pandas', 'torch') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
