"""The gate: limits as data, what is not measured fails, and a failed rule says what to try."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forecast_toys import panel_of

from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.factory.eval_report import lost_to_active, measured
from mcp_forecast_engine.factory.gates import MEANING, Measured, judge
from mcp_forecast_engine.factory.governance import (
    LABEL_RULES,
    RULES,
    Rule,
    built_in,
    profile_named,
    read_profiles,
    with_operators,
)
from mcp_forecast_engine.factory.refinement import REMEDIES, Room, more_units

GOOD: Measured = {
    "skill": 0.3, "skill_low": 0.2, "units": 60, "coverage_80": 0.8, "coverage_95": 0.95, "leaks": 0,
    "replay_difference": 0.0, "active_high": 0.1, "factors": 3, "model_bytes": 20_000, "latency_ms": 0.4,
}  # fmt: skip
BAD: Measured = {
    "skill": -0.1, "skill_low": -0.1, "units": 2, "coverage_80": 0.3, "coverage_95": 0.5, "leaks": 1,
    "replay_difference": 1e-12, "active_high": -0.1, "factors": 0, "model_bytes": 10**9, "latency_ms": 9_000.0,
}  # fmt: skip
KNOWN: Measured = {"coverage": 0.95, "conflicts": 0.0}
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
    gate = judge({**GOOD, "active_high": None}, built_in()["default"], ASKED, uncompared="nothing is ACTIVE in x")
    (rule,) = (one.to_dict() for one in gate.rules if one.rule == "active_high")
    assert gate.decision == "PASS"
    assert (rule["compared"], rule["why"], "measured" in rule) == (False, "nothing is ACTIVE in x", False)


def test_the_next_call_tries_more_and_then_asks_for_other_data() -> None:
    weak = {**GOOD, "skill_low": -0.1}
    first = judge(weak, built_in()["default"], ASKED).refinement
    assert first is not None
    assert first["next_call"] == {"tool": "run_training", "arguments": {**ASKED, "budget": "large"}}
    second = judge(weak, built_in()["default"], first["next_call"]["arguments"]).refinement
    assert second is not None
    assert "next_call" not in second


def test_season_and_columns_are_mended_before_more_models_are_tried_and_no_call_comes_twice() -> None:
    weak, asked = {**GOOD, "skill_low": -0.1}, {**ASKED, "covariates": [], "season_length": 3}
    room = Room(season=True, columns=True)
    made: list[dict[str, Any]] = [asked]
    while (found := judge(weak, built_in()["default"], made[-1], room=room).refinement) is not None:
        if "next_call" not in found:
            break
        assert found["next_call"]["arguments"] not in made
        made.append(dict(found["next_call"]["arguments"]))
    assert made == [asked, {**ASKED, "covariates": []}, ASKED, {**ASKED, "budget": "large"}]
    assert "register more history" in found["change"]


def test_extras_that_are_not_installed_are_named_where_they_would_be_tried() -> None:
    room = Room(absent={"torch": "train"})
    for budget in ("small", "large"):
        found = judge({**GOOD, "skill_low": -0.1}, built_in()["default"], {**ASKED, "budget": budget}, room=room)
        assert found.refinement is not None
        assert "pip install 'mcp-forecast[train]'" in found.refinement["change"]


def test_where_nothing_is_left_to_save_the_refinement_says_so_and_asks_for_no_call() -> None:
    even = {**GOOD, "skill": 0.0, "skill_low": 0.0, "units": 10}
    assert judge(even, built_in()["default"], ASKED, room=Room(exact=True)).decision == "PASS"
    strict = judge(even, built_in()["strict"], ASKED, room=Room(exact=True)).refinement
    assert strict is not None
    assert "every tested value was forecast exactly" in strict["change"]
    assert "next_call" not in strict


@pytest.mark.parametrize(
    ("steps", "horizon", "change"),
    [(200, 14, {"test_windows": 8}), (50, 14, {"horizon": 11, "test_windows": 8}), (12, 2, None)],
)
def test_too_few_windows_ask_for_more_then_for_a_shorter_horizon_then_for_data(
    steps: int, horizon: int, change: dict[str, int] | None
) -> None:
    panel = panel_of([np.arange(float(steps))], season_length=7, freq="1")
    found = more_units(panel, {"horizon": horizon}, 8)
    assert found == change
    if found is not None:
        asked = {"horizon": horizon, **found}
        assert plan_for(panel, asked["horizon"], test_windows=8).test_windows == 8


def test_a_time_that_was_kept_is_not_told_so_that_receipts_are_the_same() -> None:
    lines = {line.rule: line.to_dict() for line in judge(GOOD, built_in()["default"], ASKED).rules}
    assert "measured" not in lines["latency_ms"]
    slow = judge({**GOOD, "latency_ms": 9_000.0}, built_in()["default"], ASKED)
    assert {line.rule: line.to_dict() for line in slow.rules}["latency_ms"]["measured"] == 9_000.0


def test_rules_of_labels_are_kept_where_data_are_revised_and_only_there() -> None:
    plain, revised = (judge(found, built_in()["default"], ASKED) for found in (GOOD, {**GOOD, **KNOWN}))
    assert {line.rule for line in revised.rules} - {line.rule for line in plain.rules} == set(LABEL_RULES)
    late = judge({**GOOD, **KNOWN, "coverage": 0.5}, built_in()["default"], ASKED)
    assert [line.rule for line in late.rules if not line.passed] == ["coverage"]
    assert late.refinement == {"because": "coverage", "change": REMEDIES["coverage"][1]}


def test_every_rule_has_a_meaning() -> None:
    assert set(MEANING) == set(REMEDIES) == {*RULES, *LABEL_RULES}
    assert not any(text.startswith("the same") for text in MEANING.values())  # each stands alone in a refusal


def test_another_limit_is_another_profile() -> None:
    plain = {"policy_id": "p", "revision": "1", "profiles": {"x": LEAST}}
    other = json.loads(json.dumps(plain))
    other["profiles"]["x"]["rules"]["leaks"]["min"] = 0
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


def test_operators_profiles_stand_beside_the_built_in_ones() -> None:
    data = json.dumps(operators(orders=rules(skill_low={"min": 0.25}), many=rules(units={"min": 100}))).encode()
    found = with_operators(data, file="gates.json")
    assert set(found) == {*built_in(), "orders", "many"}
    for name, rule in (("orders", "skill_low"), ("many", "units")):
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
        (json.dumps(operators(x={**rules(), "rulez": {}})), "profiles.x: 'rulez' is not known"),
        (json.dumps(operators(x=rules(leaks={"min": 0}))), "profile 'x' lacks a max of the rule leaks"),
        (json.dumps(operators(x={"replay": "fits", "rules": {"leaks": {"max": 0}}})), "lacks a max of the rule replay"),
        (json.dumps(operators(x=rules(beauty={"min": 1}))), "profiles.x.rules: 'beauty' is not known"),
        (json.dumps(operators(x=rules(skill={"min": 2, "max": 1}))), "which nothing can keep"),
        (json.dumps(operators(x=rules(skill={"min": float("nan")}))), "profiles.x.rules.skill is"),
        ('{"policy_id": "a", "policy_id": "b"}', "'policy_id' stands there twice"),
        ("[" * 100_000, "it is no JSON"), (json.dumps(operators(x=5)), "profiles.x is 5"),
        (json.dumps(operators(x={"replay": "fits"})), "profile 'x' has no 'rules'"),
        (json.dumps(operators(default=rules(units={"min": 1}))), "profile 'default' is the engine's"),
        (json.dumps(operators(x=rules(leaks={"max": 5}))), "profiles.x.rules.leaks allows up to 5"),
        (json.dumps(operators(x=rules(replay_difference={"max": 0.1}))), "rules.replay_difference allows up to 0.1"),
        (json.dumps(operators(x={**rules(), "replay": ["fits"]})), "profiles.x.replay: ['fits'] is not known"),
        (json.dumps(operators(x=rules(skill="max"))), "profiles.x.rules.skill is 'max'"),
        (json.dumps(operators(x=rules(leaks="max"))), "profiles.x.rules.leaks is 'max'"),
        (json.dumps(operators(x={**rules(), "labels": {"coverage": "min"}})), "profiles.x.labels.coverage is 'min'"),
        (json.dumps(operators(x={**rules(), "labels": []})), "profiles.x.labels is []"),
        (json.dumps(operators(x={**rules(), "promotes_to": "prod"})), "profiles.x.promotes_to is 'prod'"),
        (json.dumps(operators(x={**rules(), "promotes_to": ["Prod"]})), "profiles.x.promotes_to is ['Prod']"),
        (json.dumps(operators(x=rules(units={"max": 10**400}))), "profiles.x.rules.units is {'max': 1000"),
        (json.dumps(operators(x=rules(units={"max": 2**53}))), "profiles.x.rules.units is {'max': 9007199254740992}"),
        (json.dumps({**operators(x=rules()), "policy_id": "\ud800"}), "lone surrogate"),
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


def test_a_profile_says_where_it_leads_to_and_is_the_same_profile_whatever_it_says() -> None:
    plain, leading = (
        with_operators(json.dumps(operators(x={**rules(), **more})).encode(), file="gates.json")["x"]
        for more in ({}, {"promotes_to": ["prod"]})
    )
    assert (plain.promotes_to, leading.promotes_to) == ((), ("prod",))
    assert leading.digest == plain.digest


def test_an_error_where_the_active_model_made_none_breaks_its_rule_though_no_skill_says_how_much() -> None:
    report: dict[str, Any] = {
        "chosen": "ridge", "evidence": {"units": 12},
        "scores": {"ridge": {"MASE": 0.4, "WQL": 0.1}, "active": {"MASE": 0.0, "WQL": 0.0}},
    }  # fmt: skip
    assert lost_to_active(report)
    gate = judge({**GOOD, "active_high": None}, built_in()["default"], ASKED, uncompared=None)
    assert (gate.decision, [r.to_dict()["measured"] for r in gate.rules if not r.passed]) == ("FAIL", [None])
    for other in ({"evidence": {"units": 2}}, {"scores": {"ridge": report["scores"]["ridge"]}}):
        assert not lost_to_active({**report, **other})


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
        "part_scores": [], "labels": {},
    }  # fmt: skip
    found = measured(report, model_bytes=1, latency_ms=1.0, replay_difference=0.0)
    assert (found["skill_worst_step"], found["skill_worst_group"]) == (-0.2, 0.2)  # no groups: all series are one
    report["parts"].append({**naive, "by": "store", "skill": 0.05})
    again = measured(report, model_bytes=1, latency_ms=1.0, replay_difference=0.0)
    assert again["skill_worst_group"] == 0.05
    exact = {"seasonal_naive": {"MASE": 0.0}, "ridge": {"MASE": 45.0}}
    report["part_scores"].append({"by": "store", "scores": exact})  # no skill says how much that is
    worst = measured(report, model_bytes=1, latency_ms=1.0, replay_difference=0.0)
    assert (worst["skill_worst_group"], worst["skill_worst_step"]) == (None, -0.2)
