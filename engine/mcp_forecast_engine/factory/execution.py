"""A training run in its worker: data → evaluation → model, then its evidence and gate; each step is kept by digest."""

from __future__ import annotations

import time
from functools import cache, partial
from typing import Any, Final

from mcp_forecast_engine.data.dataset import Dataset
from mcp_forecast_engine.data.derived import derived_names
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.backtest import backtest, fit_arm
from mcp_forecast_engine.evaluation.budget import BUDGETS, Budget
from mcp_forecast_engine.evaluation.candidates import BASELINE
from mcp_forecast_engine.evaluation.champion import UNCOMPARED
from mcp_forecast_engine.evaluation.report import ArmReport, chosen_arm, read_arm
from mcp_forecast_engine.evaluation.trust import judge
from mcp_forecast_engine.factory.authoring import core_ml_files
from mcp_forecast_engine.factory.bound import bound_columns
from mcp_forecast_engine.factory.eval_report import uplift
from mcp_forecast_engine.factory.examination import Examine
from mcp_forecast_engine.factory.gathering import ASKED, CLOCKED, Evidence
from mcp_forecast_engine.factory.lineage import stem
from mcp_forecast_engine.factory.pins import Pins, read_pins, require_schema
from mcp_forecast_engine.factory.prepared import Prepared, prepare
from mcp_forecast_engine.models.calibration import CalibratedModel
from mcp_forecast_engine.models.contract import Contract, contract_of
from mcp_forecast_engine.models.export import export_model
from mcp_forecast_engine.models.weights import write_weights
from mcp_forecast_engine.runtime.job import Job
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes, digest, digest_of_bytes, read_canonical
from mcp_forecast_engine.store.named_artifacts import COSTS, STEP_NAMES, media_type

SHOWN: Final = ("MASE", "WQL", "sMAPE", "MAE", "RMSE")
# The documents that a plan pins are files of the run too; the steps that keep them.
PINNED: Final = ("manifest", "config", "governance", "plan", ASKED)


def train(job: Job, artifacts: ArtifactStore, *, examine: Examine, cores: int = 1) -> bytes:
    """The result document of a training run, canonical JSON; `job.ends_as` is what its gate says.

    examine: runs the exported model. cores: threads that models are shared among; the bytes are the same with any
    number. Raises HistoryTooShort, DataInvalid, CovariatesMismatch, CorridorRefused.

    Every step reads what the one before it stored, so a resumed run takes the same path as an undisturbed one.
    """
    pins = read_pins(job.run, artifacts)
    files = {step: job.step(step, partial(pins.documents.__getitem__, stem(STEP_NAMES[step]))) for step in PINNED}
    job.progress(0, 0, "preparing the data")
    made = prepare(job.run.plan, artifacts)
    require_schema(pins.manifest, made.dataset)
    files |= _trained(job, made, pins, artifacts, cores)
    evidence = Evidence(job, pins, files)
    job.progress(max(job.shown.total, 1), max(job.shown.total, 1), "fitted on the whole history; checking the evidence")
    evidence.guard(made, _budget(job.run.plan), artifacts, cores)
    evidence.examine(lambda: examine(evidence.model, made.panel, job.run.plan["horizon"]))
    gate = evidence.judge(made)
    job.ends_as = gate["decision"]
    document = _document(made, job.run.plan, evidence.files, evidence.model)
    return canonical_bytes({**document, "gate": gate, "refs": _refs(evidence.refs, digest_of_bytes(files[ASKED]))})


def _refs(found: dict[str, str], asked: str) -> dict[str, Any]:
    """What a bundle and a lineage name; manifests are several where a run has several. asked: the request's digest."""
    named = {name: digest for name, digest in found.items() if name != "dataset_manifest"}
    return {**named, "train_build_request": asked, "dataset_manifests": [found["dataset_manifest"]]}


def _trained(job: Job, made: Prepared, pins: Pins, artifacts: ArtifactStore, cores: int) -> dict[str, bytes]:
    """The files of preprocessing, evaluation and training, by step."""
    files = {"preprocess": job.step("preprocess", lambda: canonical_bytes(made.report.to_dict()))}
    costs: dict[str, float] = {}
    files["evaluate"] = job.step("evaluate", lambda: _evaluate(job, made, pins, artifacts, costs, cores))
    # Apart from the evaluation, whose bytes are the same every time; a resumed run measured only what it did itself.
    job.step(COSTS, lambda: canonical_bytes({"cpu_s": {name: round(spent, 2) for name, spent in costs.items()}}))
    evaluation = read_canonical(files["evaluate"])
    files["predict"] = job.step("predict", lambda: artifacts.get(evaluation["predictions"]))
    arm = read_arm(chosen_arm(evaluation))
    # A pretrained model alone is kept by name: its step is another one, because the file is.
    step = "refer" if [member.family for member in arm.members] == ["pretrained"] else "train"
    fit = cache(lambda: _fitted(made.panel, arm, made.dataset, cores))
    files[step] = job.step(step, lambda: export_model(*fit()))
    if step == "train":  # apart from the graph, from the same fit; a worker that resumes here fits it again
        files["weigh"] = job.step("weigh", lambda: write_weights(*fit()))
        files |= core_ml_files(job, files[step])
    job.check()
    return files


