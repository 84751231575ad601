"""Every client takes every schema: the rules hold, each rule bites, and a stranger can recompute each digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from mcp_forecast import cli
from mcp_forecast.commands.contracts import check, listing_bytes, unportable, write
from mcp_forecast_contracts.catalogue import FOLDER, META_KEY, ORDER, documents, tools
from mcp_forecast_contracts.portability import problems

MOST_LISTED, MOST_READ = 100_000, 32_000  # bytes: of the whole listing, and of what a model reads of it


def broken(**input_property: Any) -> list[str]:
    """The problems of a sound document whose only input has these keywords."""
    return problems(document(input_property))


def document(given: Any, **top: Any) -> dict[str, Any]:
    described = {"description": "what it is", **given} if isinstance(given, dict) else given
    schema = {"type": "object", "properties": {"x": described}, "additionalProperties": False}
    words = "A tool that is described at a length which tells a reader when to use it, and when not to."
    return {"name": "tool", "description": words, "input_schema": {**schema, **top}, "output_schema": schema}


def test_every_contract_is_portable() -> None:
    assert unportable() == []
    assert broken(type="string") == []


@pytest.mark.parametrize(
    "given",
    [
        {"$ref": "#/$defs/x"}, {"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": ["string", "null"]},
        {"type": "null"}, {}, True, {"type": "string", "format": "date-time"}, {"type": "string", "title": "X"},
        {"type": "string", "const": "a"}, {"type": "integer", "enum": [1, 2]}, {"type": "string", "enum": []},
        {"type": "string", "enum": ["a", "a"]}, {"type": "string", "enum": ["a", ""]},
        {"type": "string", "pattern": "^(?!a)b$"}, {"type": "string", "pattern": "^\\u0041$"},
        {"type": "string", "pattern": "^\\d+$"}, {"type": "array"}, {"type": "array", "items": True},
        {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}},
        {"type": "object", "additionalProperties": True},
        {"type": "object", "additionalProperties": {"type": "string", "description": "any"}},
        {"type": "object", "properties": {"y": {"type": "string"}}}, {"type": "object", "required": ["y"]},
        {"type": "object", "properties": {"a b": {"type": "string", "description": "spaced"}}},
        {"type": "string", "description": "x" * 1025}, {"type": "string", "description": ""},
        {"type": "array", "items": {"type": "number"}}, {"type": "integer", "exclusiveMinimum": 0},
    ],
)  # fmt: skip
def test_what_some_client_refuses_is_found(given: Any) -> None:
    assert problems(document(given)) != []


@pytest.mark.parametrize(
    "top",
    [{"anyOf": [{"required": ["x"]}]}, {"$schema": "https://json-schema.org/draft/2020-12/schema"}, {"not": {}},
     {"$defs": {}}, {"type": "array"}, {"additionalProperties": True}],
)  # fmt: skip
def test_the_top_is_a_plain_object(top: dict[str, Any]) -> None:
    assert problems(document({"type": "string"}, **top)) != []


@pytest.mark.parametrize("name", ["", "Tool", "a-b", "a:b", "9lives", "t" * 41])
def test_a_tool_has_a_name_that_every_client_can_call(name: str) -> None:
    assert problems({**document({"type": "string"}), "name": name}) != []


def test_deep_arguments_are_found() -> None:
    deep: dict[str, Any] = {"type": "string", "description": "the end"}
    for _ in range(6):
        deep = {"type": "object", "description": "one level", "properties": {"y": deep}}
    assert any("levels deep" in problem for problem in problems(document(deep)))


def test_a_stranger_recomputes_each_digest_from_the_published_file() -> None:
    listed = {tool["name"]: tool["_meta"][META_KEY] for tool in tools()}
    for name in ORDER:
        published = json.loads((FOLDER / f"{name}.json").read_bytes())
        digest = published.pop("digest")
        assert digest == f"sha256:{hashlib.sha256(rfc8785.dumps(published)).hexdigest()}"
        if name in listed:
            assert listed[name] == {"name": name, "version": published["version"], "digest": digest}
    assert listed


def test_versions_stay_below_one_until_the_first_release() -> None:
    assert [name for name, found in documents().items() if not found["version"].startswith("0.")] == []


def test_the_listing_stays_within_its_budget() -> None:
    read = [{name: tool[name] for name in ("name", "description", "inputSchema")} for tool in tools()]
    assert listing_bytes() <= MOST_LISTED
    assert len(json.dumps(read, ensure_ascii=False, separators=(",", ":")).encode()) <= MOST_READ


def test_the_check_says_that_all_is_well_or_which_file_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["contracts", "--check"]) == 0
    assert capsys.readouterr().out.startswith(f"{len(ORDER)} contracts fresh and portable; tools/list is ")
    assert len(write(tmp_path)) == len(ORDER) + 1
    (tmp_path / f"{ORDER[0]}.json").write_text("{}")
    (tmp_path / "old_tool.json").write_text("{}")
    assert check(tmp_path) == [f"{ORDER[0]}.json", "old_tool.json"]
