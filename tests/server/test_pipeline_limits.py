"""Where a call could go wrong quietly: long answers, odd paths, forged cursors, leaving callers, failing commits."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from conftest import AGENT, Desk
from sqlalchemy import Connection, select

from mcp_forecast.calls.pipeline import call as pipeline_call
from mcp_forecast.errors import Refusal
from mcp_forecast.settings import SettingInvalid, Settings, child_environment, read_settings
from mcp_forecast.tools.cursor import make_cursor
from mcp_forecast_engine.store.tables import DatasetRow

BOTH_DATABASES = True
NAMES = [f"a_rather_long_covariate_{k:03d}" for k in range(100)]
WIDE_ROWS = [
    {"ds": f"2025-{m:02d}-{d:02d}", "y": float(d + 3 * m), **{name: d * k % 7 for k, name in enumerate(NAMES)}}
    for m in range(1, 13)
    for d in range(1, 29)
]  # fmt: skip


def short(answer: dict[str, Any]) -> bool:
    return len(json.dumps(answer, separators=(",", ":"))) < 8000


def test_answers_stay_short_however_wide_the_data(open_desk: Callable[[Settings], Desk], settings: Settings) -> None:
    desk = open_desk(replace(settings, workers=0))
    registered = desk.call("register_dataset", {"rows": WIDE_ROWS, "freq": "D"})
    dataset = registered["result"]["dataset_id"]
    assert registered["result"]["covariates_total"] == 100
    for horizon in range(2, 24):
        asked = desk.call("run_training", {"dataset_id": dataset, "horizon": horizon, "covariates": NAMES})
        assert short(asked)
    for answer in (
        registered,
        desk.call("describe_dataset", {"dataset_id": dataset}),
        desk.call("list_runs"),
        desk.call("run_training", {"dataset_id": dataset, "horizon": 2, "covariates": ["nothing"]}),
        desk.call("register_dataset", {"rows": WIDE_ROWS, "time": "nothing"}),
    ):
        assert short(answer), answer


def test_describe_pages_through_all_covariates_and_series(desk: Desk) -> None:
    dataset = desk.call("register_dataset", {"rows": WIDE_ROWS, "freq": "D"})["result"]["dataset_id"]
    request: dict[str, Any] = {"dataset_id": dataset, "limit": 30}
    covariates: list[str] = []
    series: list[str] = []
    while True:
        page = desk.call("describe_dataset", request)["result"]
        covariates += [covariate["name"] for covariate in page["covariates"]]
        series += [line["unique_id"] for line in page["series_page"]]
        if not page["has_more"]:
            break
        request["cursor"] = page["next_cursor"]
    assert len(covariates) == len(set(covariates)) == 100
    assert series == ["y"]


@pytest.mark.parametrize("path", [".", "data.csv", "x" * 3000 + ".csv", "notes.md", "pipe.csv"])
def test_a_path_that_is_no_data_file_is_refused_and_leaves_nothing_open(
    desk: Desk, settings: Settings, path: str
) -> None:
    (settings.roots[0] / "data.csv").mkdir()
    os.mkfifo(settings.roots[0] / "pipe.csv")
    (settings.roots[0] / "notes.md").write_text("no data")
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        assert desk.call("register_dataset", {"path": path})["error"]["code"] == "FILE_UNREADABLE"
    for _ in range(100):  # the log is sealed meanwhile, which holds a file for a moment
        if len(os.listdir("/dev/fd")) <= before:
            return
        desk.portal.call(anyio.sleep, 0.02)
    raise AssertionError("something was left open")


def test_a_link_with_a_harmless_name_opens_nothing_else(desk: Desk, settings: Settings) -> None:
    (settings.home / "token").write_text("secret")
    (settings.roots[0] / "data.csv").symlink_to(settings.home / "token")
    assert not desk.call("register_dataset", {"path": "data.csv"})["ok"]
    inside = replace(settings, roots=(settings.roots[0], settings.home))
    assert "secret" not in json.dumps(desk.call("register_dataset", {"path": str(inside.roots[0] / "data.csv")}))


@pytest.mark.parametrize(
    "cursor",
    [
        "%%%", "abc", make_cursor("runs None None", 5), make_cursor("runs None None", [[1], "x"]),
        make_cursor("runs training None", [1.0, "run"]), make_cursor("forecast", 1), "A" * 400,
    ],
)  # fmt: skip
def test_a_forged_or_foreign_cursor_is_refused(desk: Desk, cursor: str) -> None:
    assert desk.call("list_runs", {"cursor": cursor})["error"]["code"] in ("CURSOR_INVALID", "INVALID_ARGUMENTS")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60])
def test_numbers_that_json_cannot_carry_are_refused_inside_rows_too(desk: Desk, value: float) -> None:
    error = desk.call("register_dataset", {"rows": [{"ds": "2025-01-01", "y": value}], "idempotency_key": "k"})["error"]
    assert error["code"] == "INVALID_ARGUMENTS"


def test_a_caller_that_leaves_is_in_the_log(desk: Desk) -> None:
    dataset = desk.call("register_dataset", {"rows": WIDE_ROWS, "freq": "D"})["result"]["dataset_id"]
    run = desk.call("run_training", {"dataset_id": dataset, "horizon": 7})["result"]["run_id"]

    async def leave() -> None:
        with anyio.move_on_after(0.15):
            await pipeline_call(desk.app, "get_run_status", {"run_id": run, "wait_s": 25}, AGENT)

    desk.portal.call(leave)
    assert desk.log(last="CANCELLED")[-1]["tool"] == "get_run_status"


def test_a_commit_that_fails_is_in_the_log_as_what_it_was(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        if name.endswith(":written"):
            raise Refusal("STORE_UNAVAILABLE", "the disk went away")

    monkeypatch.setattr(desk.app, "milestone", fail)
    answer = desk.call("register_dataset", {"rows": WIDE_ROWS[:40], "freq": "D"})
    assert answer["error"]["code"] == "STORE_UNAVAILABLE"
    assert desk.log(last="STORE_UNAVAILABLE")[-1]["tool"] == "register_dataset"


@pytest.mark.parametrize("fails", [True, False])
def test_a_caller_that_leaves_while_its_commit_waits_is_in_the_log_once_as_it_ended(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    def fail(name: str) -> None:
        if fails and name.endswith(":written"):
            raise Refusal("STORE_UNAVAILABLE", "the disk went away")

    monkeypatch.setattr(desk.app, "milestone", fail)
    release = threading.Event()

    async def leave() -> None:
        submitted, submit = anyio.Event(), desk.app.writer.submit

        def noted(work: Callable[[Connection], Any]) -> Any:
            future = submit(work)
            submitted.set()
            return future

        submit(lambda connection: release.wait(30))
        monkeypatch.setattr(desk.app.writer, "submit", noted)
        async with anyio.create_task_group() as calls:
            calls.start_soon(pipeline_call, desk.app, "register_dataset", {"rows": WIDE_ROWS[:40], "freq": "D"}, AGENT)
            await submitted.wait()
            calls.cancel_scope.cancel()

    desk.portal.call(leave)
    release.set()
    log = desk.log(last="CANCELLED" if fails else "OK")
    assert [entry["tool"] for entry in log if entry["door"] == "test"] == ["register_dataset"]
    with desk.app.database.read() as connection:
        assert len(connection.execute(select(DatasetRow.dataset_id)).all()) == (0 if fails else 1)
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_a_key_replays_how_its_run_ended(desk: Desk) -> None:
    rows = [{"ds": row["ds"], "y": row["y"]} for row in WIDE_ROWS]
    dataset = desk.call("register_dataset", {"rows": rows, "freq": "D"})["result"]["dataset_id"]
    request = {"dataset_id": dataset, "horizon": 200, "idempotency_key": "k"}
    first = desk.call("run_training", request)
    ended = desk.finish(first["result"]["run_id"])
    assert ended["result"]["error"]["code"] == "HISTORY_TOO_SHORT"
    again = desk.call("run_training", request)
    assert again["replayed"]
    assert again["replay_of"] == first["request_id"]
    assert again["result"]["error"] == ended["result"]["error"]


def test_a_stray_module_in_the_start_folder_is_not_imported(settings: Settings, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "calendar.py").write_text("raise SystemExit('a stray module was imported')")
    (workspace / "queue.py").write_text("raise SystemExit('a stray module was imported')")
    script = Path(sys.executable).with_name("mcp-forecast")
    rows = "\n".join(f"{row['ds']},{row['y']}" for row in WIDE_ROWS)
    (workspace / "sales.csv").write_text(f"ds,y\n{rows}\n")
    done = subprocess.run(
        [script, "forecast", "sales.csv", "--horizon", "7"],
        cwd=workspace, env=child_environment(settings), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEASE_S", "nan"),
        ("LEASE_S", "-1"),
        ("WORKERS", "1.5"),
        ("RATE_PER_S", "0"),
        ("RATE_BURST", "0"),
        ("WORKERS", "x"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_with_its_range(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingInvalid, match=f"MCP_FORECAST_{name} is '{value}'; allowed: a"):
        read_settings({f"MCP_FORECAST_{name}": value}, tmp_path)


def test_a_home_with_odd_characters_in_its_path_opens_again(
    open_desk: Callable[[Settings], Desk], settings: Settings
) -> None:
    odd = replace(settings, home=settings.home.parent / "50%25 #1?")
    for _ in range(2):
        assert open_desk(odd).call("list_runs")["ok"]
