"""From data to what answers: judged, published, promoted, served, measured against what is ACTIVE, and rolled back."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from conftest import Desk
from training_toys import register, rows, train


def done(desk: Desk, tool: str, **arguments: Any) -> dict[str, Any]:
    answer = desk.call(tool, arguments)
    assert answer["ok"], answer
    result: dict[str, Any] = answer["result"]
    return result


def bundle_of(desk: Desk, run_id: str) -> dict[str, Any]:
    return done(desk, "publish_bundle", run_id=run_id, idempotency_key=f"publish-{run_id}")


def promoted(desk: Desk, bundle: dict[str, Any], token: int) -> dict[str, Any]:
    return done(
        desk, "promote_bundle", bundle_id=bundle["bundle_id"], expected_token=token, reason="its gate passed",
        idempotency_key=f"promote-{bundle['bundle_id']}",
    )  # fmt: skip


def document(desk: Desk, digest: str) -> dict[str, Any]:
    """A document by digest, its bytes checked here once more."""
    data = desk.app.engine.artifacts.get(digest)
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == digest
    found: dict[str, Any] = json.loads(data)
    return found


def test_nothing_answers_that_was_not_judged_published_and_promoted_and_the_former_comes_back(desk: Desk) -> None:
    dataset = register(desk)
    short = done(desk, "register_dataset", rows=rows(40, known=14))["dataset_id"]
    failed = train(desk, short)["result"]
    assert failed["state"] == "FAIL"
    assert {rule["rule"] for rule in failed["result"]["gate"]["rules"]} == {"skill_low", "units"}
    refused = desk.call("publish_bundle", {"run_id": failed["run_id"], "idempotency_key": "no"})["error"]
    assert (refused["code"], refused["details"]["reason"]) == ("PUBLISH_REFUSED", "PUBLISH_NOT_ELIGIBLE")
    shown = desk.call("run_inference", {"run_id": failed["run_id"]})["result"]["result"]
    assert any("failed its gate" in text for text in shown["warnings"])

    first = train(desk, dataset, covariates=[])["result"]
    assert first["state"] == "PASS"
    one = bundle_of(desk, first["run_id"])
    # Published is not ACTIVE: nothing answers for the scope yet.
    nothing = desk.call("run_inference", {"dataset_id": dataset})["error"]
    assert nothing["code"] == "NOT_FOUND", nothing
    now = promoted(desk, one, token=0)
    assert (now["status"], now["active"]) == ("PROMOTED", f"{one['bundle_id']}@{one['version']}")
    # The same call is the same run, also now that its bundle is ACTIVE.
    assert train(desk, dataset, covariates=[])["result"]["run_id"] == first["run_id"]

    second = train(desk, dataset)["result"]
    assert second["state"] == "PASS"
    receipt = document(desk, second["result"]["gate"]["receipt"])
    report = document(desk, receipt["evidence_refs"]["eval_report"])
    against = {line["metric"]: line for line in report["against_active"]}
    assert against["MASE"]["low"] > 0  # the promotions that the ACTIVE one does not read
    two = bundle_of(desk, second["run_id"])
    served = done(desk, "run_inference", dataset_id=dataset)["result"]["model"]
    assert (served["run_id"], served["served_by"]["bundle_id"]) == (first["run_id"], one["bundle_id"])
    stale = desk.call(
        "promote_bundle",
        {"bundle_id": two["bundle_id"], "expected_token": 0, "reason": "too late", "idempotency_key": "stale"},
    )
    assert stale["error"]["code"] == "REGISTRY_CONFLICT"
    then = promoted(desk, two, token=now["token"])
    served = done(desk, "run_inference", dataset_id=dataset)["result"]["model"]
    assert (served["run_id"], served["served_by"]["token"]) == (second["run_id"], then["token"])
    back = done(
        desk, "rollback_bundle", reason="a look at the former", expected_token=then["token"], idempotency_key="back"
    )
    assert (back["status"], back["active"], back["before"]) == ("ROLLED_BACK", now["active"], then["active"])
    served = done(desk, "run_inference", dataset_id=dataset)["result"]["model"]
    assert (served["run_id"], served["served_by"]["by"]) == (first["run_id"], "registry")


def test_every_reference_of_a_run_resolves_to_bytes_that_hash_to_it(desk: Desk) -> None:
    run = train(desk, register(desk))["result"]
    whole = done(desk, "get_run_status", run_id=run["run_id"], response_format="detailed")["result"]
    refs = dict(whole["refs"])
    manifests = refs.pop("dataset_manifests")
    for digest in (*manifests, *refs.values()):
        data = desk.app.engine.artifacts.get(digest)
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == digest
    listed = {one["name"]: one["digest"] for one in done(desk, "list_artifacts", run_id=run["run_id"])["artifacts"]}
    assert set(refs.values()) | set(manifests) <= set(listed.values())
    receipt = document(desk, refs["gate_receipt"])
    assert (receipt["run_id"], receipt["gate_decision"]) == (run["run_id"], "PASS")
    for digest in receipt["evidence_refs"].values():
        assert digest in listed.values()
    guards = document(desk, refs["leakage"])["guards"]
    names = ("manifest", "columns", "windows", "blind", "evidence")
    told = {guard["name"]: guard["status"] for guard in guards}
    assert told == {"labels": "nothing to check", **dict.fromkeys(names, "passed")}  # no value was revised
    assert document(desk, refs["explanation"])["factors"][0]["share"] > 0.3


def test_the_same_request_in_another_home_leaves_the_same_evidence(desk: Desk, tmp_path_factory: Any) -> None:
    from conftest import desk_in

    own = train(desk, register(desk))["result"]
    with desk_in(tmp_path_factory.mktemp("elsewhere")) as other:
        theirs = train(other, register(other))["result"]
        assert own["run_id"] == theirs["run_id"]
        both = [
            done(there, "get_run_status", run_id=own["run_id"], response_format="detailed")["result"]["refs"]
            for there in (desk, other)
        ]
    assert both[0] == both[1]
