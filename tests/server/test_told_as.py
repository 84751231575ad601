"""Codes of the plan that have another name here: the call that would meet them, and what it is told.

Where the other name is a reason of the corridor or an outcome of the registry, the code is an alias: it has no scenario
of its own, that of the other name is its (`engine/test_negative_matrix.py`, `engine/test_registry_lifecycle.py`).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from conftest import AGENT, Desk
from gate_data import passing

from mcp_forecast_contracts.errors import CODES
from mcp_forecast_engine.factory.taxonomy import OUTCOMES, REASONS

TABLE: Final = Path(__file__).parents[1] / "engine" / "golden" / "taxonomy.json"
OTHERS: Final = {
    name: one["as"] for name, one in json.loads(TABLE.read_text())["codes"].items() if one["is"] == "told_as"
}
TOLD_AS: Final = {name: other for name, other in OTHERS.items() if other in CODES}
NOBODYS: Final = "0" * 24
# Tool and arguments; "data": the id of a dataset that is there.
CALLS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "REQUEST_ID_PAYLOAD_MISMATCH": ("register_dataset", {"rows": passing(60), "idempotency_key": "one"}),
    "INVALID_MODE": ("run_training", {"run_id": f"run_{NOBODYS}", "idempotency_key": "two"}),
    "RUN_NOT_FOUND": ("get_run_status", {"run_id": f"run_{NOBODYS}"}),
    "REQUEST_COMMAND_UNSUPPORTED": ("retrain_everything", {}),
    "BASIS_UNRESOLVED": ("run_training", {"dataset_id": f"ds_{NOBODYS}", "horizon": 7}),
    "FEATURE_PROFILE_UNRESOLVED": (
        "run_training", {"dataset_id": "data", "horizon": 7, "preprocessing_id": f"pp_{NOBODYS}"},
    ),
    "REF_ACCESS_DENIED": ("read_artifact", {"digest": "sha256:" + "0" * 64}),
}  # fmt: skip


@pytest.mark.parametrize("code", TOLD_AS)
def test_it_is_refused_under_the_name_it_has_here(desk: Desk, code: str) -> None:
    made = desk.call("register_dataset", {"rows": passing(61), "idempotency_key": "one"})["result"]
    tool, asked = CALLS[code]
    named = {name: made["dataset_id"] if value == "data" else value for name, value in asked.items()}
    caller = replace(AGENT, scopes=frozenset()) if code == "REF_ACCESS_DENIED" else AGENT
    error = desk.call(tool, named, caller)["error"]
    assert (error["code"], error["disposition"]) == (TOLD_AS[code], "terminal")
    assert error["next_step"]


def test_what_asks_for_one_of_the_two_calls_is_no_request_of_the_other(desk: Desk) -> None:
    dataset = desk.call("register_dataset", {"rows": passing(61)})["result"]["dataset_id"]
    modes = {
        "run_training": {"dataset_id": dataset, "horizon": 7},
        "publish_bundle": {"run_id": f"run_{NOBODYS}", "idempotency_key": "two"},
    }
    assert desk.call("run_training", modes["run_training"])["ok"]
    assert desk.call("publish_bundle", modes["publish_bundle"])["error"]["code"] == "NOT_FOUND"
    for tool, other in (("run_training", "publish_bundle"), ("publish_bundle", "run_training")):
        error = desk.call(tool, {**modes[tool], **modes[other]})["error"]
        assert (error["code"], error["field"]) == ("INVALID_ARGUMENTS", next(iter(modes[other])))


def test_every_code_that_has_another_name_is_met_or_is_an_alias_of_what_is() -> None:
    assert set(CALLS) == set(TOLD_AS)
    aliases = {other.partition(":")[0] for name, other in OTHERS.items() if name not in TOLD_AS}
    assert aliases <= {*REASONS, *OUTCOMES}
    assert len(OTHERS) == len(CALLS) + 11
