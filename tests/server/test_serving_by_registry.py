"""Forecasts by what is ACTIVE: which bundle answered, why, by which token; and only if every byte of it is right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import desk_in
from gate_data import passing
from test_registry_tools import Shop

# The files of a bundle; that these are all of them is a test of its own.
FILES = (
    "bundle.json", "result.json", "preprocessing.json", "evaluation.json", "model.onnx", "dataset_manifest.json",
    "train_build_request.json", "resolved_plan.json", "eval_report.json", "evidence_pack.json", "gate_receipt.json",
    "leakage.json", "governance_profile.json", "explanation.json", "predictions.parquet", "training_config.json",
    "execution_record.json", "weights.safetensors",
)  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with desk_in(tmp_path_factory.mktemp("serving")) as desk:
        yield Shop(desk)


@pytest.fixture(scope="module")
def short(shop: Shop) -> dict[str, Any]:
    """A published bundle of 7 days."""
    return shop.done("publish_bundle", run_id=shop.passed(7))


@pytest.fixture(scope="module")
def long(shop: Shop) -> dict[str, Any]:
    """A published bundle of 14 days."""
    return shop.done("publish_bundle", run_id=shop.passed(14))


def test_a_scope_is_served_by_its_active_bundle_until_it_is_rolled_back(
    shop: Shop, short: dict[str, Any], long: dict[str, Any]
) -> None:
    nothing = shop.refused("run_inference", slot="served")
    assert (nothing["code"], nothing["details"]["reason"]) == ("NOT_FOUND", "FAIL_CLOSED_NO_COMPATIBLE_BUNDLE")
    up = shop.done("promote_bundle", bundle_id=short["bundle_id"], slot="served")
    first = shop.done("run_inference", slot="served")["result"]["model"]
    assert first["run_id"] == short["run_id"]
    assert first["gate"] == {"decision": "PASS"}
    assert first["bundle"] == {n: short[n] for n in ("bundle_id", "version", "manifest")}
    assert first["served_by"] == {
        "by": "registry", "bundle_id": short["bundle_id"], "version": short["version"], "scope": up["scope"],
        "served_from": up["scope"], "outcome": "RESOLVED", "reason_codes": [], "token": up["token"],
        "policy_rev": first["served_by"]["policy_rev"],
    }  # fmt: skip
    over = shop.done("promote_bundle", bundle_id=long["bundle_id"], slot="served")
    second = shop.done("run_inference", slot="served")
    assert (second["result"]["model"]["run_id"], len(second["result"]["series"][0]["ds"])) == (long["run_id"], 14)
    assert second["result"]["model"]["served_by"]["token"] == over["token"]
    back = shop.done("rollback_bundle", slot="served")
    third = shop.done("run_inference", slot="served")["result"]["model"]
    assert (third["run_id"], third["served_by"]["token"]) == (short["run_id"], back["token"])


def test_the_forecast_is_one_run_however_its_bundle_was_found(shop: Shop, short: dict[str, Any]) -> None:
    pinned = shop.done("run_inference", bundle_id=short["bundle_id"], version=short["version"])
    assert pinned["result"]["model"]["served_by"] == {"by": "bundle", **{n: short[n] for n in ("bundle_id", "version")}}
    tokens = []
    for slot in ("a", "b"):
        up = shop.done("promote_bundle", bundle_id=short["bundle_id"], slot=slot)
        found = shop.done("run_inference", slot=slot)
        assert found["run_id"] == pinned["run_id"]
        assert found["result"]["series"] == pinned["result"]["series"]
        assert found["result"]["model"]["served_by"]["token"] == up["token"]
        tokens.append(up["token"])
    assert tokens[0] != tokens[1]
    by_run = shop.done("run_inference", run_id=short["run_id"])
    assert by_run["run_id"] != pinned["run_id"]
    assert by_run["result"]["series"] == pinned["result"]["series"]
    assert by_run["result"]["model"]["served_by"] == {"by": "run"}


def test_a_replay_says_what_was_answered_then(shop: Shop, short: dict[str, Any]) -> None:
    up = shop.done("promote_bundle", bundle_id=short["bundle_id"], slot="replayed")
    asked = {"slot": "replayed", "horizon": 3, "idempotency_key": "then"}
    then = shop.desk.call("run_inference", asked)["result"]
    shop.done("run_inference", bundle_id=short["bundle_id"], horizon=3)
    again = shop.desk.call("run_inference", asked)
    assert (again["replayed"], again["result"]) == (True, then)
    assert then["result"]["model"]["served_by"]["token"] == up["token"]


def test_the_log_says_which_bundle_answered_and_by_which_token(shop: Shop, short: dict[str, Any]) -> None:
    up = shop.done("promote_bundle", bundle_id=short["bundle_id"], slot="logged")
    answer = shop.ask("run_inference", slot="logged", horizon=4)
    (refs,) = (entry["refs"] for entry in shop.desk.log("OK") if entry["request_id"] == answer["request_id"])
    assert refs["bundle_id"] == short["bundle_id"]
    assert refs["bundle"] == short["manifest"]
    assert (refs["model_run_id"], refs["registry_token"]) == (short["run_id"], str(up["token"]))


def test_a_tenant_is_served_by_its_own_bundle_then_everybodys_then_the_fallback(
    shop: Shop, short: dict[str, Any], long: dict[str, Any]
) -> None:
    place = {"environment": "tiered"}

    def served(**more: Any) -> dict[str, Any]:
        model: dict[str, Any] = shop.done("run_inference", **place, tenant="acme", **more)["result"]["model"]
        return {**model["served_by"], "run_id": model["run_id"]}

    shop.done("promote_bundle", bundle_id=long["bundle_id"], **place, slot="fallback")
    found = served()
    assert (found["outcome"], found["served_from"]) == ("SAFE_FALLBACK", "tiered/live/fallback")
    assert found["reason_codes"] == ["SCOPE_NOT_FOUND", "FALLBACK_EXPLICIT"]
    shop.done("promote_bundle", bundle_id=long["bundle_id"], **place)
    assert served()["served_from"] == "tiered/live/primary"
    shop.done("promote_bundle", bundle_id=short["bundle_id"], **place, tenant="acme")
    assert served()["run_id"] == short["run_id"]
    far = served(horizon=10)
    assert (far["run_id"], far["reason_codes"]) == (
        long["run_id"], ["ACTIVE_BUNDLE_INCOMPATIBLE", "CAPABILITY_MISMATCH:horizon"],
    )  # fmt: skip
    error = shop.refused("run_inference", **place, tenant="acme", horizon=15)
    assert error["code"] == "BUNDLE_INCOMPATIBLE"


def test_data_of_another_target_or_step_is_no_work_for_a_bundle(shop: Shop, short: dict[str, Any]) -> None:
    renamed = [{"ds": row["ds"], "z": row["y"]} for row in passing()]
    yearly = [{"ds": f"{1900 + place}-01-01", "y": row["y"]} for place, row in enumerate(passing(120))]
    for rows, target, unmet in ((renamed, "z", "target"), (yearly, "y", "data_freq")):
        other = shop.desk.call("register_dataset", {"rows": rows, "target": target})["result"]["dataset_id"]
        error = shop.refused("run_inference", bundle_id=short["bundle_id"], dataset_id=other)
        assert (error["code"], error["field"]) == ("BUNDLE_INCOMPATIBLE", unmet)


def test_a_run_a_bundle_and_a_scope_are_not_named_together(shop: Shop, short: dict[str, Any]) -> None:
    named = {"run_id": short["run_id"], "bundle_id": short["bundle_id"]}
    for wrong, field in (
        (named, "bundle_id"),
        ({"run_id": short["run_id"], "slot": "a"}, "slot"),
        ({"bundle_id": short["bundle_id"], "tenant": "acme"}, "tenant"),
        ({"version": short["version"]}, "version"),
    ):
        error = shop.refused("run_inference", **wrong)
        assert (error["code"], error["field"], error["details"]["reason"]) == ("INVALID_ARGUMENTS", field, "ONE_OF")


def test_the_forecast_of_a_run_that_failed_its_gate_says_so(shop: Shop) -> None:
    run_id = shop.failed(9)
    made = shop.done("run_inference", run_id=run_id)["result"]
    assert made["model"]["gate"] == {"decision": "FAIL", "failed": ["skill_low"]}
    (warning,) = (text for text in made["warnings"] if "gate" in text)
    assert "rule skill_low" in warning
    assert warning.endswith("for inspection, not for decisions")


def test_the_files_of_a_bundle_are_the_ones_that_are_tried(shop: Shop, short: dict[str, Any]) -> None:
    named = json.loads(shop.desk.app.engine.artifacts.get(short["manifest"]))["files"]
    apart = {"model.mlpackage.zip", "coreml_receipt.json"}  # where the extra is installed
    assert {"bundle.json", *(file["name"] for file in named)} - apart == set(FILES)


@contextmanager
def flipped(shop: Shop, digest: str) -> Iterator[None]:
    """One bit of a stored file is another one."""
    path = shop.desk.app.engine.artifacts.path(digest)
    sound = path.read_bytes()
    middle = len(sound) // 2
    path.write_bytes(sound[:middle] + bytes([sound[middle] ^ 1]) + sound[middle + 1 :])
    try:
        yield
    finally:
        path.write_bytes(sound)


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_of_any_file_is_refused_by_name_when_read_published_promoted_gone_back_to_or_served(
    shop: Shop, short: dict[str, Any], long: dict[str, Any], name: str
) -> None:
    artifacts = shop.desk.app.engine.artifacts
    files = {f["name"]: f["sha256"] for f in json.loads(artifacts.get(short["manifest"]))["files"]}
    digest = {**files, "bundle.json": short["manifest"]}[name]
    shop.done("promote_bundle", bundle_id=short["bundle_id"], slot="flipped")
    for one in (short, long):
        shop.done("promote_bundle", bundle_id=one["bundle_id"], slot="behind")
    before = shop.done("list_bundles", slot="behind")["active"]
    assert before[0]["bundle"].startswith(long["bundle_id"])
    calls: dict[str, Callable[[], dict[str, Any]]] = {
        "promote": lambda: shop.refused("promote_bundle", bundle_id=short["bundle_id"], slot="other"),
        "go back": lambda: shop.refused("rollback_bundle", slot="behind"),
        "go back to it": lambda: shop.refused("rollback_bundle", slot="behind", to=short["bundle_id"]),
        "serve": lambda: shop.refused("run_inference", slot="flipped"),
        "pin": lambda: shop.refused("run_inference", bundle_id=short["bundle_id"]),
    }
    if name != "bundle.json":  # that one is made of the others, and made again by publishing
        calls["publish"] = lambda: shop.refused("publish_bundle", run_id=short["run_id"])
    with flipped(shop, digest):
        for call in calls.values():
            error = call()
            assert (error["code"], error["details"]) == (
                "ARTIFACT_CORRUPT", {"reason": "BUNDLE_PACKAGE_IMMUTABILITY_VIOLATION", "file": name},
            )  # fmt: skip
            assert error["message"].startswith(f"{name}: ")
        listed = shop.done("list_artifacts", run_id=short["run_id"], name=name)["artifacts"]
        if digest in {one["digest"] for one in listed}:  # what a row names can be read
            read = shop.refused("read_artifact", digest=digest)
            assert read["code"] == "ARTIFACT_CORRUPT"
            assert read["message"].startswith(f"{name}: ")
    assert shop.done("list_bundles", slot="behind")["active"] == before  # what is ACTIVE stays
    assert shop.done("run_inference", slot="flipped")["state"] == "SUCCEEDED"