def _evaluate(
    job: Job, made: Prepared, pins: Pins, artifacts: ArtifactStore, costs: dict[str, float], cores: int
) -> bytes:
    """The evaluation; its forecasts are stored beside it, named by digest."""

    def told(done: int, total: int, text: str) -> None:
        job.progress(done, total + 1, text)  # one more: the model of the whole history
        job.check()

    plan, panel = job.run.plan, made.panel
    found = backtest(
        panel, made.windows, _budget(plan), on_progress=told, cpu_clock=time.thread_time, cores=cores,
        active=_active(plan, pins, made.dataset.schema.target_text),
    )  # fmt: skip
    costs.update(found.costs)
    coded = [covariate.name for covariate in made.dataset.schema.covariates if covariate.type != "numeric"]
    trust = judge(found.report, made.cautions, derived=derived_names(plan, panel.axis.freq), coded=coded)
    predictions = artifacts.put(found.predictions(panel))
    told_beside = {"demotions": list(made.demotions), "trust": trust.to_dict(), "predictions": predictions}
    return canonical_bytes({**found.report.to_dict(), **told_beside})


def _active(plan: dict[str, Any], pins: Pins, target: str) -> ArmReport | str | None:
    """The arm that the new model is measured against; of another target it is another question, whatever its shape."""
    other = plan.get("champion", {}).get("target", target)
    return pins.champion if other == target else f"{UNCOMPARED}it forecasts {other!r}, this run {target!r}"


def _budget(plan: dict[str, Any]) -> Budget:
    """What the plan pinned; a plan of 0.2 said nothing, and gets the small one with what is installed."""
    pinned = plan.get("budget")
    if pinned is None:
        return BUDGETS["small"]
    return Budget(pinned["name"], pinned["cpu_s"], tuple(plan["extras"]))


def _fitted(panel: Panel, arm: ArmReport, dataset: Dataset, cores: int) -> tuple[CalibratedModel, Contract]:
    schema = digest("dataset_schema.v1", dataset.schema.to_dict())
    model = fit_arm(panel, arm, cores=cores)
    return model, contract_of(model, panel, schema=schema)


def _document(made: Prepared, plan: dict[str, Any], files: dict[str, bytes], model: bytes) -> dict[str, Any]:
    panel, dataset = made.panel, made.dataset
    evaluation, preprocessing = read_canonical(files["evaluate"]), read_canonical(files["preprocess"])
    chosen = chosen_arm(evaluation)
    return {
        "kind": "training",
        "trust": _trust(evaluation, chosen),
        "chosen": chosen["name"],
        "choice": evaluation["choice"],
        "tried": [_line(arm) for arm in evaluation["arms"]],
        "models": [_model(line) for line in evaluation["tried"]],
        "uplift": [_compared(c) for c in uplift(evaluation)],
        "definitions": {m["name"]: m["definition"] for m in chosen["metrics"] if m["name"] in (*SHOWN, "coverage_80")},
        "serving": {
            "horizon": plan["horizon"],
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
                "name": STEP_NAMES[step], "digest": digest_of_bytes(data), "size": len(data),
                "media_type": media_type(STEP_NAMES[step]),
            }
            for step, data in files.items()
            if step != CLOCKED
        ],
        "warnings": [*preprocessing["warnings"], *evaluation.get("demotions", ()), *evaluation["warnings"]],
    }  # fmt: skip


def _trust(evaluation: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """The verdict with its reasons, and the figures behind it."""
    judged, scores = evaluation["trust"], {m["name"]: m["value"] for m in chosen["metrics"]}
    against = [c for c in evaluation["comparisons"] if (c["arm"], c["metric"]) == (chosen["name"], "MASE")]
    skill = next((c for c in against if c["against"] == BASELINE), None)
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


def _model(tried: dict[str, Any]) -> dict[str, Any]:
    """A model that was tried, by what was known before the test part."""
    named = {"model": tried["name"], "family": tried["family"]}
    error, planned = _short(tried["validation_mase"]), tried["planned_cpu_s"]
    return {**named, "validation_MASE": error, "weight": _short(tried["weight"]), "planned_cpu_s": planned}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
