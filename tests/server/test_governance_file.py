"""Governance profiles of an operator: named in a setting, refused where they are wrong, pinned by every run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Desk
from gate_data import passing

from mcp_forecast.settings import PREFIX, Settings, read_settings
from mcp_forecast_engine.errors import CorridorRefused

LEAST: dict[str, Any] = {"leaks": {"max": 0}, "replay_difference": {"max": 0}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gates.json"


def written(file: Path, **profiles: dict[str, Any]) -> Path:
    """The file with these profiles, each of the rules that are required and its own."""
    made = {name: {"replay": "fits", "rules": {**LEAST, **rules}} for name, rules in profiles.items()}
    file.write_text(json.dumps({"policy_id": "acme", "revision": "1", "profiles": made}))
    return file


def asked(desk: Desk, **more: Any) -> dict[str, Any]:
    dataset = desk.call("register_dataset", {"rows": passing(), "freq": "D"})["result"]["dataset_id"]
    return desk.call("run_training", {"dataset_id": dataset, "horizon": 7, "covariates": [], **more})


def test_a_stricter_profile_of_the_operator_fails_what_the_default_passes(
    open_desk: Callable[[Settings], Desk], settings: Settings, file: Path
) -> None:
    written(file, orders={"skill_low": {"min": 0.99}, "skill_worst_step": {"min": 0.98}})
    desk = open_desk(replace(settings, governance=str(file)))
    runs = [asked(desk, **profile)["result"]["run_id"] for profile in ({}, {"governance_profile": "orders"})]
    passed, failed = (desk.finish(run_id)["result"] for run_id in runs)
    assert (passed["state"], failed["state"]) == ("PASS", "FAIL")
    gate = failed["result"]["gate"]
    assert gate["profile"] == "orders"
    assert failed["request"]["governance_profile"] == "orders"
    broken = {rule["rule"]: rule["limit"] for rule in gate["rules"] if not rule["passed"]}
    assert broken == {"skill_low": {"min": 0.99}, "skill_worst_step": {"min": 0.98}}


def test_another_limit_under_the_same_name_is_another_run_and_the_same_limit_the_same(
    open_desk: Callable[[Settings], Desk], settings: Settings, file: Path
) -> None:
    found = []
    for limit in (0.1, 0.2, 0.1):
        written(file, default={"skill_low": {"min": limit}})
        desk = open_desk(replace(settings, governance=str(file), workers=0))
        found.append(asked(desk)["result"]["run_id"])
    assert found[0] == found[2] != found[1]


def test_a_profile_that_the_file_lacks_is_refused_with_the_names_there_are(
    open_desk: Callable[[Settings], Desk], settings: Settings, file: Path
) -> None:
    desk = open_desk(replace(settings, governance=str(written(file, orders={})), workers=0))
    error = asked(desk, governance_profile="order")["error"]
    assert (error["code"], error["details"]["reason"]) == ("REQUEST_REFUSED", "GOVERNANCE_PROFILE_UNRESOLVED")
    assert error["allowed"] == ["default", "exploratory", "orders", "strict"]


def test_a_file_that_is_absent_or_wrong_stops_the_start_and_is_named(
    open_desk: Callable[[Settings], Desk], settings: Settings, file: Path
) -> None:
    wrong = replace(settings, governance=str(file))
    with pytest.raises(CorridorRefused, match=r"gates\.json cannot be read: No such file") as absent:
        open_desk(wrong)
    assert absent.value.field == f"{PREFIX}GOVERNANCE"
    written(file, orders={"leaks": {"min": 0}})
    with pytest.raises(
        CorridorRefused, match=r"gates\.json: profile 'orders' lacks a max of the rule leaks"
    ) as refused:
        open_desk(wrong)
    assert (absent.value.reason, refused.value.reason) == ("GOVERNANCE_PROFILE_INVALID",) * 2
    assert open_desk(settings).call("list_runs", {})["ok"]  # nothing half-open is left


def test_the_file_is_found_from_the_folder_that_the_server_starts_in(tmp_path: Path) -> None:
    settings = read_settings({f"{PREFIX}GOVERNANCE": "gates.json"}, tmp_path)
    assert settings.governance == str(tmp_path.resolve() / "gates.json")
