"""Trainings with a gate's receipt: a real trained run, judged by a governance profile, with every ref that it needs."""

from __future__ import annotations

import json
from typing import Any

from conftest import Desk
from sqlalchemy import bindparam, update

from mcp_forecast_engine.factory.gates import judge
from mcp_forecast_engine.factory.governance import built_in
from mcp_forecast_engine.factory.receipts import gate_receipt, profile_ref
from mcp_forecast_engine.factory.train_request import TrainBuildRequest, admit
from mcp_forecast_engine.runtime.lease import STEP
from mcp_forecast_engine.runtime.ledger import ATTEMPT, RUN
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes

PASSING = {
    "skill": 0.4, "skill_low": 0.3, "units": 60, "coverage_80": 0.8, "coverage_95": 0.95, "leaks": 0,
    "replay_difference": 0.0, "active_high": None, "factors": 3, "model_bytes": 20_000, "latency_ms": 2.0,
}  # fmt: skip


def gated(desk: Desk, run_id: str, *, publish_allowed: bool = True, **measured: Any) -> str:
    """Let the gate judge a trained run by made figures; returns the run's id, which its request gives it.

    measured: values that differ from those of a run that passes, by rule.
    """
    artifacts = desk.app.engine.artifacts
    with desk.app.database.read() as connection:
        run = desk.app.engine.run(connection, run_id)
    document = json.loads(artifacts.get(str(run.result)))
    if run.state == "PASS" and publish_allowed and not measured:
        return run_id
    profile = built_in()["default"]
    refs = document["refs"]
    was = {refs["train_build_request"], refs.get("gate_receipt")}
    request = admit(json.loads(artifacts.get(refs["train_build_request"])))
    leave = request.provenance.model_copy(update={"publish_allowed": publish_allowed})
    request = request.model_copy(update={"provenance": leave})
    refs = {**refs, "train_build_request": _put(artifacts, request.to_dict())}
    gate = judge({**PASSING, **measured}, profile, run.plan["asked"])  # type: ignore[arg-type]
    report_id = json.loads(artifacts.get(refs["eval_report"]))["eval_report_id"]
    receipt = gate_receipt(request, gate, profile, eval_report_id=report_id, refs={"eval_report": refs["eval_report"]})
    judged = {
        **document,
        "artifacts": [one for one in document["artifacts"] if one["digest"] not in was],
        "gate": {
            "decision": gate.decision, "profile": profile_ref(profile), "rules": [r.to_dict() for r in gate.rules],
            **({"refinement": dict(gate.refinement)} if gate.refinement else {}),
        },
        "refs": {**refs, "gate_receipt": _put(artifacts, receipt)},
    }  # fmt: skip
    _rename(desk, run_id, request, state=gate.decision, result=_put(artifacts, judged))
    return request.run_id


def _put(artifacts: ArtifactStore, value: Any) -> str:
    return artifacts.put(canonical_bytes(value))


def _rename(desk: Desk, run_id: str, request: TrainBuildRequest, **values: Any) -> None:
    with desk.app.database.command() as connection:
        for table in (ATTEMPT, STEP):
            moved = update(table).where(table.c.run_id == bindparam("old")).values(run_id=request.run_id)
            connection.execute(moved, {"old": run_id})
        named = {"run_id": request.run_id, "run_key": request.run_key, **values}
        connection.execute(update(RUN).where(RUN.c.run_id == bindparam("old")).values(**named), {"old": run_id})
