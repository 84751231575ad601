"""Completions: what could stand in a prompt's blank or a template's place, as far as the home knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import mcp_types as T

from mcp_forecast.mcp.context import Context
from mcp_forecast.mcp.resources import Ask
from mcp_forecast_contracts import catalogue

MOST: Final = 100  # values an answer may hold, by the protocol
_RUNS: Final = {"run_id", "other_run_id", "forecast://runs/{id}"}
_CONTRACT: Final = "forecast://contracts/{tool}/{version}"


class Completion:
    """Completes names of tools, versions of contracts and ids of runs. ask: makes one call for the caller in hand."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def __call__(self, ctx: Context, params: T.CompleteRequestParams) -> Any:
        """Values that begin with what was typed; none where nothing is known, or the caller may not see it."""
        given = (params.context.arguments if params.context is not None else None) or {}
        where = params.ref.uri if isinstance(params.ref, T.ResourceTemplateReference) else ""
        known = await self._known(ctx, where, params.argument.name, given)
        found = [value for value in known if value.startswith(params.argument.value)]
        completion = {"values": found[:MOST], "total": len(found), "hasMore": len(found) > MOST}
        return {"resultType": "complete", "completion": completion}

    async def _known(self, ctx: Context, where: str, argument: str, given: Mapping[str, str]) -> list[str]:
        if where == _CONTRACT and argument == "tool":
            return list(catalogue.documents())
        if where == _CONTRACT and argument == "version":
            document = catalogue.documents().get(given.get("tool", ""))
            return [] if document is None else [document["version"]]
        if argument in _RUNS or (where in _RUNS and argument == "id"):
            envelope = await self._ask(ctx, "list_runs", {"limit": MOST})
            return [line["run_id"] for line in envelope["result"]["runs"]] if envelope["ok"] else []
        return []
