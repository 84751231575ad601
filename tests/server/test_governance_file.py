"""Governance profiles of an operator: named in a setting, refused where they are wrong, pinned by every run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from backup_toys import command
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
        written(file, orders={"skill_low": {"min": limit}})
        desk = open_desk(replace(settings, governance=str(file), workers=0))
        found.append(asked(desk, governance_profile="orders")["result"]["run_id"])
    assert found[0] == found[2] != found[1]


def test_a_profile_of_the_operator_leads_to_prod_where_its_file_says_so(
    open_desk: Callable[[Settings], Desk], settings: Settings, file: Path
) -> None:
    document = json.loads(written(file, orders={}, drafts={}).read_text())
    document["profiles"]["orders"]["promotes_to"] = ["prod"]
    file.write_text(json.dumps(document))
    desk = open_desk(replace(settings, governance=str(file), workers=0))
    assert desk.app.engine.registry_policy.accepted_profiles("prod") == ["default", "strict", "orders"]


def test_a_profile_that_the_file_lacks_is_refused_with_the_names_there_are(
    open_desk: Callable[[Settings], Desk], settings: Settings, file: Path
) -> None:
    desk = open_desk(replace(settings, governance=str(written(file, orders={})), workers=0))
    error = asked(desk, governance_profile="order")["error"]
    assert (error["category"], error["disposition"]) == ("input", "terminal")  # no repeat finds it
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


@pytest.mark.parametrize("door", ["serve", "http", "worker"])
def test_no_door_opens_over_a_wrong_file_and_the_operator_is_told_where_it_is(
    settings: Settings, file: Path, door: str
) -> None:
    file.write_text("{")
    code, said = command(replace(settings, governance=str(file)), door)
    assert (code, said.splitlines()[0].startswith(f"error: {file}: it is no JSON")) == (2, True), said
    assert "correct the governance file" in said
    assert "serving" not in said
    assert not settings.home.exists() or door == "worker"


def test_a_misspelt_rule_is_refused_with_the_rules_there_are(settings: Settings, file: Path) -> None:
    written(file, orders={"skil_low": {"min": 0}})
    code, said = command(replace(settings, governance=str(file)), "worker")
    assert code == 2
    assert "'skil_low' is not known" in said
    assert "allowed: skill, skill_low," in said


def test_what_a_door_reads_before_it_opens_imports_next_to_nothing(file: Path) -> None:
    look = f"""
import sys
from mcp_forecast.governance import profiles_of
from mcp_forecast.settings import Settings
profiles = profiles_of(Settings(governance={str(written(file, orders={}))!r}))
assert profiles["orders"].policy_id == "acme"
print([name for name in ("numpy", "sqlalchemy", "pydantic", "anyio", "onnxruntime") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_file_is_found_from_the_folder_that_the_server_starts_in(tmp_path: Path) -> None:
    settings = read_settings({f"{PREFIX}GOVERNANCE": "gates.json"}, tmp_path)
    assert settings.governance == str(tmp_path.resolve() / "gates.json")
