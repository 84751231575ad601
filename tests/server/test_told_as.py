"""Codes of the plan that have another name here: the call that would meet them, and what it is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from conftest import AGENT, Desk
from gate_data import passing

from mcp_forecast_contracts.errors import CODES

TABLE: Final = Path(__file__).parents[1] / "engine" / "golden" / "taxonomy.json"
TOLD_AS: Final = {
    name: one["as"]
    for name, one in json.loads(TABLE.read_text())["codes"].items()
    if one["is"] == "told_as" and one["as"] in CODES
}
NOBODYS: Final = "0" * 24
# Tool and arguments; "data": the id of a dataset that is there.
CALLS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "REQUEST_ID_PAYLOAD_MISMATCH": ("register_dataset", {"rows": passing(60), "idempotency_key": "one"}),
    "INVALID_MODE": ("run_training", {"dataset_id": "data", "horizon": 7, "mode_of_run": "publish_only"}),
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


def test_every_code_that_has_another_name_is_met() -> None:
    assert set(CALLS) == set(TOLD_AS)
