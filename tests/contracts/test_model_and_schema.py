"""The model that validates a call and the schema that is published accept the same instances."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema
from instances import ODD, QUICK, accepted, edges

from mcp_forecast_contracts.catalogue import ORDER, documents
from mcp_forecast_contracts.registry import CONTRACTS

# The only instances on which the two differ, on purpose: no JSON text that travels as UTF-8 can carry the second and
# third, and a number beyond a double is infinity to whoever read it.
DIFFERENCES = {
    "a number beyond a double": float("1e400"),
    "not a number": float("nan"),
    "half of a surrogate pair": "\ud800",
}


def taken(tool: str, instance: Any) -> bool:
    try:
        CONTRACTS[tool].arguments.model_validate(instance)
    except ValueError:
        return False
    return True


def listed(value: Any) -> bool:
    """Whether a difference of the list stands somewhere in the value."""
    if isinstance(value, dict):
        return any(listed(name) or listed(item) for name, item in value.items())
    if isinstance(value, list):
        return any(map(listed, value))
    if isinstance(value, str):
        return any("\ud800" <= letter <= "\udfff" for letter in value)
    return isinstance(value, float) and (value != value or abs(value) == float("inf"))


@pytest.mark.parametrize("tool", ORDER)
def test_at_every_edge_the_model_and_the_published_schema_agree(tool: str) -> None:
    schema = documents()[tool]["input_schema"]
    verdicts = set()
    for instance in edges(schema):
        verdict = accepted(schema, instance)
        assert taken(tool, instance) == verdict, f"{tool}: {str(instance)[:300]}"
        verdicts.add(verdict)
    assert verdicts == {True, False}


@pytest.mark.parametrize("tool", ORDER)
def test_the_model_and_the_published_schema_agree_on_generated_calls(tool: str) -> None:
    schema = documents()[tool]["input_schema"]
    names = list(schema["properties"]) or ["x"]

    @settings(QUICK, max_examples=30)
    @given(from_schema(schema), st.sampled_from(names), ODD)
    def each(arguments: dict[str, Any], name: str, value: Any) -> None:
        for instance in (arguments, {**arguments, name: value}):
            assert taken(tool, instance) == accepted(schema, instance) or listed(instance), instance

    each()


def test_the_differences_are_those_of_the_list_and_the_model_is_the_stricter_one() -> None:
    schema = documents()["run_inference"]["input_schema"]
    run = {"run_id": f"run_{'0' * 24}"}
    assert taken("run_inference", run)
    for instance in ({**run, "wait_s": float("1e400")}, {**run, "wait_s": float("nan")}):
        assert not taken("run_inference", instance)
        assert not accepted(schema, instance)
    name = {"rows": [{"y": 1}], "name": DIFFERENCES["half of a surrogate pair"]}
    assert accepted(documents()["register_dataset"]["input_schema"], name)
    assert not taken("register_dataset", name)
    assert all(map(listed, DIFFERENCES.values()))
