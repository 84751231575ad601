"""A training run in its worker: preprocess → evaluate → train and export → report, each step kept by digest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from mcp_forecast_engine.data.dataset import Dataset
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.backtest import backtest, fit_arm
from mcp_forecast_engine.evaluation.candidates import default_candidates
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.evaluation.report import ArmReport, read_arm
from mcp_forecast_engine.evaluation.trust import judge
from mcp_forecast_engine.factory.inputs import Panels
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.runtime.job import Job
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes, digest, digest_of_bytes

SHOWN: Final = ("MASE", "WQL", "sMAPE", "MAE", "RMSE")
JSON_TYPE: Final = "application/json"


def train(job: Job, artifacts: ArtifactStore) -> bytes:
    """The result document of a training run, canonical JSON. Raises HistoryTooShort, DataInvalid, CovariatesMismatch.

    Every step reads what the one before it stored, so a resumed run takes the same path as an undisturbed one.
    """
    plan = job.run.plan
    job.progress(0, 0, "preparing the data")
    panel, report, dataset = Panels().get(plan, artifacts)
    prepared = job.step("preprocess", lambda: canonical_bytes(report.to_dict()))
    evaluated = job.step("evaluate", lambda: _evaluate(job, panel, plan, report.cautions))
    arm = read_arm(_chosen(json.loads(evaluated)))
    model = job.step("train", lambda: _export(panel, arm, dataset))
    total = max(job.shown.total, 1)
    job.progress(total, total, "fitted on the whole history")
    job.check()
    files = {"preprocessing.json": prepared, "evaluation.json": evaluated, "model.onnx": model}
    return canonical_bytes(_document(panel, dataset, plan, files))


def _evaluate(job: Job, panel: Panel, plan: dict[str, Any], cautions: Sequence[str]) -> bytes:
    def told(done: int, total: int, text: str) -> None:
        job.progress(done, total + 1, text)  # one more: the model of the whole history
        job.check()

    windows = plan_for(panel, plan["horizon"], test_windows=plan.get("test_windows"))
    found = backtest(panel, default_candidates(panel), windows, on_progress=told)
    return canonical_bytes({**found.to_dict(), "trust": judge(found, cautions).to_dict()})


def _export(panel: Panel, arm: ArmReport, dataset: Dataset) -> bytes:
    schema = digest("dataset_schema.v1", dataset.schema.to_dict())
    model = fit_arm(panel, arm)
    return export_onnx(model, contract_of(model, panel, schema=schema))


def _document(panel: Panel, dataset: Dataset, plan: dict[str, Any], files: dict[str, bytes]) -> dict[str, Any]:
    evaluation = json.loads(files["evaluation.json"])
    preprocessing = json.loads(files["preprocessing.json"])
    chosen = _chosen(evaluation)
    read = {*chosen["covariates"]}
    return {
        "kind": "training",
        "trust": _trust(evaluation, chosen),
        "chosen": chosen["name"],
        "choice": evaluation["choice"],
        "tried": [_line(arm) for arm in evaluation["arms"]],
        "uplift": [_compared(c) for c in evaluation["comparisons"] if c["against"] == "target_only"],
        "definitions": {m["name"]: m["definition"] for m in chosen["metrics"] if m["name"] in (*SHOWN, "coverage_80")},
        "serving": {
            "horizon": plan["horizon"],
            "lookback": chosen["spec"]["lookback"],
            "target": dataset.schema.target_text,
            "wide": list(dataset.schema.wide),
            "series": list(dataset.schema.series),
            "axis": panel.axis.kind,
            "needs_future": chosen["spec"]["known_future"],
            "covariates": [
                {"name": c.name, "type": c.type, "role": c.role} for c in dataset.schema.covariates if c.name in read
            ],
            "freq": panel.axis.freq,
            "data_freq": dataset.schema.axis.freq,  # before the steps, which may resample
            "series_count": len(panel.unique_id),
            "model": digest_of_bytes(files["model.onnx"]),
        },
        "preprocessing": [
            {"step": done["step"]["kind"], "changed": done["changed"], "summary": done["summary"]}
            for done in preprocessing["steps"]
        ],
        "artifacts": [
            {
                "name": name, "digest": digest_of_bytes(data), "size": len(data),
                "media_type": JSON_TYPE if name.endswith(".json") else "application/onnx",
            }
            for name, data in files.items()
        ],
        "warnings": [*preprocessing["warnings"], *evaluation["warnings"]],
    }  # fmt: skip


def _chosen(evaluation: dict[str, Any]) -> dict[str, Any]:
    arm: dict[str, Any] = next(arm for arm in evaluation["arms"] if arm["name"] == evaluation["chosen"])
    return arm


def _trust(evaluation: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """The verdict with its reasons, and the figures behind it."""
    judged, scores = evaluation["trust"], {m["name"]: m["value"] for m in chosen["metrics"]}
    against = [c for c in evaluation["comparisons"] if (c["arm"], c["metric"]) == (chosen["name"], "MASE")]
    skill = next((c for c in against if c["against"] == "seasonal_naive"), None)
    return {
        "verdict": judged["verdict"],
        "reasons": [_told(reason) for reason in judged["reasons"]],
        "notes": judged["notes"],
        "skill": None if skill is None else {**_compared(skill), "definition": skill["definition"]},
        "coverage": {"80": _short(scores.get("coverage_80")), "95": _short(scores.get("coverage_95"))},
        "windows": evaluation["plan"]["test_windows"],
    }


def _told(reason: dict[str, str]) -> str:
    """The sentence, with its gravity in front where it counts against the forecast."""
    mark = {"caution": "weak point: ", "do_not_trust": "against it: "}.get(reason["verdict"], "")
    return f"{mark}{reason['text']}"


def _compared(comparison: dict[str, Any]) -> dict[str, Any]:
    """value: share of the loss that the arm saves; low, high: its 95 % interval."""
    numbers = {"value": comparison["skill"], "low": comparison["low"], "high": comparison["high"]}
    named = {name: comparison[name] for name in ("arm", "against", "metric")}
    return {**named, **{name: _short(number) for name, number in numbers.items()}}


def _line(arm: dict[str, Any]) -> dict[str, Any]:
    scores = {m["name"]: m["value"] for m in arm["metrics"]}
    shown = {name: _short(scores.get(name)) for name in SHOWN}
    return {
        "arm": arm["name"],
        "covariates": arm["covariates"],
        "validation_MASE": _short(arm["validation_mase"]),
        **shown,
        "coverage_80": _short(scores.get("coverage_80")),
        "coverage_95": _short(scores.get("coverage_95")),
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
