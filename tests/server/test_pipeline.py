"""The path of a call, from the caller's side."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace

import jsonschema
import pytest
from conftest import AGENT, Desk
from sqlalchemy import select

from mcp_forecast.calls.caller import Caller
from mcp_forecast.calls.tool import Call, Outcome
from mcp_forecast.home.tables import KeyRow
from mcp_forecast.settings import Settings
from mcp_forecast_audit.tables import EntryRow
from mcp_forecast_contracts.catalogue import documents
from mcp_forecast_engine.store.tables import DatasetRow

BOTH_DATABASES = True
ROWS = [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d + 3 * m)} for m in range(1, 13) for d in range(1, 29)]
REGISTER = {"rows": ROWS, "freq": "D", "idempotency_key": "first"}


def count(desk: Desk, table: type) -> int:
    with desk.app.database.read() as connection:
        return len(connection.execute(select(table.__table__)).all())


def test_every_answer_fits_the_published_output_schema(desk: Desk) -> None:
    dataset = desk.call("register_dataset", REGISTER)["result"]["dataset_id"]
    calls = [
        ("register_dataset", REGISTER),
        ("register_dataset", {}),
        ("describe_dataset", {"dataset_id": dataset}),
        ("list_runs", {}),
        ("get_service_status", {}),
        ("get_run_status", {"run_id": "run_" + "0" * 24}),
    ]
    for tool, arguments in calls:
        jsonschema.validate(desk.call(tool, arguments), documents()[tool]["output_schema"])


def test_the_same_key_works_once_and_replays_the_answer(desk: Desk) -> None:
    first, second = (desk.call("register_dataset", REGISTER) for _ in range(2))
    assert second["replayed"]
    assert second["replay_of"] == first["request_id"]
    assert second["request_id"] != first["request_id"]
    assert second["result"] == first["result"]
    assert count(desk, DatasetRow) == 1


def test_the_same_key_with_other_arguments_is_a_conflict(desk: Desk) -> None:
    desk.call("register_dataset", REGISTER)
    answer = desk.call("register_dataset", {**REGISTER, "name": "other"})
    assert answer["error"]["code"] == "IDEMPOTENCY_CONFLICT"
    assert count(desk, DatasetRow) == 1


def test_key_order_and_spelling_of_a_number_are_the_same_request(desk: Desk) -> None:
    desk.call("register_dataset", REGISTER)
    rows = [{"y": int(row["y"]), "ds": row["ds"]} for row in ROWS]
    assert desk.call("register_dataset", {"idempotency_key": "first", "freq": "D", "rows": rows})["replayed"]


def test_another_caller_has_keys_of_its_own(desk: Desk) -> None:
    desk.call("register_dataset", REGISTER)
    answer = desk.call("register_dataset", {**REGISTER, "name": "mine"}, replace(AGENT, id="other"))
    assert answer["ok"]
    assert not answer["replayed"]


def test_a_refusal_does_not_spend_the_key(desk: Desk) -> None:
    refused = desk.call("register_dataset", {"rows": [{"a": "x"}], "idempotency_key": "k"})
    assert not refused["ok"]
    assert desk.call("register_dataset", {**REGISTER, "idempotency_key": "k"})["ok"]


def test_a_misspelt_argument_is_named_and_the_right_one_offered(desk: Desk) -> None:
    error = desk.call("register_dataset", {"rows": ROWS, "idempotncy_key": "k"})["error"]
    assert error["code"] == "INVALID_ARGUMENTS"
    assert error["field"] == "idempotncy_key"
    assert "idempotency_key" in error["message"]
    assert count(desk, DatasetRow) == 0


@pytest.mark.parametrize("value", ["24", True, 24.5, None, float("nan"), float("inf"), 2**70, [24]])
def test_wrong_values_are_refused_not_coerced(desk: Desk, value: object) -> None:
    error = desk.call("run_training", {"dataset_id": "ds_" + "0" * 24, "horizon": value})["error"]
    assert error["code"] == "INVALID_ARGUMENTS"
    assert "horizon" in error["message"]


@pytest.mark.parametrize("arguments", [[1], "x", 5, {"a": {"b": float("nan")}}])
def test_arguments_that_are_no_object_are_refused(desk: Desk, arguments: object) -> None:
    assert desk.call("list_runs", arguments)["error"]["code"] == "INVALID_ARGUMENTS"


def test_nan_inside_rows_is_refused(desk: Desk) -> None:
    answer = desk.call("register_dataset", {"rows": [{"ds": "2025-01-01", "y": float("nan")}]})
    assert answer["error"]["code"] in ("INVALID_ARGUMENTS", "DATA_INVALID")
    assert count(desk, DatasetRow) == 0


def test_an_unknown_tool_takes_the_path_and_is_in_the_log(desk: Desk) -> None:
    error = desk.call("run_trainin")["error"]
    assert error["code"] == "UNKNOWN_TOOL"
    assert "run_training" in error["next_step"]
    assert desk.log(last="UNKNOWN_TOOL")[-1]["tool"] == "run_trainin"


def test_a_caller_without_the_scope_is_denied_and_that_is_committed_at_once(desk: Desk) -> None:
    reader = Caller("reader", frozenset({"forecast:read"}), "test")
    answer = desk.call("register_dataset", REGISTER, reader)
    assert answer["error"]["code"] == "FORBIDDEN"
    with desk.app.database.read() as connection:
        codes = (
            connection.execute(select(EntryRow.code).where(EntryRow.request_id == answer["request_id"])).scalars().all()
        )
    assert codes == ["FORBIDDEN"]
    assert count(desk, DatasetRow) == 0


def test_a_limited_caller_is_told_when_to_come_back_and_others_go_on(
    open_desk: Callable[[Settings], Desk], settings: Settings
) -> None:
    desk = open_desk(replace(settings, rate_per_s=0.5, rate_burst=3.0))
    answers = [desk.call("list_runs") for _ in range(4)]
    assert [answer["ok"] for answer in answers] == [True, True, True, False]
    assert answers[3]["error"]["code"] == "RATE_LIMITED"
    assert 0 < answers[3]["error"]["retry_after_s"] <= 2
    assert desk.call("list_runs", {}, replace(AGENT, id="other"))["ok"]


def test_the_text_of_an_unexpected_exception_stays_inside(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(app: object, call: Call, request: object) -> Outcome:
        raise RuntimeError("secret detail")

    tools = dict(desk.app.tools)
    tools["list_runs"] = replace(tools["list_runs"], read=broken)
    monkeypatch.setattr(desk.app, "tools", tools)
    answer = desk.call("list_runs")
    assert "secret" not in json.dumps(answer)
    assert answer["error"]["code"] == "INTERNAL"
    assert answer["error"]["disposition"] == "retryable"  # a read changed nothing
    assert answer["error"]["details"]["correlation_id"] == answer["request_id"]


def test_key_state_and_entry_are_committed_together_or_not_at_all(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = dict(desk.app.tools)
    commit = tools["register_dataset"].commit
    assert commit is not None

    def broken(*arguments: object) -> Outcome:
        commit(*arguments)  # type: ignore[arg-type]
        raise RuntimeError("after the work")

    tools["register_dataset"] = replace(tools["register_dataset"], commit=broken)
    monkeypatch.setattr(desk.app, "tools", tools)
    answer = desk.call("register_dataset", REGISTER)
    assert answer["error"]["code"] == "INTERNAL"
    assert count(desk, DatasetRow) == 0
    assert count(desk, KeyRow) == 0


def test_every_call_is_in_the_log_and_invalid_ones_without_their_bytes(desk: Desk) -> None:
    desk.call("register_dataset", REGISTER)
    desk.call("register_dataset", REGISTER)
    desk.call("list_runs", {"wrong": "a secret value"})
    log = desk.log(last="INVALID_ARGUMENTS")
    assert [(entry["tool"], entry["code"]) for entry in log] == [
        ("server", "STARTED"),
        ("register_dataset", "OK"),
        ("register_dataset", "OK"),
        ("list_runs", "INVALID_ARGUMENTS"),
    ]
    assert log[2]["replay_of"] == log[1]["request_id"]
    assert "secret" not in json.dumps(log)


def test_a_start_after_an_unclean_end_says_so_in_the_log(
    open_desk: Callable[[Settings], Desk], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_desk(settings)
    monkeypatch.setattr("mcp_forecast.home.processes._alive", lambda pid, started: False)
    second = open_desk(settings)
    codes = [entry["code"] for entry in second.log(last="STARTED")]
    assert codes[:3] == ["STARTED", "UNCLEAN_END", "STARTED"]
    assert first.app.process_id != second.app.process_id


def test_a_file_that_is_not_there_is_told_as_absent_without_the_folders(desk: Desk, settings: Settings) -> None:
    error = desk.call("register_dataset", {"path": "nope.csv"})["error"]
    assert (error["code"], error["field"]) == ("FILE_UNREADABLE", "path")
    assert "there is no such file" in error["message"]
    assert "check the name" in error["next_step"]
    assert str(settings.roots[0]) not in str(error)


def test_files_outside_the_roots_are_not_read(desk: Desk, settings: Settings) -> None:
    outside = settings.home.parent / "secret.csv"
    outside.write_text("ds,y\n2025-01-01,1\n")
    link = settings.roots[0] / "link.csv"
    os.symlink(outside, link)
    for path in (str(outside), "../secret.csv", "link.csv", "/etc/passwd"):
        error = desk.call("register_dataset", {"path": path})["error"]
        assert error["code"] == "PATH_NOT_ALLOWED", path
        assert str(settings.roots[0]) in error["allowed"]
        assert "MCP_FORECAST_ROOTS" in error["next_step"]
    assert count(desk, DatasetRow) == 0


def test_a_cursor_of_another_listing_is_refused(desk: Desk) -> None:
    assert desk.call("list_runs", {"cursor": "abc"})["error"]["code"] == "CURSOR_INVALID"
