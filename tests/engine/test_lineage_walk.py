"""What a judged training was made from: every document leads back to the data, and none to what came after it."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_forecast_engine.factory.lineage import DATASET, RUN, Node, trained, upstream
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.identity import digest
from mcp_forecast_engine.store.named_artifacts import RESULT

FILES = (
    "preprocessing.json", "evaluation.json", "predictions.parquet", "model.onnx", "explanation.json", "leakage.json",
    "eval_report.json", "execution_record.json", "evidence_pack.json", "gate_receipt.json",
)  # fmt: skip
BEFORE = ("train_build_request", "resolved_plan")


def of(name: str) -> str:
    return digest("any/1", {"name": name})


def run(**changed: Any) -> Run:
    plan = {"dataset_id": "ds_1", "dataset_digest": of("data")}
    values: dict[str, Any] = {
        "run_id": "run_1", "run_key": of("key"), "kind": "training", "state": "PASS", "plan": plan, "caller": "a",
        "created_at": 1.0, "started_at": 2.0, "ended_at": 3.0, "attempt": 1, "losses": 0, "epoch": 1,
        "lease_owner": None, "lease_until": None, "worker_pid": None, "worker_started": None, "cancel_requested": False,
        "wall_limit_s": 9.0, "progress_done": 1, "progress_total": 1, "progress_text": "", "result": of("result"),
        "error": None,
    }  # fmt: skip
    return Run(**{**values, **changed})


def document(manifests: int = 1) -> dict[str, Any]:
    stems = {name.partition(".")[0]: of(name) for name in FILES}
    named = {name: stems[name] for name in ("eval_report", "predictions", "evidence_pack", "gate_receipt")}
    return {
        "artifacts": [{"name": name, "digest": of(name)} for name in FILES],
        "refs": {
            "train_request_id": "treq_1", **{name: of(name) for name in BEFORE}, **named,
            "dataset_manifests": [of(f"manifest {number}") for number in range(manifests)],
        },
    }  # fmt: skip


def names(nodes: list[Node]) -> set[str]:
    return {node.name for node in nodes}


def test_a_result_rests_on_every_document_and_each_document_stands_there_once() -> None:
    nodes = trained(run(), document(), ())
    assert names(nodes) == {RESULT, RUN, DATASET, *FILES, *BEFORE, "dataset_manifest"}
    assert len(nodes) == len(names(nodes))
    assert names(upstream(nodes, RESULT)) == names(nodes)
    assert all(source in names(nodes) for node in nodes for source in node.made_from)


@pytest.mark.parametrize("name", [*FILES, *BEFORE, "dataset_manifest"])
def test_every_document_leads_back_to_the_data_and_never_to_the_result(name: str) -> None:
    nodes = trained(run(), document(), ())
    found = names(upstream(nodes, name))
    assert DATASET in found
    assert RESULT not in found


def test_the_receipt_rests_on_the_evidence_and_the_plan_on_the_request() -> None:
    nodes = {node.name: node.made_from for node in trained(run(), document(), ())}
    assert set(nodes["gate_receipt.json"]) == {"eval_report.json", "evidence_pack.json"}
    assert {"evaluation.json", "predictions.parquet", "model.onnx"} <= set(nodes["eval_report.json"])
    assert nodes[RUN] == ("resolved_plan",)
    assert nodes["resolved_plan"] == ("train_build_request",)


def test_several_manifests_are_all_behind_the_request() -> None:
    nodes = {node.name: node.made_from for node in trained(run(), document(manifests=2), ())}
    assert nodes["train_build_request"] == ("dataset_manifest", "dataset_manifest.2")
    assert nodes["dataset_manifest.2"] == (DATASET,)


def test_a_run_without_a_result_rests_on_its_data() -> None:
    nodes = trained(run(state="QUEUED", result=None), None, ())
    assert [(node.name, node.made_from) for node in nodes] == [(RUN, (DATASET,)), (DATASET, ())]
