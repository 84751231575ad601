"""The skill: valid, short, and naming only what exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Desk
from shop import FAILED, Shop, opened_shop
from skills_ref import validate

from mcp_forecast_contracts.catalogue import documents, tools
from mcp_forecast_contracts.data import RegisterDatasetArguments
from mcp_forecast_contracts.errors import CODES
from mcp_forecast_contracts.inference import RunInferenceArguments
from mcp_forecast_engine.runtime.run import STATES

SKILL = Path(__file__).parent.parent.parent / "skills" / "forecast-ops"
TEXT = (SKILL / "SKILL.md").read_text(encoding="utf-8")
BODY = TEXT.split("---", 2)[2]
BLOCK = re.compile(r"```call\n(.*?)```", re.S)
CALLS = [line.split(" ", 1) for block in BLOCK.findall(BODY) for line in block.splitlines()]
QUOTED = [" ".join(quoted.split()) for quoted in re.findall(r"`([^`]+)`", BLOCK.sub("", BODY))]


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with opened_shop(tmp_path_factory) as made:
        yield made


def words(value: Any) -> Iterator[str]:
    """Every key and short text of a JSON value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from words(inner)
    elif isinstance(value, str):
        yield value


def followed(desk: Desk, names: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The calls that the skill writes down, one after the other; names: what stands in capitals there."""
    for tool, arguments in CALLS:
        answer = desk.call(tool, json.loads(re.sub(r"[A-Z]{3,}", lambda found: names[found[0]], arguments)))
        assert answer["ok"], (tool, answer)
        names["BUNDLE"] = answer["result"].get("bundle_id", names.get("BUNDLE", ""))
        yield tool, answer


def test_the_skill_is_valid_and_short() -> None:
    assert validate(SKILL) == []
    assert len(TEXT.splitlines()) <= 120
    assert sorted(path.name for path in SKILL.rglob("*")) == ["SKILL.md", "references", "runbook.md"]


def test_every_tool_is_in_the_skill() -> None:
    named = {*QUOTED, *(tool for tool, _ in CALLS)}
    assert [tool["name"] for tool in tools() if tool["name"] not in named] == []


def test_every_name_in_the_skill_exists_in_a_contract_or_a_real_answer(shop: Shop) -> None:
    desk, run_id = shop.desk, shop.passed(7)
    trained = desk.finish(run_id)
    refused = desk.call("publish_bundle", {"run_id": shop.failed(FAILED), "idempotency_key": "f"})
    names = {"RUN": run_id, "KEY": "k", "REASON": "as the skill says"}
    done = dict(followed(desk, names))
    assert done["rollback_bundle"]["result"]["status"] == "ROLLED_BACK"
    served = done["run_inference"]
    assert served["result"]["result"]["model"]["served_by"]["bundle_id"] == names["BUNDLE"]
    answers = (*words(documents()), *words(trained), *words(refused), *words(served))
    known = {*answers, *CODES, "caution", "do_not_trust", "trust", "temp"}
    named = {word for quoted in QUOTED for word in re.findall(r"[A-Za-z][A-Za-z_]*[A-Za-z]", quoted)}
    assert named - known - {"true", "ds", "mcp", "forecast", "connect"} == set()


def test_the_examples_in_the_skill_are_accepted_by_the_contracts() -> None:
    examples = {name: json.loads(value) for name, value in (q.split(": ", 1) for q in QUOTED if ": [" in q)}
    assert RegisterDatasetArguments.model_validate({"path": "a.csv", **examples}).covariates == []
    corrected = next(json.loads(q.split(": ", 1)[1]) for q in QUOTED if q.startswith('covariates: [{"'))
    assert RegisterDatasetArguments.model_validate({"path": "a.csv", "covariates": corrected}).covariates
    future = next(json.loads(q) for q in QUOTED if q.startswith('[{"'))
    assert RunInferenceArguments.model_validate({"run_id": "run_" + "0" * 24, "future": future}).future == future


def test_every_code_in_the_skill_can_come_from_a_tool() -> None:
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", BODY))
    possible = {code for document in documents().values() for code in document["errors"]}
    assert named - set(STATES) <= possible
