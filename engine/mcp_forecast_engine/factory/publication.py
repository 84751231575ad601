"""Whether a run may be published, and the bundle it is published as: its gate passed, and its evidence says so too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.factory.bundle import package, read_bundle_file
from mcp_forecast_engine.factory.eval_report import report_id
from mcp_forecast_engine.factory.taxonomy import BY_HAND
from mcp_forecast_engine.runtime.publishing import require_attempt
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import read_canonical


@dataclass(frozen=True)
class Packaged:
    """A bundle whose files were all read and whose document is stored. manifest: the digest of that document."""

    run_id: str
    manifest: str
    document: Mapping[str, Any]


def require_publishable(run: Run, document: Mapping[str, Any]) -> None:
    """Refuse a run that no gate judged, that failed it, or whose publication failed too often.

    document: the result of the finished training run. Raises CorridorRefused.
    """
    if run.state == "SUCCEEDED" or "gate" not in document:
        raise _ineligible(
            f"{run.run_id} was trained before there were gates: no evidence judges it",
            "train again: the same run_training call makes a run that is judged",
        )
    gate = document["gate"]
    if run.state == "FAIL" or gate["decision"] != "PASS":
        raise _failed(run, gate)
    require_attempt(run)


def package_run(run: Run, document: Mapping[str, Any], artifacts: ArtifactStore) -> Packaged:
    """The bundle of a run that may be published. Raises CorridorRefused, StoreUnavailable."""
    data = package(run, document, artifacts)
    bundle = read_bundle_file(data)
    receipt, report = (_document(run, name, bundle["refs"][name], artifacts) for name in _NO_DOCUMENT)
    _require_receipt(run, receipt, report)
    return Packaged(run.run_id, artifacts.put(data), bundle)


def _document(run: Run, name: str, digest: str, artifacts: ArtifactStore) -> Mapping[str, Any]:
    with suppress(ValueError):
        found = read_canonical(artifacts.get(digest))
        if isinstance(found, dict):
            return found
    raise CorridorRefused(
        _NO_DOCUMENT[name], f"the {name} of {run.run_id} is no document", field=name, allowed="a JSON object",
        next_step=BY_HAND,
    )  # fmt: skip


_NO_DOCUMENT: Final = {"gate_receipt": "GATE_INVALID", "eval_report": "EVAL_REPORT_INVALID"}


def _require_receipt(run: Run, receipt: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    """The receipt is of this run and of this report, says that the gate passed, and that the run may be published."""
    for name, wanted, reason in (
        ("run_id", run.run_id, "GATE_INVALID"),
        ("gate_decision", "PASS", "GATE_DECISION_MISMATCH"),
        ("eval_report_id", report.get("eval_report_id", "one"), "EVAL_REPORT_MISMATCH"),
    ):
        if receipt.get(name) != wanted:
            raise CorridorRefused(
                reason, f"the gate's receipt of {run.run_id} has {name} {receipt.get(name)}, not {wanted}",
                field="run_id", allowed=wanted, next_step=BY_HAND,
            )  # fmt: skip
    if report.get("eval_report_id") != report_id(report):
        raise CorridorRefused(
            "EVAL_REPORT_INVALID", f"the evaluation report of {run.run_id} has another id than its content",
            field="run_id", allowed=report_id(report), next_step=BY_HAND,
        )  # fmt: skip
    eligibility = receipt.get("eligibility", {})
    if eligibility.get("decision") != "ELIGIBLE":
        raise _ineligible(
            f"{run.run_id} may not be published: {', '.join(eligibility.get('reason_codes', ['no reason is given']))}",
            "train again, asking for what may be published",
        )


def _failed(run: Run, gate: Mapping[str, Any]) -> CorridorRefused:
    """What the gate says: each rule that failed, and what to try next."""
    failed = [rule for rule in gate["rules"] if not rule["passed"]]
    refinement = gate.get("refinement") or {}
    told = "; ".join(map(told_rule, failed))
    call = refinement.get("next_call")
    change = refinement.get("change", "train again with other settings")
    return CorridorRefused(
        "PUBLISH_NOT_ELIGIBLE", f"{run.run_id} failed its gate: {told}", field="run_id",
        allowed="a training run whose state is PASS",
        next_step=change if call is None else f"{change}: call {call['tool']} with {json.dumps(call['arguments'])}",
        details={"gate": gate["decision"], "rules": failed, **({"refinement": refinement} if refinement else {})},
    )  # fmt: skip


def told_rule(rule: Mapping[str, Any]) -> str:
    """A rule that failed, in words: what was measured, and what is allowed."""
    ends = " and ".join(f"{'at least' if end == 'min' else 'at most'} {rule['limit'][end]:g}" for end in rule["limit"])
    measured = rule.get("measured")
    found = "could not be measured" if measured is None else f"is {measured:.4g}"
    return f"rule {rule['rule']} ({rule['means']}) {found}, allowed: {ends}"


def _ineligible(message: str, next_step: str) -> CorridorRefused:
    return CorridorRefused("PUBLISH_NOT_ELIGIBLE", message, field="run_id", next_step=next_step)
