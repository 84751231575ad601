"""Prompts say what to call: only tools and arguments that exist, with the values filled in as they stand in a call."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError

from mcp_forecast.mcp.prompts import PROMPTS, Prompt, filled
from mcp_forecast_contracts import catalogue

RUN = "run_" + "0" * 24
VALUES = {
    "path": "data/sales.csv",
    "horizon": "28",
    "known_future": "price, promo",
    "dataset_id": "ds_" + "0" * 24,
    "run_id": RUN,
    "other_run_id": "run_" + "1" * 24,
}
CALL = re.compile(r"\b([a-z]+_[a-z_]+)\(([^)]*)\)")
EVERY = pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.name)


def text_of(prompt: Prompt) -> str:
    return filled(prompt, {blank.name: VALUES[blank.name] for blank in prompt.blanks})


@EVERY
def test_every_call_in_a_prompt_exists_with_its_arguments(prompt: Prompt) -> None:
    calls = CALL.findall(text_of(prompt))
    assert calls
    for tool, arguments in calls:
        assert tool in catalogue.documents(), tool
        named = set(re.findall(r"(\w+)=", arguments))
        assert named <= catalogue.documents()[tool]["input_schema"]["properties"].keys(), (tool, named)


@EVERY
def test_every_tool_that_is_named_exists(prompt: Prompt) -> None:
    named = set(re.findall(r"\b(?:run|get|list|compare|describe|register|cancel|read)_[a-z_]+\b", text_of(prompt)))
    arguments = {name for tool in catalogue.documents().values() for name in tool["input_schema"]["properties"]}
    assert named - arguments - catalogue.documents().keys() == set()


@EVERY
def test_a_prompt_is_short_and_leaves_no_blank(prompt: Prompt) -> None:
    text = text_of(prompt)
    assert len(text) < 1500
    assert "$" not in text
    assert all(VALUES[blank.name] in text for blank in prompt.blanks)


def test_a_line_about_an_optional_value_is_left_out_without_it() -> None:
    (prompt,) = (one for one in PROMPTS if one.name == "forecast_from_file")
    short = filled(prompt, {"path": "a.csv", "horizon": "7"})
    assert "of no other columns" not in short
    assert "of no other columns" in text_of(prompt)


@pytest.mark.parametrize("horizon", ["0", "-1", "1.5", "8761", "٣", "24 ", "", "24\n"])
def test_a_horizon_that_no_call_takes_is_refused(horizon: str) -> None:
    (prompt,) = (one for one in PROMPTS if one.name == "forecast_from_file")
    with pytest.raises(MCPError, match="horizon: found"):
        filled(prompt, {"path": "a.csv", "horizon": horizon})


@given(st.integers(min_value=1, max_value=8760))
def test_every_horizon_that_a_call_takes_is_taken(horizon: int) -> None:
    (prompt,) = (one for one in PROMPTS if one.name == "forecast_from_file")
    assert f"horizon={horizon}," in filled(prompt, {"path": "a.csv", "horizon": str(horizon)})


@given(st.text(min_size=1, max_size=100).filter(lambda text: all(ord(letter) > 31 for letter in text)))
def test_a_path_stands_in_the_call_as_one_quoted_value(path: str) -> None:
    (prompt,) = (one for one in PROMPTS if one.name == "forecast_from_file")
    lines = filled(prompt, {"path": path, "horizon": "7"}).split("\n")
    assert lines[1].startswith('1. register_dataset(path="')
