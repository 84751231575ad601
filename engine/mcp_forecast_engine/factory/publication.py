"""Whether a run may be published, and the bundle it is published as: its gate passed, and its evidence says so too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.factory.bundle import as_document, changed_as, files_of, package
from mcp_forecast_engine.factory.bundle_file import read_bundle_file, read_file, require_judged
from mcp_forecast_engine.factory.eval_report import is_compared, report_id
from mcp_forecast_engine.factory.judged import Judged, judged
from mcp_forecast_engine.factory.shapes import ResultShape, fault
from mcp_forecast_engine.factory.taxonomy import BY_HAND
from mcp_forecast_engine.runtime.publishing import require_attempt
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.artifacts import ArtifactStore


@dataclass(frozen=True)
class Packaged:
    """A bundle whose files were all read and whose document is stored. manifest: the digest of that document."""

    run_id: str
    manifest: str
    document: Mapping[str, Any]
    judged: Judged


def require_publishable(run: Run, document: Mapping[str, Any]) -> None:
    """Refuse a run that no gate judged, that failed it, or whose publication failed too often.

    document: the result of the finished training run. Raises CorridorRefused.
    """
    if run.state == "SUCCEEDED" or "gate" not in document:
        raise _ineligible(
            f"{run.run_id} was trained before there were gates: no evidence judges it",
            "train again: the same run_training call makes a run that is judged",
        )
    wrong = fault(ResultShape, document)
    if wrong is not None:
        raise CorridorRefused(
            "BUNDLE_PUBLICATION_INVALID", f"the result of {run.run_id} is not what a training leaves: {wrong}",
            field="run_id", next_step=BY_HAND,
        )  # fmt: skip
    gate = document["gate"]
    if run.state == "FAIL" or gate["decision"] != "PASS":
        raise _failed(run, gate)
    require_attempt(run)


def package_run(run: Run, document: Mapping[str, Any], artifacts: ArtifactStore) -> Packaged:
    """The bundle of a run that may be published, all of whose files are those that its gate judged.

    document: as `require_publishable` let it pass. Raises CorridorRefused, StoreUnavailable.
    """
    files = files_of(run, document)
    receipt, report = (_evidence(run, document, name, artifacts) for name in ("gate_receipt", "eval_report"))
    _require_receipt(run, receipt, report)
    require_judged(files, receipt, partial(changed_as, run))
    data = package(run, document, artifacts)
    champion = _evidence(run, document, "train_build_request", artifacts).get("champion", "")
    found = judged(document, receipt, champion if champion and is_compared(report) else None)
    return Packaged(run.run_id, artifacts.put(data), read_bundle_file(data), found)


def _evidence(run: Run, document: Mapping[str, Any], name: str, artifacts: ArtifactStore) -> Mapping[str, Any]:
    file = f"{name}.json"
    return as_document(run, name, read_file(file, document["refs"][name], artifacts, changed_as(run, file)))


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
    if receipt["eligibility"]["decision"] != "ELIGIBLE":
        raise _ineligible(
            f"{run.run_id} may not be published: {', '.join(receipt['eligibility']['reason_codes'])}",
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
