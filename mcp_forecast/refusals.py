"""How a call that does not fit its contract is answered: the field, what was found, what is allowed."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import ValidationError

from mcp_forecast.errors import Refusal
from mcp_forecast_contracts.contract import Contract


def unknown_tool(name: str, known: list[str]) -> Refusal:
    """No tool has this name; the nearest one is offered."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else None
    return Refusal("UNKNOWN_TOOL", f"no tool is named {name!r}", field="name", allowed=known, next_step=hint)


def invalid_arguments(contract: Contract, error: ValidationError) -> Refusal:
    """The first problem, said in the contract's words, and how many more there are."""
    problems = error.errors(include_url=False, include_context=False, include_input=True)
    first = problems[0]
    field = ".".join(str(part) for part in first["loc"]) or "arguments"
    known = list(contract.arguments.model_fields)
    allowed: Any = None
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        message = f"{field}: not an argument of {contract.name}" + (f"; did you mean {near[0]}?" if near else "")
        allowed = known
    elif first["type"] == "missing":
        message = f"{field}: required, but absent"
        allowed = _schema_of(contract, field)
    elif first["type"] == "value_error":
        message = first["msg"].removeprefix("Value error, ")
    else:
        message = f"{field}: {first['msg'][0].lower()}{first['msg'][1:]}; found {_shown(first.get('input'))}"
        allowed = _schema_of(contract, field)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Refusal("INVALID_ARGUMENTS", message + more, field=field, allowed=allowed)


def _schema_of(contract: Contract, field: str) -> Any:
    from mcp_forecast_contracts.catalogue import documents

    return documents()[contract.name]["input_schema"]["properties"].get(field.split(".")[0])


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}… ({len(text)} characters)"
