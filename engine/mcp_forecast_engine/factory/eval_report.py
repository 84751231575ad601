"""The evaluation report: what a training showed, against the baseline and the ACTIVE bundle, with what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mcp_forecast_engine.evaluation.breakdown import lost_all
from mcp_forecast_engine.evaluation.candidates import BASELINE, TARGET_ONLY, reads_covariates
from mcp_forecast_engine.evaluation.champion import ACTIVE
from mcp_forecast_engine.evaluation.divisions import HORIZON, is_group
from mcp_forecast_engine.evaluation.metrics import is_exact
from mcp_forecast_engine.evaluation.plan import ENOUGH_WINDOWS
from mcp_forecast_engine.evaluation.report import chosen_arm
from mcp_forecast_engine.factory.governance import AnyRule, LabelRule
from mcp_forecast_engine.factory.guard import CLEAN
from mcp_forecast_engine.store.identity import digest, short_id

SCHEMA: Final = "eval_report.v1"
# Of every range of steps ahead, place in the season and group of series: skills with intervals, and scores by arm.
PARTS: Final = ("parts", "parts_definition", "part_scores", "part_scores_definition")
METRICS: Final = "metrics.v1"  # the definitions travel with the numbers; another definition is another version


def eval_report(
    evaluation: Mapping[str, Any],
    *,
    refs: Mapping[str, Any],
    basis: Mapping[str, Any],
    guards: Sequence[Mapping[str, Any]],
    factors: Sequence[Mapping[str, Any]],
    labels: Mapping[LabelRule, float],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """The report as a document; its id follows from its content.

    evaluation: as the backtest left it. refs: digests by name of what it rests on. basis: what makes the numbers the
    same again (run key, digests of manifests and profiles, seeds). guards: what was checked against leakage. factors:
    of the exported model's explanation, most important first. labels: what the rules of labels are held against; {}
    where nothing is revised.
    """
    chosen = chosen_arm(evaluation)
    body = {
        "schema_version": SCHEMA,
        "metrics_version": METRICS,
        "chosen": chosen["name"],
        "covariates": chosen["covariates"],
        "plan": evaluation["plan"],
        "evidence": _evidence(evaluation),
        "labels": dict(labels),
        "scores": {arm["name"]: _scores(arm) for arm in evaluation["arms"]},
        "definitions": {metric["name"]: metric["definition"] for metric in chosen["metrics"]},
        "skill": _against(evaluation, chosen["name"], BASELINE),
        "against_active": _against(evaluation, chosen["name"], ACTIVE),
        "uplift": uplift(evaluation),
        "coverage_by_step": chosen["coverage_by_step"],
        **{name: evaluation[name] for name in PARTS},
        "factors": list(factors),
        "leakage": list(guards),
        "refs": dict(refs),
        "reproducibility_basis": dict(basis),
        "provenance": dict(provenance),
    }
    return {**body, "eval_report_id": report_id(body)}


def report_id(report: Mapping[str, Any]) -> str:
    """The id that a report of this content has, whatever id it carries."""
    body = {name: value for name, value in report.items() if name != "eval_report_id"}
    return short_id("er", digest(SCHEMA, body))


def measured(
    report: Mapping[str, Any], *, model_bytes: int, latency_ms: float | None, replay_difference: float | None
) -> dict[AnyRule, float | None]:
    """What the gate judges by: the report's figures by rule; None where there is none."""
    scores = report["scores"][report["chosen"]]
    skill, active = _of(report["skill"], "MASE"), _of(report["against_active"], "MASE")
    whole = 0.0 if report["chosen"] == BASELINE else skill.get("skill")
    return {
        **_skills(report, skill, whole),
        "units": report["evidence"]["units"],
        "coverage_80": scores.get("coverage_80"),
        "coverage_95": scores.get("coverage_95"),
        "leaks": sum(guard["status"] not in CLEAN for guard in report["leakage"]),
        "replay_difference": replay_difference,
        "active_high": active.get("high"),
        "factors": len(report["factors"]),
        "model_bytes": model_bytes,
        "latency_ms": latency_ms,
        **report["labels"],
    }


def is_compared(report: Mapping[str, Any]) -> bool:
    """Whether a figure with its interval says how the model stands against the ACTIVE bundle."""
    return _of(report.get("against_active", ()), "MASE").get("high") is not None


def lost_to_active(report: Mapping[str, Any]) -> bool:
    """Whether the ACTIVE model lost nothing and what was chosen did, in windows enough: no skill says how much."""
    enough = report["evidence"]["units"] >= ENOUGH_WINDOWS
    return enough and lost_all(report["scores"], report["chosen"], ACTIVE)


def nothing_to_save(report: Mapping[str, Any]) -> bool:
    """Whether what was chosen and the baseline forecast every tested value exactly: no model can do better."""
    both = [report["scores"].get(name, {}) for name in (report["chosen"], BASELINE)]
    return all(is_exact(scores.get("MAE"), scores.get("WQL")) for scores in both)


def uplift(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same model with covariates over without: what a combination gains has other reasons too."""
    found: list[dict[str, Any]] = evaluation["comparisons"]
    return [c for c in found if c["against"] == TARGET_ONLY and reads_covariates(c["arm"])]


def _evidence(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """How much the figures rest on."""
    return {
        "unit": evaluation["losses"]["unit"],
        "units": len(evaluation["losses"]["groups"]),
        **{name: evaluation[name] for name in ("series", "scored_steps", "first_test_ds", "last_test_ds")},
    }


def _scores(arm: Mapping[str, Any]) -> dict[str, float | None]:
    return {metric["name"]: metric["value"] for metric in arm["metrics"]}


def _against(evaluation: Mapping[str, Any], chosen: str, other: str) -> list[dict[str, Any]]:
    return [c for c in evaluation["comparisons"] if (c["arm"], c["against"]) == (chosen, other)]


def _skills(report: Mapping[str, Any], skill: Mapping[str, Any], whole: float | None) -> dict[AnyRule, float | None]:
    """skill: over the baseline, as compared; whole: its value."""
    if nothing_to_save(report):
        return {"skill": 0.0, "skill_low": 0.0, "skill_worst_step": 0.0, "skill_worst_group": 0.0}
    return {
        "skill": whole,
        "skill_low": skill.get("low"),
        "skill_worst_step": _worst(report, lambda by: by == HORIZON, whole),
        "skill_worst_group": _worst(report, is_group, whole),
    }


def _worst(report: Mapping[str, Any], wanted: Callable[[str], bool], whole: float | None) -> float | None:
    """The least skill against the baseline on these parts; the whole's where there are none.

    None where the baseline lost nothing on one of them and what was chosen did: no number is low enough for that.
    """
    pair = (report["chosen"], BASELINE)
    if any(wanted(part["by"]) and lost_all(part["scores"], *pair) for part in report["part_scores"]):
        return None
    parts = [part for part in report["parts"] if (part["arm"], part["against"]) == pair and wanted(part["by"])]
    return min((part["skill"] for part in parts), default=whole)


def _of(comparisons: Sequence[Mapping[str, Any]], metric: str) -> Mapping[str, Any]:
    return next((c for c in comparisons if c["metric"] == metric), {})
