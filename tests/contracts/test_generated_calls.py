"""Generated calls, valid and mutated: a typed answer each time, and no effect from an invalid one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from anyio.from_thread import start_blocking_portal
from conftest import Desk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema
from instances import ODD, QUICK, accepted
from sqlalchemy import text

from mcp_forecast.app import open_app
from mcp_forecast.settings import read_settings
from mcp_forecast_contracts.catalogue import ORDER, documents
from mcp_forecast_contracts.errors import CODES

EXAMPLES = 25  # per tool and kind; 500 on the wire, by both doors, are made by benchmarks/torture_calls.py
# Beyond the schema: what fits it and is still refused as an argument, because no portable schema can say it. Errors of
# these fields, and those that say ONE_OF (exactly one of two, different items), are no disagreement of the two.
BEYOND = {("get_audit_trail", "since"), ("get_audit_trail", "until")}  # days that no month has
EACH = settings(QUICK, max_examples=EXAMPLES)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One desk for all generated calls; limits raised by setting."""
    home = tmp_path_factory.mktemp("generated")
    raised = {"MCP_FORECAST_RATE_PER_S": "1e9", "MCP_FORECAST_RATE_BURST": "1e9"}
    with start_blocking_portal() as portal:
        app = open_app(read_settings({"MCP_FORECAST_HOME": str(home), **raised}, Path(home)))
        yield Desk(app, portal)
        app.close()


def effects(desk: Desk) -> tuple[int, ...]:
    tables = ("dataset", "run", "idempotency_key")
    with desk.app.database.read() as connection:
        return tuple(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables)


def typed(desk: Desk, tool: str, arguments: object) -> dict[str, Any]:
    began = time.monotonic()
    answer = desk.call(tool, arguments)
    assert time.monotonic() - began < 2, (tool, arguments)
    jsonschema.validate(answer, documents()[tool]["output_schema"])
    if not answer["ok"]:
        assert answer["error"]["code"] in CODES
        assert answer["error"]["code"] != "INTERNAL", (tool, arguments)
        assert answer["error"]["next_step"]
    return answer


@pytest.mark.parametrize("tool", ORDER)
def test_valid_calls_get_a_typed_answer_and_most_pass_the_contract(desk: Desk, tool: str) -> None:
    codes: Counter[str] = Counter()

    @EACH
    @given(from_schema(documents()[tool]["input_schema"]))
    def each(arguments: dict[str, Any]) -> None:
        answer = typed(desk, tool, arguments)
        refused = {} if answer["ok"] else answer["error"]
        beyond = refused.get("details", {}).get("reason") == "ONE_OF" or (tool, refused.get("field")) in BEYOND
        codes["BEYOND" if beyond else refused.get("code", "OK")] += 1

    each()
    assert codes["INVALID_ARGUMENTS"] <= 0.4 * codes.total(), codes


@pytest.mark.parametrize("tool", ORDER)
def test_mutated_calls_are_refused_without_effect(desk: Desk, tool: str) -> None:
    schema = documents()[tool]["input_schema"]
    names = [*schema["properties"], "unknown", "Horizon", ""]

    @EACH
    @given(from_schema(schema), st.sampled_from(names), ODD)
    def each(arguments: dict[str, Any], name: str, value: Any) -> None:
        mutated = {**arguments, name: value}
        before = effects(desk)
        answer = typed(desk, tool, mutated)
        if not accepted(schema, mutated):
            assert answer["error"]["code"] == "INVALID_ARGUMENTS", (mutated, answer)
            assert effects(desk) == before

    each()
