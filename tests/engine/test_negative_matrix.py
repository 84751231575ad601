"""Every reason why the corridor refuses, provoked on a real home: told on the wire, and nothing is left half done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from negative_home import Place, copied, made_in, untouched
from negative_publication import PUBLICATION, evidence_of, moved_meanwhile
from negative_training import OTHER_HORIZON, TRAINING, file_gone
from registry_toy import FALLBACK, TENANT

from mcp_forecast.errors import CODE_OF_CATEGORY
from mcp_forecast_contracts.errors import CODES
from mcp_forecast_engine.factory.pins import read_pins
from mcp_forecast_engine.factory.taxonomy import OUTCOMES, REASONS
from mcp_forecast_engine.registry import events
from mcp_forecast_engine.registry.resolution import Needs, Resolution, resolve
from mcp_forecast_engine.registry.scope import Scope

CODES_TOLD: Final[dict[str, dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "golden" / "taxonomy.json").read_text()
)["codes"]
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


def test_every_reason_has_its_scenario_and_only_those() -> None:
    assert not set(TRAINING) & set(PUBLICATION)
    assert set(SCENARIOS) == set(REASONS)


def test_reasons_are_what_they_were() -> None:
    told = {name: one for name, one in CODES_TOLD.items() if one["is"] == "raised"}
    assert {name: (one["category"], one["disposition"]) for name, one in told.items()} == {
        name: (reason.category, reason.disposition) for name, reason in REASONS.items()
    }
    assert {name for name, one in CODES_TOLD.items() if one["is"] == "outcome"} == set(OUTCOMES)


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
            assert one["is"] in ("raised", "outcome"), name


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
