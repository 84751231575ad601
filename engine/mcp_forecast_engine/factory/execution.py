"""A training run in its worker: preprocess → evaluate → train and export → report, each step kept by digest."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import Any, Final

from mcp_forecast_engine.data.dataset import Dataset
from mcp_forecast_engine.data.demotion import close_to_target, demoted
from mcp_forecast_engine.data.derived import derived_names
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.given import given_steps
from mcp_forecast_engine.data.steps import PreprocessingReport
from mcp_forecast_engine.evaluation.backtest import backtest, fit_arm
from mcp_forecast_engine.evaluation.budget import BUDGETS, Budget
from mcp_forecast_engine.evaluation.candidates import TARGET_ONLY, reads_covariates
from mcp_forecast_engine.evaluation.plan import BacktestPlan, origins_of, plan_for
from mcp_forecast_engine.evaluation.report import ArmReport, read_arm
from mcp_forecast_engine.evaluation.trust import judge
from mcp_forecast_engine.factory.bound import bound_columns
from mcp_forecast_engine.factory.inputs import Panels
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_model
from mcp_forecast_engine.runtime.job import Job
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes, digest, digest_of_bytes
from mcp_forecast_engine.store.named_artifacts import COSTS, STEP_NAMES

SHOWN: Final = ("MASE", "WQL", "sMAPE", "MAE", "RMSE")
JSON_TYPE: Final = "application/json"


@dataclass(frozen=True)
class Prepared:
    """What a plan trains on: its panel in the roles that the horizons allow, and what has to be said about it."""

    panel: Panel
    report: PreprocessingReport
    dataset: Dataset
    windows: BacktestPlan
    cautions: tuple[str, ...]
    demotions: tuple[str, ...]


def train(job: Job, artifacts: ArtifactStore, *, cores: int = 1) -> bytes:
    """The result document of a training run, canonical JSON. Raises HistoryTooShort, DataInvalid, CovariatesMismatch.

    cores: threads that models are shared among; the bytes are the same with any number.

    Every step reads what the one before it stored, so a resumed run takes the same path as an undisturbed one.
    """
    job.progress(0, 0, "preparing the data")
    made = prepare(job.run.plan, artifacts)
    prepared = job.step("preprocess", lambda: canonical_bytes(made.report.to_dict()))
    costs: dict[str, float] = {}
    evaluated = job.step("evaluate", lambda: _evaluate(job, made, costs, cores))
    # Apart from the evaluation, whose bytes are the same every time; a resumed run measured only what it did itself.
    job.step(COSTS, lambda: canonical_bytes({"cpu_s": {name: round(spent, 2) for name, spent in costs.items()}}))
    arm = read_arm(_chosen(json.loads(evaluated)))
    # A pretrained model alone is kept by name: its step is another one, because the file is.
    step = "refer" if [member.family for member in arm.members] == ["pretrained"] else "train"
    model = job.step(step, lambda: _export(made.panel, arm, made.dataset, cores))
    total = max(job.shown.total, 1)
    job.progress(total, total, "fitted on the whole history")
    job.check()
    files = {"preprocessing.json": prepared, "evaluation.json": evaluated, STEP_NAMES[step]: model}
    return canonical_bytes(_document(made.panel, made.dataset, job.run.plan, files))


def prepare(plan: dict[str, Any], artifacts: ArtifactStore) -> Prepared:
    """Read and prepare the data of a plan. Raises ArtifactCorrupt, DataInvalid, HistoryTooShort."""
    panel, report, dataset = Panels().get(plan, artifacts)
    windows = plan_for(panel, plan["horizon"], test_windows=plan.get("test_windows"))
    derived = derived_names(plan, panel.axis.freq)
    given = {name: given_steps(dataset.frame, panel, name) for name in panel.roles if name in dataset.frame.covariates}
    roles, demotions = demoted(panel, origins_of(panel, windows), plan["horizon"], keep=derived, given=given)
    panel = replace(panel, roles=roles)
    cautions = (*report.cautions, *close_to_target(panel, keep=derived))
    return Prepared(panel, report, dataset, windows, cautions, tuple(demotions))


def _evaluate(job: Job, made: Prepared, costs: dict[str, float], cores: int) -> bytes:
    def told(done: int, total: int, text: str) -> None:
        job.progress(done, total + 1, text)  # one more: the model of the whole history
        job.check()

    plan, panel = job.run.plan, made.panel
    found = backtest(panel, made.windows, _budget(plan), on_progress=told, cpu_clock=time.thread_time, cores=cores)
    costs.update(found.costs)
    coded = [covariate.name for covariate in made.dataset.schema.covariates if covariate.type != "numeric"]
    trust = judge(found.report, made.cautions, derived=derived_names(plan, panel.axis.freq), coded=coded)
    return canonical_bytes({**found.report.to_dict(), "demotions": list(made.demotions), "trust": trust.to_dict()})


def _budget(plan: dict[str, Any]) -> Budget:
    """What the plan pinned; a plan of 0.2 said nothing, and gets the small one with what is installed."""
    pinned = plan.get("budget")
    if pinned is None:
        return BUDGETS["small"]
    return Budget(pinned["name"], pinned["cpu_s"], tuple(plan["extras"]))


def _export(panel: Panel, arm: ArmReport, dataset: Dataset, cores: int) -> bytes:
    schema = digest("dataset_schema.v1", dataset.schema.to_dict())
    model = fit_arm(panel, arm, cores=cores)
    return export_model(model, contract_of(model, panel, schema=schema))


def _document(panel: Panel, dataset: Dataset, plan: dict[str, Any], files: dict[str, bytes]) -> dict[str, Any]:
    evaluation = json.loads(files["evaluation.json"])
    preprocessing = json.loads(files["preprocessing.json"])
    chosen = _chosen(evaluation)
    model = next(data for name, data in files.items() if name.startswith("model."))
    return {
        "kind": "training",
        "trust": _trust(evaluation, chosen),
        "chosen": chosen["name"],
        "choice": evaluation["choice"],
        "tried": [_line(arm) for arm in evaluation["arms"]],
        "models": [_model(line) for line in evaluation["tried"]],
        "uplift": [_compared(c) for c in evaluation["comparisons"] if _is_uplift(c)],
        "definitions": {m["name"]: m["definition"] for m in chosen["metrics"] if m["name"] in (*SHOWN, "coverage_80")},
        "serving": {
            "horizon": plan["horizon"],
            "lookback": chosen["lookback"],
            "target": dataset.schema.target_text,
            "wide": list(dataset.schema.wide),
            "series": list(dataset.schema.series),
            "axis": panel.axis.kind,
            **bound_columns(model, panel, dataset.schema, plan),
            "freq": panel.axis.freq,
            "data_freq": dataset.schema.axis.freq,  # before the steps, which may resample
            "series_count": len(panel.unique_id),
            "model": digest_of_bytes(model),
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
        "warnings": [*preprocessing["warnings"], *evaluation.get("demotions", ()), *evaluation["warnings"]],
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


def _is_uplift(comparison: dict[str, Any]) -> bool:
    """The same model with covariates over without: what a combination gains has other reasons too."""
    return comparison["against"] == TARGET_ONLY and reads_covariates(comparison["arm"])


def _model(tried: dict[str, Any]) -> dict[str, Any]:
    """A model that was tried, by what was known before the test part."""
    named = {"model": tried["name"], "family": tried["family"]}
    error, planned = _short(tried["validation_mase"]), tried["planned_cpu_s"]
    return {**named, "validation_MASE": error, "weight": _short(tried["weight"]), "planned_cpu_s": planned}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
