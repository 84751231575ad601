"""How a call that does not fit its contract is answered: the field, what was found, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from mcp_forecast.errors import Refusal
from mcp_forecast_contracts.contract import Contract
from mcp_forecast_contracts.schema import NULL


def unknown_tool(name: str, known: list[str]) -> Refusal:
    """No tool has this name; the nearest one is offered."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else None
    return Refusal("UNKNOWN_TOOL", f"no tool is named {name!r}", field="name", allowed=known, next_step=hint)


def invalid_arguments(contract: Contract, error: ValidationError) -> Refusal:
    """The first problem, said in the contract's words, and how many more there are."""
    problems = error.errors(include_url=False, include_context=True, include_input=True)
    first = problems[0]
    # Null is found by the object that holds it, so the field's name is in the context.
    path = (*first["loc"], first["ctx"]["name"]) if first["type"] == NULL else first["loc"]
    field = ".".join(str(part) for part in path) or "arguments"
    message, allowed = _said(contract, first, path, field)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Refusal("INVALID_ARGUMENTS", message + more, field=field, allowed=allowed)


def _said(contract: Contract, problem: Mapping[str, Any], path: Sequence[int | str], field: str) -> tuple[str, Any]:
    """What is wrong with a field, and what would have been accepted there."""
    if problem["type"] == "extra_forbidden":
        known = list(_node(contract, path[:-1]).get("properties", ()))
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        owner = contract.name if len(path) == 1 else ".".join(str(part) for part in path[:-1])
        return f"{field}: not an argument of {owner}" + (f"; did you mean {near[0]}?" if near else ""), known
    allowed = _allowed(_node(contract, path))
    if problem["type"] == "missing":
        return f"{field}: required, but absent", allowed
    text = f"{problem['msg'][0].lower()}{problem['msg'][1:]}"
    if problem["type"] == NULL:
        return f"{field}: {text}", allowed
    return f"{field}: {text}; found {_shown(problem.get('input'))}", allowed


def _node(contract: Contract, path: Sequence[int | str]) -> dict[str, Any]:
    """The part of the published schema that speaks of the field at this path; empty where none does."""
    from mcp_forecast_contracts.catalogue import documents

    node: dict[str, Any] = documents()[contract.name]["input_schema"]
    for part in path:
        node = (node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)) or {}
    return node


def _allowed(node: Mapping[str, Any]) -> Any:
    """Its words where it is one of some, else its type, bounds and description; what lies inside it is left out."""
    if "enum" in node:
        return node["enum"]
    told = {name: value for name, value in node.items() if not isinstance(value, dict | list | bool)}
    return told or None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}… ({len(text)} characters)"
