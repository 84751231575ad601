"""Forecasts by what is ACTIVE: which bundle answered, why, by which token; and only if every byte of it is right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bit_flips import flipped
from gate_data import passing
from shop import Shop, opened_shop

# The files of a bundle; that these are all of them is a test of its own.
FILES = (
    "bundle.json", "result.json", "preprocessing.json", "evaluation.json", "model.onnx", "dataset_manifest.json",
    "train_build_request.json", "resolved_plan.json", "eval_report.json", "evidence_pack.json", "gate_receipt.json",
    "leakage.json", "governance_profile.json", "explanation.json", "predictions.parquet", "training_config.json",
    "execution_record.json", "weights.safetensors",
)  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with opened_shop(tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def short(shop: Shop) -> dict[str, Any]:
    """A published bundle of 7 days."""
    return shop.done("publish_bundle", run_id=shop.passed(7))


@pytest.fixture(scope="module")
def long(shop: Shop) -> dict[str, Any]:
    """A published bundle of 14 days."""
    return shop.done("publish_bundle", run_id=shop.passed(14))


def judged(shop: Shop, bundle: dict[str, Any]) -> dict[str, str]:
    """By whom the registry says that a bundle was judged."""
    (line,) = shop.done("list_bundles", bundle_id=bundle["bundle_id"])["bundles"]
    assert line["profile"].startswith("default@")
    return {name: line[name] for name in ("profile", "verdict")}


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
        "policy_rev": first["served_by"]["policy_rev"], **judged(shop, short),
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
    named = {n: short[n] for n in ("bundle_id", "version")}
    assert pinned["result"]["model"]["served_by"] == {"by": "bundle", **named, **judged(shop, short)}
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
    assert by_run["result"]["model"]["served_by"] == {"by": "run", **judged(shop, short)}


def test_every_answer_tells_the_scope_of_its_own_call_and_none_that_of_another(
    shop: Shop, short: dict[str, Any]
) -> None:
    first, second = {"tenant": "alpha", "slot": "private"}, {"tenant": "beta", "slot": "private"}
    horizon = {"horizon": 2}
    tokens = [shop.done("promote_bundle", bundle_id=short["bundle_id"], **place)["token"] for place in (first, second)]
    answers = [shop.ask("run_inference", **place, **horizon) for place in (first, second)]
    assert len({answer["result"]["run_id"] for answer in answers}) == 1
    for answer, place, token in zip(answers, (first, second), tokens, strict=True):
        found = answer["result"]["result"]["model"]["served_by"]
        assert {name: answer["result"]["request"][name] for name in place} == place
        assert (found["scope"], found["token"]) == (f"local/live/private/{place['tenant']}", token)
        (refs,) = (one["refs"] for one in shop.desk.log("OK") if one["request_id"] == answer["request_id"])
        assert (refs["scope"], refs["registry_token"]) == (found["scope"], str(token))
    pinned = shop.done("run_inference", bundle_id=short["bundle_id"], **horizon)
    run_id = answers[0]["result"]["run_id"]
    assert pinned["run_id"] == run_id
    detailed = {"response_format": "detailed"}
    told = [pinned, shop.done("get_run_status", run_id=run_id), shop.done("get_run_status", run_id=run_id, **detailed)]
    told += [shop.done("list_runs", kind="inference", limit=5, **how) for how in ({}, detailed)]
    for one in told:
        assert "alpha" not in json.dumps(one)
        assert "beta" not in json.dumps(one)
    assert told[1]["result"]["model"]["served_by"]["bundle_id"] == short["bundle_id"]


def test_a_forecast_that_is_not_there_yet_tells_its_call_how_it_was_found_then_and_when_it_is_repeated(
    shop: Shop, short: dict[str, Any]
) -> None:
    up = shop.done("promote_bundle", bundle_id=short["bundle_id"], slot="queued", tenant="gamma")
    asked = {"slot": "queued", "tenant": "gamma", "horizon": 6, "wait_s": 0, "idempotency_key": "queued"}
    handle = shop.desk.call("run_inference", asked)["result"]
    found = handle["request"]["served_by"]
    assert ("result" in handle, found["scope"], found["token"]) == (False, up["scope"], up["token"])
    ended = shop.desk.finish(handle["run_id"])["result"]
    assert "gamma" not in json.dumps(ended)
    again = shop.desk.call("run_inference", asked)["result"]
    assert (again["result"]["model"]["served_by"], again["request"]["tenant"]) == (found, "gamma")
    assert again["result"]["series"] == ended["result"]["series"]


def test_a_misspelt_slot_that_the_fallback_answers_and_a_retired_bundle_are_told_with_a_warning(
    shop: Shop, long: dict[str, Any]
) -> None:
    place = {"environment": "warned"}
    gone = shop.done("publish_bundle", run_id=shop.passed(10))["bundle_id"]
    shop.done("promote_bundle", bundle_id=long["bundle_id"], **place, slot="fallback")
    shop.done("promote_bundle", bundle_id=gone, **place)
    (warning,) = shop.ask("run_inference", **place, slot="primry", horizon=5)["warnings"]
    assert "warned/live/primry" in warning
    assert warning.endswith("the fallback warned/live/fallback does; slots with something ACTIVE: fallback, primary")
    assert shop.ask("run_inference", **place, slot="fallback", horizon=5)["warnings"] == []
    shop.done("rollback_bundle", **place, retire=True)
    (warning,) = shop.ask("run_inference", bundle_id=gone, horizon=5)["warnings"]
    assert "is retired" in warning


def test_a_level_that_no_model_carries_is_one_refusal_by_run_bundle_and_scope(
    shop: Shop, short: dict[str, Any]
) -> None:
    shop.done("promote_bundle", bundle_id=short["bundle_id"], slot="levels")
    errors = [
        shop.refused("run_inference", levels=[50], **named)
        for named in ({"run_id": short["run_id"]}, {"bundle_id": short["bundle_id"]}, {"slot": "levels"})
    ]
    assert errors[0]["code"] == "DATA_INVALID"
    assert errors == errors[:1] * 3


def test_a_model_that_is_gone_is_named_by_its_file_where_its_run_is_asked(shop: Shop) -> None:
    run_id = shop.passed(8)
    files = shop.done("list_artifacts", run_id=run_id, name="model.onnx")["artifacts"]
    path = shop.desk.app.engine.artifacts.path(files[0]["digest"])
    kept = path.rename(path.with_suffix(".kept"))
    error = shop.refused("run_inference", run_id=run_id, horizon=3)
    kept.rename(path)
    assert error["code"] == "ARTIFACT_CORRUPT"
    assert error["message"].startswith(f"model.onnx of {run_id}: ")


def test_prod_refuses_what_was_not_measured_against_its_active_bundle_and_the_next_step_makes_one_that_was(
    shop: Shop, short: dict[str, Any], long: dict[str, Any]
) -> None:
    place = {"environment": "prod"}
    up = shop.ask("promote_bundle", bundle_id=short["bundle_id"], **place)
    assert (up["result"]["status"], up["warnings"]) == (
        "PROMOTED", [f"{up['result']['active']} was made for local/live/primary, and is promoted to prod/live/primary"],
    )  # fmt: skip
    no = shop.ask("promote_bundle", bundle_id=long["bundle_id"], **place)
    assert (no["result"]["status"], no["result"]["reason_codes"]) == ("REJECTED", ["ACTIVE_NOT_COMPARED"])
    assert any(up["result"]["active"] in text and long["bundle_id"] in text for text in no["warnings"])
    step = no["result"]["next_step"]
    call = json.loads(step[step.index("{") : step.rindex("}") + 1])
    assert "season_length" not in call
    made = shop.done("run_training", **call)
    assert made["request"]["measured_against"] == up["result"]["active"]
    ended = shop.desk.finish(made["run_id"])["result"]
    assert (ended["state"], "not_compared" in ended["result"]["gate"]) == ("PASS", False)
    new = shop.done("publish_bundle", run_id=made["run_id"])
    (line,) = shop.done("list_bundles", bundle_id=new["bundle_id"])["bundles"]
    assert (line["compared_with"], line["made_for"]) == (up["result"]["active"], "prod/live/primary")
    over = shop.ask("promote_bundle", bundle_id=new["bundle_id"], **place)
    assert (over["result"]["status"], over["warnings"]) == ("PROMOTED", [])
    former = shop.done("promote_bundle", bundle_id=short["bundle_id"], **place)
    assert former["reason_codes"] == ["ACTIVE_NOT_COMPARED"]
    step = former["next_step"]
    assert "rollback_bundle with" in step
    back = shop.done("rollback_bundle", **json.loads(step[step.index("{") : step.rindex("}") + 1]))
    assert (back["status"], back["active"]) == ("ROLLED_BACK", up["result"]["active"])


def test_where_nothing_was_compared_the_gate_says_why_and_counts_no_rule_as_kept(shop: Shop) -> None:
    run_id = shop.passed(8)
    gate = shop.done("get_run_status", run_id=run_id)["result"]["gate"]
    assert gate["not_compared"] == {"active_high": "nothing is ACTIVE in local/live/primary"}
    whole = shop.done("get_run_status", run_id=run_id, response_format="detailed")["result"]["gate"]["rules"]
    (rule,) = (one for one in whole if one["rule"] == "active_high")
    assert (rule["compared"], rule["why"], "measured" in rule) == (False, gate["not_compared"]["active_high"], False)
    assert gate["rules_kept"] == len(whole) - 1


def test_what_is_active_for_another_target_is_not_compared_and_said_to_be_of_another_target(
    shop: Shop, short: dict[str, Any]
) -> None:
    place = {"environment": "prod", "slot": "other-target"}
    up = shop.done("promote_bundle", bundle_id=short["bundle_id"], **place)
    rows = [{"ds": row["ds"], "z": row["y"]} for row in passing()]
    dataset = shop.desk.call("register_dataset", {"rows": rows, "target": "z"})["result"]["dataset_id"]
    made = shop.done("run_training", dataset_id=dataset, horizon=7, covariates=[], **place)
    gate = shop.desk.finish(made["run_id"])["result"]["result"]["gate"]
    told = f"ACTIVE is {up['active']}, and not compared: it forecasts 'y', this run 'z'"
    assert gate["not_compared"] == {"active_high": told}
    new = shop.done("publish_bundle", run_id=made["run_id"])["bundle_id"]
    no = shop.done("promote_bundle", bundle_id=new, **place)
    assert "ACTIVE_NOT_COMPARED" in no["reason_codes"]
    assert told in no["next_step"]  # the same call would be the same run
    assert "run_training" not in no["next_step"]
    shop.done("rollback_bundle", **place)
    assert shop.done("promote_bundle", bundle_id=new, **place)["status"] == "PROMOTED"


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
        "publish": lambda: shop.refused("publish_bundle", run_id=short["run_id"]),
    }
    with flipped(artifacts.path(digest)):
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
