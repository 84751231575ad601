"""Finished training runs side by side: what they scored, in what they differ, which is better and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mcp_forecast_engine.data.roles import forecast_ahead
from mcp_forecast_engine.evaluation.losses import DEFINITIONS, read_losses
from mcp_forecast_engine.evaluation.pairing import Pairing, pair
from mcp_forecast_engine.evaluation.resampling import Skill
from mcp_forecast_engine.factory.differing import differences
from mcp_forecast_engine.factory.documents import Documents
from mcp_forecast_engine.factory.evidence import evidence
from mcp_forecast_engine.factory.winner import Winner, judged_by, winner_of
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.artifacts import ArtifactStore

SHOWN: Final = ("MASE", "WQL", "sMAPE", "MAE", "RMSE", "coverage_80", "coverage_95")


@dataclass(frozen=True)
class TrainedRun:
    """A finished training run: its pinned plan, its result document and its evaluation, as stored."""

    run_id: str
    plan: Mapping[str, Any]
    document: Mapping[str, Any]
    evaluation: Mapping[str, Any]

    @property
    def arm(self) -> dict[str, Any]:
        """The arm that was chosen, with its scores."""
        arms: list[dict[str, Any]] = self.evaluation["arms"]
        return next(arm for arm in arms if arm["name"] == self.evaluation["chosen"])


def read_trained(runs: Iterable[Run], documents: Documents, artifacts: ArtifactStore) -> list[TrainedRun]:
    """Runs with what they left. Raises NotFound, RunNotReady and RunFailed for any, then ArtifactCorrupt."""
    found = [(run, documents.trained(run, field="run_ids")) for run in runs]
    return [
        TrainedRun(run.run_id, run.plan, document, evidence(document, artifacts)["evaluation"])
        for run, document in found
    ]


def compare_runs(runs: Sequence[TrainedRun]) -> dict[str, Any]:
    """The comparison as JSON values; the first run is the baseline. What cannot be paired is told with the reason."""
    baseline, others = runs[0], runs[1:]
    found = {run.run_id: pairing(run, baseline) for run in others}
    kept = [run for run in others if found[run.run_id].reason is None]
    metric = judged_by([found[run.run_id] for run in kept])
    best = winner_of([baseline, *kept], metric, pairing) if metric else None
    return {
        "baseline": baseline.run_id,
        "comparable": len(kept) == len(others),
        "apart": [{"run_id": name, "reason": one.reason} for name, one in found.items() if one.reason is not None],
        "runs": [_scores(run) for run in runs],
        "differences": differences(runs),
        "pairs": [
            _line(name, metric, skill, one) for name, one in found.items() for metric, skill in one.skills.items()
        ],
        "best": _best(best, found),
        "definitions": _definitions(runs),
        "warnings": [*_told(found, baseline.run_id), *(best.warnings if best else ())],
    }


def pairing(run: TrainedRun, other: TrainedRun) -> Pairing:
    """One run against another on the test windows (or series) they share, with what stands against it."""
    older = [one.run_id for one in (run, other) if "losses" not in one.evaluation]
    if older:
        release = " and ".join(older)
        return _apart(f"{release} kept no losses (an older engine release): train again with the same request")
    for name in ("horizon", "freq"):
        mine, theirs = run.document["serving"][name], other.document["serving"][name]
        if mine != theirs:
            return _apart(f"the {_WORDS[name]} differs: {mine} and {theirs}")
    mine, theirs = read_losses(run.evaluation["losses"]), read_losses(other.evaluation["losses"])
    found = pair(mine, run.evaluation["chosen"], theirs, other.evaluation["chosen"])
    exact = {name for one in (run, other) for name in one.document["serving"].get("derived", ())}
    differing = {*run.arm["spec"]["known_future"]} ^ {*other.arm["spec"]["known_future"]}
    read = forecast_ahead(sorted(differing), exact)
    if found.reason is not None or not read:
        return found
    told = f"one was given what {', '.join(read[:5])} turned out to be; with forecasts of that its error will be larger"
    return replace(found, notes=(*found.notes, told))


_WORDS: Final = {"horizon": "horizon", "freq": "step of the series"}


def _apart(reason: str) -> Pairing:
    return Pairing("window", {}, 0, 0, 0, 0, reason)


def _scores(run: TrainedRun) -> dict[str, Any]:
    evaluation, arm, arms = run.evaluation, run.arm, run.evaluation["arms"]
    values = {metric["name"]: metric["value"] for metric in arm["metrics"]}
    return {
        "run_id": run.run_id,
        "chosen": arm["name"],
        "covariates": arm["covariates"],
        "verdict": run.document["trust"]["verdict"],
        "metrics": {name: _short(values[name]) for name in SHOWN if values.get(name) is not None},
        "windows": evaluation["plan"]["test_windows"],
        "series": evaluation["series"],
        "steps": evaluation["scored_steps"],
        "request": dict(run.plan["asked"]),
        "details": {
            "plan": dict(run.plan),
            "trust": run.document["trust"],
            "choice": evaluation["choice"],
            "arms": [{n: arm[n] for n in ("name", "family", "covariates", "settings", "metrics")} for arm in arms],
            "comparisons": evaluation["comparisons"],
            "warnings": run.document["warnings"],
        },
    }


def _line(run_id: str, metric: str, skill: Skill, found: Pairing) -> dict[str, Any]:
    """One run over the baseline by one metric; what is None has too few units."""
    numbers = {
        "skill": skill.value, "low": skill.low, "high": skill.high, "probability_better": skill.probability_better,
    }  # fmt: skip
    on = {"unit": found.unit, "count": found.count, "steps": found.steps}
    return {"run_id": run_id, "metric": metric, **{n: _short(v) for n, v in numbers.items() if v is not None}, **on}


def _best(best: Winner | None, found: Mapping[str, Pairing]) -> dict[str, Any]:
    apart = [name for name, one in found.items() if one.reason is not None]
    if best is None:
        reasons = sorted({str(one.reason) for one in found.values() if one.reason is not None})
        why = "; ".join(reasons) or "no metric is defined for all of them"
        return {"sure": False, "sentence": f"not comparable: {why}", "by": []}
    left = f"; {', '.join(apart)} could not be compared" if apart else ""
    return {
        **({"run_id": best.leader} if best.sure else {}),
        "sure": best.sure,
        "metric": best.metric,
        "sentence": best.sentence + left,
        "by": [
            {n: v for n, v in (("run_id", name), ("skill", _short(s.value)), ("low", _short(s.low)),
                               ("high", _short(s.high)), ("probability_better", _short(s.probability_better)))
             if v is not None}
            for name, s in best.over.items()
        ],
    }  # fmt: skip


def _told(found: Mapping[str, Pairing], baseline: str) -> list[str]:
    """Each note once, with the runs it is about."""
    notes: dict[str, list[str]] = {}
    for name, one in found.items():
        for note in one.notes:
            notes.setdefault(note, []).append(name)
    return [f"{', '.join(names)} and {baseline}: {note}" for note, names in notes.items()]


def _definitions(runs: Sequence[TrainedRun]) -> dict[str, str]:
    """How the numbers were measured; where runs differ (another season), each with its run."""
    told: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for metric in run.arm["metrics"]:
            if metric["name"] in SHOWN:
                told.setdefault(metric["name"], {}).setdefault(metric["definition"], []).append(run.run_id)
    found = {
        name: next(iter(texts)) if len(texts) == 1 else "; ".join(f"{', '.join(ids)}: {t}" for t, ids in texts.items())
        for name, texts in told.items()
    }
    losses = "; ".join(f"{name}: {text}" for name, text in DEFINITIONS.items())
    return {
        **found,
        "skill": f"1 - sum of losses / sum of the baseline's, on the same units with the same truth ({losses})",
        "probability_better": "part of the widened bootstrap resamples of those units in which the loss is smaller",
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
