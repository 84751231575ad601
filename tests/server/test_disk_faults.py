"""When the disk or the home fails: typed answers with a next step, nothing corrupt, and it recovers by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ENDED, Answer, Desk
from small_disk import (
    OTHER,
    RETRYABLE,
    ROWS,
    faults_of_store,
    fill,
    free,
    read_only,
    requests,
    small_disk,
    until,
    why_not,
)

from mcp_forecast.app import open_app
from mcp_forecast.settings import Settings
from mcp_forecast_engine.errors import StoreUnavailable

needs_root = pytest.mark.skipif(bool(why := why_not()), reason=f"DISK FAULTS ARE NOT TESTED HERE: {why}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", size="6m") as mounted:
        yield mounted


@pytest.fixture
def desk_on_disk(disk: Path, open_desk: Callable[[Settings], Desk], settings: Settings) -> Desk:
    """A desk whose home is on the small disk."""
    return open_desk(replace(settings, home=disk / "home", lease_s=2.0))


def trained(desk: Desk) -> tuple[str, str]:
    dataset: str = desk.call("register_dataset", {"rows": ROWS, "freq": "D"})["result"]["dataset_id"]
    run_id: str = desk.call("run_training", {"dataset_id": dataset, "horizon": 5})["result"]["run_id"]
    assert desk.finish(run_id)["result"]["state"] in ENDED
    return dataset, run_id


def every_tool(desk: Desk, dataset: str, run_id: str, numbers: range) -> list[tuple[str, Answer]]:
    """Answers of every tool there is, several times; of tools that this file does not know, to no arguments."""
    return [
        (tool, desk.call(tool, requests(dataset, run_id, number).get(tool, {})))
        for number in numbers
        for tool in desk.app.tools
    ]


def require_typed(answers: list[tuple[str, Answer]]) -> None:
    for tool, answer in answers:
        if answer["ok"]:
            continue
        error = answer["error"]
        assert error["code"] in RETRYABLE | OTHER, (tool, error)
        assert error["next_step"], (tool, error)
        assert error["code"] in OTHER or error["disposition"] in ("retryable", "outcome_unknown"), (tool, error)


def refused(answers: list[tuple[str, Answer]]) -> set[str]:
    return {tool for tool, answer in answers if not answer["ok"] and answer["error"]["code"] in RETRYABLE}


@needs_root
def test_on_a_full_disk_every_answer_is_typed_and_with_space_work_goes_on_by_itself(
    desk_on_disk: Desk, disk: Path
) -> None:
    desk = desk_on_disk
    dataset, run_id = trained(desk)
    fill(disk)
    answers = every_tool(desk, dataset, run_id, range(10))
    require_typed(answers)
    assert {"register_dataset", "run_training"} <= refused(answers)
    assert desk.call("get_run_status", {"run_id": run_id})["ok"]
    free(disk)
    for tool, request in requests(dataset, run_id, 1).items():
        if tool in ("register_dataset", "run_training", "run_inference"):
            assert desk.call(tool, request)["ok"], tool
    last = desk.call("get_run_status", {"run_id": run_id})["request_id"]
    asked = [answer["request_id"] for _, answer in answers]
    until(lambda: last in logged(desk), 5.0)
    assert set(asked) <= set(logged(desk))  # entries that had to wait have arrived
    assert faults_of_store(desk.app) == []


def logged(desk: Desk) -> list[str]:
    with desk.app.database.read() as connection:
        return list(connection.exec_driver_sql("SELECT request_id FROM audit_entry").scalars())


@needs_root
def test_a_run_that_met_a_full_disk_ends_so_that_asking_again_succeeds(desk_on_disk: Desk, disk: Path) -> None:
    desk = desk_on_disk
    dataset, _ = trained(desk)
    request = {"dataset_id": dataset, "horizon": 9, "idempotency_key": "k"}
    run_id = desk.call("run_training", request)["result"]["run_id"]
    until(lambda: desk.call("get_run_status", {"run_id": run_id})["result"]["state"] != "QUEUED", 10.0)
    fill(disk)
    first = desk.call("get_run_status", {"run_id": run_id, "wait_s": 2})
    assert first["ok"]
    free(disk)
    ended = desk.finish(run_id)["result"]
    if ended["state"] == "FAILED":
        assert ended["error"]["disposition"] == "retryable"
        again = desk.call("run_training", request)
        assert again["ok"]
        ended = desk.finish(run_id)["result"]
    assert ended["state"] in ENDED
    assert faults_of_store(desk.app) == []
    assert not list((desk.app.settings.home / "artifacts").glob("*/.new-*"))


@needs_root
def test_a_home_that_turns_read_only_while_it_serves_is_told_and_recovers(desk: Desk, settings: Settings) -> None:
    dataset, run_id = trained(desk)
    with read_only(settings.home):
        answers = every_tool(desk, dataset, run_id, range(2))
        require_typed(answers)
        assert {"register_dataset", "run_training"} <= refused(answers)
        assert desk.call("get_run_status", {"run_id": run_id})["ok"]
    request = {"dataset_id": dataset, "horizon": 8, "idempotency_key": "after"}
    assert desk.call("run_training", request)["ok"]
    assert desk.finish(desk.call("run_training", request)["result"]["run_id"])["result"]["state"] in ENDED
    assert faults_of_store(desk.app) == []


@needs_root
def test_a_read_only_home_cannot_be_opened_and_says_what_to_do(
    open_desk: Callable[[Settings], Desk], settings: Settings
) -> None:
    open_desk(settings).app.close()
    with read_only(settings.home), pytest.raises(StoreUnavailable) as refusal:
        open_app(settings)
    assert refusal.value.next_step
    assert open_desk(settings).call("list_runs")["ok"]


@needs_root
def test_a_disk_that_is_full_from_the_start_makes_no_half_home(
    disk: Path, open_desk: Callable[[Settings], Desk], settings: Settings
) -> None:
    fill(disk)
    on_disk = replace(settings, home=disk / "home")
    with pytest.raises(StoreUnavailable) as refusal:
        open_app(on_disk)
    assert refusal.value.next_step
    free(disk)
    assert open_desk(on_disk).call("list_runs")["ok"]


def test_a_missing_or_changed_artifact_is_named_and_putting_it_again_mends_it(desk: Desk) -> None:
    dataset, run_id = trained(desk)
    digest = desk.call("describe_dataset", {"dataset_id": dataset})["result"]["digest"]
    path = desk.app.engine.artifacts.path(digest)
    whole = path.read_bytes()
    for spoil in (path.unlink, lambda: path.write_bytes(whole[:-1]), lambda: path.write_bytes(b"")):
        spoil()
        for tool, request in (("describe_dataset", {"dataset_id": dataset}), ("run_inference", {"run_id": run_id})):
            error = desk.call(tool, request)["error"]
            assert (error["code"], bool(error["next_step"])) == ("ARTIFACT_CORRUPT", True)
        assert desk.call("register_dataset", {"rows": ROWS, "freq": "D"})["ok"]
        assert desk.call("describe_dataset", {"dataset_id": dataset})["ok"]
