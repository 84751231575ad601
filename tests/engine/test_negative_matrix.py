"""Every reason why the corridor refuses, provoked on a real home: told on the wire, and nothing is left half done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from negative_home import Place, copied, made_in, told, untouched
from negative_publication import (
    PUBLICATION,
    Scenario,
    evidence_of,
    flipped,
    moved_meanwhile,
    other_model,
    with_part,
    with_ref,
)
from negative_training import OTHER_HORIZON, TRAINING, file_gone
from registry_toy import FALLBACK, TENANT

from mcp_forecast.errors import CODE_OF_CATEGORY
from mcp_forecast_contracts.errors import CODES
from mcp_forecast_engine.factory.pins import read_pins
from mcp_forecast_engine.factory.taxonomy import OUTCOMES, REASONS, REJECTIONS
from mcp_forecast_engine.registry import events, lifecycle
from mcp_forecast_engine.registry.events import Order
from mcp_forecast_engine.registry.policy import default_policy
from mcp_forecast_engine.registry.resolution import Needs, Resolution, resolve
from mcp_forecast_engine.registry.scope import Scope

CODES_TOLD: Final[dict[str, dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "golden" / "taxonomy.json").read_text()
)["codes"]
NOWHERE: Final = "sha256:" + "0" * 64
SCENARIOS: Final = {**TRAINING, **PUBLICATION}
# Where a run was at work, that it failed is what may be seen of it, with the steps it had finished.
ENDS: Final = ("run", "run_step", "artifacts")
ENTERED: Final = tuple(name for name in TRAINING if REASONS[name].category != "LABELS")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("negative") / "home"
    return folder, made_in(folder)


@pytest.fixture
def place(template: tuple[Path, dict[str, str]], tmp_path: Path) -> Iterator[Place]:
    folder, ids = template
    with copied(folder, ids, tmp_path / "home") as made:
        yield made


@pytest.mark.parametrize("reason", REASONS)
def test_it_is_refused_by_name_with_what_to_do_and_leaves_nothing_half_written(place: Place, reason: str) -> None:
    act = SCENARIOS[reason](place)
    before = place.run(place.passed)
    with untouched(place, but=ENDS if reason in ENTERED else ()):
        error = act()
    meaning = REASONS[reason]
    assert error["details"]["reason"] == reason, error
    assert (error["code"], error["disposition"]) == (CODE_OF_CATEGORY[meaning.category], meaning.disposition)
    assert error["message"]
    assert len(error["next_step"]) > 20
    if reason != "LEAKAGE_GUARD_VIOLATION":  # there it is that run itself that fails
        assert place.run(place.passed) == before


@pytest.mark.parametrize("ref", ["dataset_manifest", "training_config", "governance_profile", "resolved_plan"])
def test_a_document_that_is_gone_is_pinned_anew_by_the_same_call_as_the_refusal_says(place: Place, ref: str) -> None:
    error = file_gone(ref)(place)()
    assert (error["disposition"], error["next_step"][:34]) == ("retryable", "make the same training call again:")
    again = place.run(place.enter(place.plan(place.plain, horizon=OTHER_HORIZON)))
    assert (again.state, again.attempt) == ("QUEUED", 2)
    assert set(read_pins(again, place.artifacts).documents) >= {ref}


@pytest.mark.parametrize(("ref", "reason"), [("gate_receipt", "GATE_INVALID"), ("eval_report", "EVAL_REPORT_INVALID")])
def test_evidence_that_is_no_document_is_refused_as_what_it_should_have_been(
    place: Place, ref: str, reason: str
) -> None:
    act = evidence_of(ref, lambda found: [found])(place)
    with untouched(place):
        error = act()
    assert (error["details"]["reason"], error["field"]) == (reason, ref)


def test_the_model_of_another_run_is_not_published_under_the_name_of_this_one(place: Place) -> None:
    act = other_model(place)
    with untouched(place):
        error = act()
    assert error["details"] == {"reason": "TRAIN_ARTIFACT_IMMUTABILITY_VIOLATION", "file": "model.onnx"}
    assert "is not the one that the gate judged" in error["message"]


@pytest.mark.parametrize(
    "name",
    ["leakage.json", "preprocessing.json", "explanation.json", "governance_profile.json", "training_config.json"],
)
def test_a_changed_file_of_an_unpublished_run_is_no_bundles(place: Place, name: str) -> None:
    error = flipped(name)(place)()
    assert error["details"] == {"reason": "TRAIN_ARTIFACT_IMMUTABILITY_VIOLATION", "file": name}
    assert error["next_step"] == "restore it from a backup; then publish_bundle again"


def test_a_changed_result_of_an_unpublished_run_is_no_bundles(place: Place) -> None:
    path = place.artifacts.path(str(place.run(place.passed).result))
    path.write_bytes(path.read_bytes()[:-1])
    error = told(lambda: place.publish(place.passed))
    assert error["details"] == {"reason": "TRAIN_ARTIFACT_IMMUTABILITY_VIOLATION", "file": "result.json"}


SERVING = {
    "covariate_schema_hash": "", "input_spec": {"digest": NOWHERE}, "horizon": 7, "target": "y", "freq": "D",
    "data_freq": "D", "model": NOWHERE,
}  # fmt: skip


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        (evidence_of("train_build_request", lambda found: [found]), "REQUEST_INVALID"),
        (evidence_of("train_build_request", lambda found: "text"), "REQUEST_INVALID"),
        (evidence_of("gate_receipt", lambda found: {**found, "eligibility": None}), "GATE_INVALID"),
        (evidence_of("gate_receipt", lambda found: {**found, "evidence_refs": {}}), "GATE_INVALID"),
        (with_ref("gate_receipt", 5), "EVIDENCE_REF_MISSING"),
        (with_ref("dataset_manifests", [5]), "EVIDENCE_REF_MISSING"),
        (with_part("refs", []), "BUNDLE_PUBLICATION_INVALID"),
        (with_part("gate", "PASS"), "BUNDLE_PUBLICATION_INVALID"),
        (with_part("gate", {"decision": "FAIL"}), "BUNDLE_PUBLICATION_INVALID"),
        (with_part("artifacts", [{"name": "../model.onnx", "digest": NOWHERE}]), "BUNDLE_PUBLICATION_INVALID"),
        (with_part("serving", SERVING), "BUNDLE_PUBLICATION_INVALID"),
    ],
)
def test_documents_of_another_shape_are_refused_and_end_no_call_in_a_traceback(
    place: Place, scenario: Scenario, reason: str
) -> None:
    act = scenario(place)
    with untouched(place):
        error = act()
    assert error["details"]["reason"] == reason, error


def test_every_reason_has_its_scenario_and_only_those() -> None:
    assert not set(TRAINING) & set(PUBLICATION)
    assert set(SCENARIOS) == set(REASONS)


def test_reasons_are_what_they_were() -> None:
    told = {name: one for name, one in CODES_TOLD.items() if one["is"] == "raised"}
    assert {name: (one["category"], one["disposition"]) for name, one in told.items()} == {
        name: (reason.category, reason.disposition) for name, reason in REASONS.items()
    }
    assert {name for name, one in CODES_TOLD.items() if one["is"] == "outcome"} == set(OUTCOMES)
    assert {name for name, one in CODES_TOLD.items() if one["is"] == "rejection"} == set(REJECTIONS)


def test_every_other_code_of_the_plan_is_told_by_another_name_or_waits_for_its_rail() -> None:
    known = {*REASONS, *OUTCOMES, *CODES, "ALREADY_PUBLISHED", "CAPABILITY_MISMATCH:feature_set_id",
             "CAPABILITY_MISMATCH:feature_set_version"}  # fmt: skip
    for name, one in CODES_TOLD.items():
        if one["is"] == "told_as":
            assert one["as"] in known, name
            assert name not in REASONS
        elif one["is"] == "later":
            assert one["needs"], name
            assert name not in REASONS
        else:
            assert one["is"] in ("raised", "outcome", "rejection"), name


def test_a_publication_that_fails_midway_leaves_no_half_and_its_repeat_gives_the_same_bundle(place: Place) -> None:
    packaged = place.engine.shelf.prepare(place.passed).packaged
    assert packaged is not None
    act = moved_meanwhile(place)
    with untouched(place):
        act()
    place.edit("UPDATE run SET state = 'PASS' WHERE run_id = :run", run=place.passed)
    one, two = place.publish(place.passed), place.publish(place.passed)
    assert (one.status, two.status) == ("PUBLISHED", "ALREADY_PUBLISHED")
    assert one.bundle == two.bundle
    assert one.bundle is not None
    assert one.bundle.manifest == packaged.manifest
    with place.database.read() as connection:
        assert [event.event_type for event in events.every(connection)] == ["BUNDLE_PUBLISHED"]


def test_what_the_policy_rejects_is_on_record_by_name_and_changes_nothing_else(place: Place) -> None:
    bundle = place.publish(place.passed).bundle
    assert bundle is not None
    prod = Scope(environment="prod")

    def tried(scope: Scope = prod, **policy: Any) -> tuple[str, ...]:
        order = Order(actor="anna", at=1.0, policy=replace(default_policy(), **policy))
        with place.database.command() as connection:
            before = lifecycle.active(connection, scope)
            made = lifecycle.promote(connection, scope, bundle.ref, order)
            assert made.rejected
            assert lifecycle.active(connection, scope) == before
            assert [one.event_type for one in made.events] == ["PROMOTION_REJECTED"]
        return made.reason_codes

    told = {*tried(approvals=1), *tried(profiles={"prod": ["strict"]})}
    place.edit("UPDATE bundle SET gate_decision = 'FAIL'")
    told |= set(tried())
    place.edit("UPDATE bundle SET gate_decision = 'PASS'")
    other = replace(bundle, bundle_id="bnd_" + "0" * 24)
    with place.database.command() as connection:  # it is ACTIVE there, and the bundle was never compared with it
        lifecycle.publish(connection, prod, other, Order(actor="anna", at=1.0))
        lifecycle.promote(
            connection, prod, other.ref, Order(actor="anna", at=1.0, policy=replace(default_policy(), profiles={}))
        )
    told |= set(tried())
    with place.database.command() as connection:
        lifecycle.retire(connection, prod, bundle.ref, Order(actor="anna", at=1.0))
    told |= set(tried())
    assert told == set(REJECTIONS)


def test_why_a_scope_is_served_or_not_is_told_with_every_answer(place: Place) -> None:
    def answer(scope: Scope, **needs: Any) -> Resolution:
        with place.database.read() as connection:
            return resolve(connection, scope, Needs(**needs))

    told = set(answer(Scope()).reason_codes)
    assert told == {"SCOPE_NOT_FOUND", "FAIL_CLOSED_NO_COMPATIBLE_BUNDLE"}
    bundle = place.publish(place.passed).bundle
    assert bundle is not None
    place.promote(bundle.ref, FALLBACK)
    fallen = answer(TENANT)
    assert (fallen.outcome, fallen.bundle) == ("SAFE_FALLBACK", bundle)
    unfit = answer(TENANT, horizon=99, feature_set_id="fs_other")
    assert unfit.outcome == "FAIL_CLOSED"
    assert {"CAPABILITY_MISMATCH:horizon", "CAPABILITY_MISMATCH:feature_set_id"} <= set(unfit.reason_codes)
    told |= {*fallen.reason_codes, *unfit.reason_codes}
    assert {code.partition(":")[0] for code in told} == set(OUTCOMES)
