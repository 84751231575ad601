"""The gate: limits as data, what is not measured fails, and a failed rule says what to try."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.factory.eval_report import measured
from mcp_forecast_engine.factory.gates import MEANING, Measured, judge
from mcp_forecast_engine.factory.governance import RULES, Rule, built_in, profile_named, read_profiles, with_operators

GOOD: Measured = {
    "skill": 0.3, "skill_low": 0.2, "units": 60, "coverage_80": 0.8, "coverage_95": 0.95, "leaks": 0,
    "replay_difference": 0.0, "active_high": 0.1, "factors": 3, "model_bytes": 20_000, "latency_ms": 0.4,
}  # fmt: skip
BAD: Measured = {
    "skill": -0.1, "skill_low": -0.1, "units": 2, "coverage_80": 0.3, "coverage_95": 0.5, "leaks": 1,
    "replay_difference": 1e-12, "active_high": -0.1, "factors": 0, "model_bytes": 10**9, "latency_ms": 9_000.0,
}  # fmt: skip
LIMITS: dict[str, Any] = {"leaks": {"max": 0}, "replay_difference": {"max": 0}}
LEAST: dict[str, Any] = {"replay": "fits", "rules": LIMITS}
ASKED = {"dataset_id": "ds_1", "horizon": 24}


@pytest.mark.parametrize("name", sorted(built_in()))
def test_a_good_model_passes_every_profile(name: str) -> None:
    gate = judge(GOOD, built_in()[name], ASKED)
    assert (gate.decision, gate.refinement) == ("PASS", None)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule in built_in()["default"].limits])
def test_one_broken_rule_fails_the_gate_and_is_named(rule: Rule) -> None:
    gate = judge({**GOOD, rule: BAD[rule]}, built_in()["default"], ASKED)
    assert gate.decision == "FAIL"
    assert [(result.rule, result.measured) for result in gate.rules if not result.passed] == [(rule, BAD[rule])]
    assert gate.refinement is not None
    assert gate.refinement["because"] == rule


def test_what_could_not_be_measured_fails() -> None:
    gate = judge({**GOOD, "skill_low": None}, built_in()["default"], ASKED)
    assert [result.rule for result in gate.rules if not result.passed] == ["skill_low"]


def test_where_nothing_is_active_nothing_is_compared() -> None:
    assert judge({**GOOD, "active_high": None}, built_in()["default"], ASKED).decision == "PASS"


def test_the_next_call_tries_more_and_then_asks_for_other_data() -> None:
    weak = {**GOOD, "skill_low": -0.1}
    first = judge(weak, built_in()["default"], ASKED).refinement
    assert first is not None
    assert first["next_call"] == {"tool": "run_training", "arguments": {**ASKED, "budget": "large"}}
    second = judge(weak, built_in()["default"], first["next_call"]["arguments"]).refinement
    assert second is not None
    assert "next_call" not in second


def test_a_time_that_was_kept_is_not_told_so_that_receipts_are_the_same() -> None:
    lines = {line.rule: line.to_dict() for line in judge(GOOD, built_in()["default"], ASKED).rules}
    assert "measured" not in lines["latency_ms"]
    slow = judge({**GOOD, "latency_ms": 9_000.0}, built_in()["default"], ASKED)
    assert {line.rule: line.to_dict() for line in slow.rules}["latency_ms"]["measured"] == 9_000.0


def test_every_rule_has_a_meaning() -> None:
    assert set(MEANING) == set(RULES)


def test_another_limit_is_another_profile() -> None:
    plain = {"policy_id": "p", "revision": "1", "profiles": {"x": LEAST}}
    other = json.loads(json.dumps(plain))
    other["profiles"]["x"]["rules"]["leaks"]["max"] = 1
    assert read_profiles(plain)["x"].digest != read_profiles(other)["x"].digest


@pytest.mark.parametrize(
    "document",
    [
        {}, {"policy_id": "p", "revision": "1"}, {"policy_id": "p", "revision": "1", "profiles": []},
        {"policy_id": "p", "revision": "1", "profiles": {"x": {}}},
        {"policy_id": "p", "revision": "1", "profiles": {"x": {**LEAST, "rules": {**LIMITS, "replay_difference": {}}}}},
        {"policy_id": "p", "revision": "1", "profiles": {"x": {**LEAST, "rules": {**LIMITS, "leaks": {"max": "0"}}}}},
        {"policy_id": "p", "revision": "1",
         "profiles": {"x": {**LEAST, "rules": {**LIMITS, "beauty": {"min": 1}}}}},
    ],
    ids=["empty", "no profiles", "a list", "nothing", "no end", "a text", "an unknown rule"],
)  # fmt: skip
def test_a_governance_document_that_says_too_little_is_refused(document: Any) -> None:
    with pytest.raises(CorridorRefused) as refused:
        read_profiles(document)
    assert refused.value.reason == "GOVERNANCE_PROFILE_INVALID"


def test_an_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(CorridorRefused) as refused:
        profile_named("lenient", built_in())
    assert (refused.value.reason, refused.value.allowed) == ("GOVERNANCE_PROFILE_UNRESOLVED", sorted(built_in()))


def operators(**profiles: Any) -> dict[str, Any]:
    return {"policy_id": "acme", "revision": "7", "profiles": profiles}


def rules(**limits: Any) -> dict[str, Any]:
    return {"replay": "fits", "rules": {**LIMITS, **limits}}


def test_an_operators_profile_stands_beside_the_built_in_ones_and_may_replace_one() -> None:
    data = json.dumps(operators(orders=rules(skill_low={"min": 0.25}), default=rules(units={"min": 100}))).encode()
    found = with_operators(data, file="gates.json")
    assert set(found) == {*built_in(), "orders"}
    assert judge(GOOD, built_in()["default"], ASKED).decision == "PASS"
    for name, rule in (("orders", "skill_low"), ("default", "units")):
        gate = judge(GOOD, found[name], ASKED)
        assert [result.rule for result in gate.rules if not result.passed] == [rule]
        assert (found[name].policy_id, found[name].revision) == ("acme", "7")
    assert found["strict"] == built_in()["strict"]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("{", "it is no JSON"), ("[]", "something else than a policy"), ("\xff", "it is no JSON"),
        (json.dumps(operators()), "profiles is {}"),
        (json.dumps({**operators(x=rules()), "revision": 7}), "revision is 7"),
        (json.dumps({**operators(x=rules()), "extra": 1}), "something else than a policy"),
        (json.dumps(operators(Big=rules())), "a profile is named 'Big'"),
        (json.dumps(operators(x={**rules(), "rulez": {}})), "profile 'x' has 'rulez'"),
        (json.dumps(operators(x=rules(leaks={"min": 0}))), "profile 'x' lacks a max of the rule leaks"),
        (json.dumps(operators(x={"replay": "fits", "rules": {"leaks": {"max": 0}}})), "lacks a max of the rule replay"),
        (json.dumps(operators(x=rules(beauty={"min": 1}))), "profile 'x' has a rule 'beauty'"),
        (json.dumps(operators(x=rules(skill={"min": 2, "max": 1}))), "which nothing can keep"),
        (json.dumps(operators(x=rules(skill={"min": float("nan")}))), "profiles.x.skill is"),
        ('{"policy_id": "a", "policy_id": "b"}', "'policy_id' stands there twice"),
    ],
)  # fmt: skip
def test_an_operators_file_that_is_wrong_is_refused_by_name_place_and_next_step(document: str, told: str) -> None:
    with pytest.raises(CorridorRefused) as refused:
        with_operators(document.encode("latin-1"), file="gates.json")
    assert refused.value.reason == "GOVERNANCE_PROFILE_INVALID"
    assert refused.value.message.startswith("gates.json: ")
    assert told in refused.value.message
    assert refused.value.field
    assert refused.value.next_step == "correct the governance file"


def test_the_example_of_an_operators_file_is_one() -> None:
    example = Path(__file__).parents[2] / "examples/governance.json"
    assert "weekly-orders" in with_operators(example.read_bytes(), file=example.name)


def test_the_worst_steps_and_the_worst_group_are_measured_against_the_baseline_alone() -> None:
    naive = {"arm": "ridge", "against": "seasonal_naive"}
    report: dict[str, Any] = {
        "chosen": "ridge", "scores": {"ridge": {}}, "evidence": {"units": 9}, "leakage": [], "factors": [],
        "skill": [{"metric": "MASE", "skill": 0.2, "low": 0.1}], "against_active": [],
        "parts": [
            {**naive, "by": "horizon", "skill": 0.3}, {**naive, "by": "horizon", "skill": -0.2},
            {**naive, "by": "season", "skill": -0.9}, {**naive, "against": "active", "by": "horizon", "skill": -0.8},
        ],
    }  # fmt: skip
    found = measured(report, model_bytes=1, latency_ms=1.0, replay_difference=0.0)
    assert (found["skill_worst_step"], found["skill_worst_group"]) == (-0.2, 0.2)  # no groups: all series are one
    report["parts"].append({**naive, "by": "store", "skill": 0.05})
    again = measured(report, model_bytes=1, latency_ms=1.0, replay_difference=0.0)
    assert again["skill_worst_group"] == 0.05
