"""What a caller may ask for: quotas counted on the ledger, a queue that pushes back, and repeats that cost nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from conftest import AGENT, ENDED, Answer, Desk

from mcp_forecast.settings import Settings
from mcp_forecast_contracts.catalogue import documents

BOTH_DATABASES = True
ROWS = [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d % 7 + m)} for m in range(1, 13) for d in range(1, 29)]
OTHER = replace(AGENT, id="other")
Opener = Callable[[Settings], Desk]


def opened(open_desk: Opener, settings: Settings, **quotas: Any) -> tuple[Desk, dict[str, Any]]:
    """A desk with these quotas whose runs stay queued, and a training request."""
    desk = open_desk(replace(settings, **{"workers": 0, **quotas}))
    dataset = desk.call("register_dataset", {"rows": ROWS, "freq": "D"})["result"]["dataset_id"]
    return desk, {"dataset_id": dataset, "covariates": []}


def ask(desk: Desk, request: dict[str, Any], horizon: int, **more: Any) -> Answer:
    caller = more.pop("caller", AGENT)
    answer = desk.call("run_training", {**request, "horizon": horizon, **more}, caller)
    jsonschema.validate(answer, documents()["run_training"]["output_schema"])
    return answer


def total(desk: Desk) -> int:
    return int(desk.call("list_runs")["result"]["total"])


def test_a_used_up_day_is_refused_with_what_was_used_and_when_it_is_free(open_desk: Opener, settings: Settings) -> None:
    desk, request = opened(open_desk, settings, runs_per_day=3)
    assert all(ask(desk, request, horizon)["ok"] for horizon in (1, 2, 3))
    error = ask(desk, request, 4)["error"]
    assert (error["code"], error["disposition"]) == ("QUOTA_EXCEEDED", "retryable")
    assert error["details"] == {"reason": "RUNS_PER_DAY", "used": 3, "limit": 3}
    assert 86_300 < error["retry_after_s"] <= 86_400
    assert "retry_after_s" in error["next_step"]
    assert total(desk) == 3


def test_a_repeat_and_a_replay_pass_when_the_day_is_used_up_and_another_caller_is_untouched(
    open_desk: Opener, settings: Settings
) -> None:
    desk, request = opened(open_desk, settings, runs_per_day=2)
    first = ask(desk, request, 1, idempotency_key="first")
    assert ask(desk, request, 2)["ok"]
    assert ask(desk, request, 3)["error"]["code"] == "QUOTA_EXCEEDED"
    assert ask(desk, request, 1)["result"]["run_id"] == first["result"]["run_id"]
    assert ask(desk, request, 1, idempotency_key="first")["replayed"]
    assert ask(desk, request, 3, caller=OTHER)["ok"]
    assert ask(desk, request, 2, caller=OTHER)["ok"]  # the same run, asked for by another: costs nothing either
    assert ask(desk, request, 4, caller=OTHER)["ok"]
    assert ask(desk, request, 5, caller=OTHER)["error"]["code"] == "QUOTA_EXCEEDED"


def test_a_refused_run_leaves_its_key_unspent_and_itself_in_the_log(open_desk: Opener, settings: Settings) -> None:
    desk, request = opened(open_desk, settings, runs_at_once=1)
    first = ask(desk, request, 1)["result"]["run_id"]
    assert ask(desk, request, 2, idempotency_key="k")["error"]["code"] == "QUOTA_EXCEEDED"
    assert desk.log(last="QUOTA_EXCEEDED")[-1]["tool"] == "run_training"
    assert desk.call("cancel_run", {"run_id": first, "idempotency_key": "c"})["ok"]
    again = ask(desk, request, 2, idempotency_key="k")
    assert again["ok"]
    assert not again["replayed"]


def test_racing_calls_cannot_exceed_a_quota_together(open_desk: Opener, settings: Settings) -> None:
    desk, request = opened(open_desk, settings, runs_per_day=5)
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda horizon=horizon: answers.append(ask(desk, request, horizon)))  # type: ignore[misc]
        for horizon in range(1, 17)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answer["ok"] for answer in answers) == 5
    assert {answer["error"]["code"] for answer in answers if not answer["ok"]} == {"QUOTA_EXCEEDED"}
    assert total(desk) == 5


def test_runs_at_once_are_free_again_when_one_ends(open_desk: Opener, settings: Settings) -> None:
    desk, request = opened(open_desk, settings, runs_at_once=2)
    runs = [ask(desk, request, horizon)["result"]["run_id"] for horizon in (1, 2)]
    error = ask(desk, request, 3)["error"]
    assert error["details"] == {"reason": "RUNS_AT_ONCE", "used": 2, "limit": 2}
    assert 1 <= error["retry_after_s"] <= 300
    assert "get_run_status" in error["next_step"]
    desk.call("cancel_run", {"run_id": runs[0], "idempotency_key": "c"})
    assert ask(desk, request, 3)["ok"]


def test_a_full_queue_turns_everybody_away_for_a_while(open_desk: Opener, settings: Settings) -> None:
    desk, request = opened(open_desk, settings, queue_limit=2)
    assert ask(desk, request, 1)["ok"]
    assert ask(desk, request, 2, caller=OTHER)["ok"]
    error = ask(desk, request, 3)["error"]
    assert (error["code"], error["disposition"]) == ("RATE_LIMITED", "retryable")
    assert error["details"] == {"reason": "QUEUE_FULL", "used": 2, "limit": 2}
    assert 1 <= error["retry_after_s"] <= 300


def test_a_reopened_run_is_another_run_of_the_day(open_desk: Opener, settings: Settings) -> None:
    desk, request = opened(open_desk, settings, runs_per_day=2)
    run_id = ask(desk, request, 1)["result"]["run_id"]
    for key in ("a", "b"):
        desk.call("cancel_run", {"run_id": run_id, "idempotency_key": key})
        last = ask(desk, request, 1)
    assert last["error"]["details"] == {"reason": "RUNS_PER_DAY", "used": 2, "limit": 2}


@pytest.mark.parametrize("quota", ["runs_per_day", "training_minutes_per_day", "runs_at_once"])
def test_a_quota_of_zero_allows_nothing_and_promises_nothing(open_desk: Opener, settings: Settings, quota: str) -> None:
    desk, request = opened(open_desk, settings, **{quota: 0})
    error = ask(desk, request, 1)["error"]
    assert error["code"] == "QUOTA_EXCEEDED"
    assert "retry_after_s" not in error
    assert "operator" in error["next_step"]


def test_status_shows_the_quotas_and_what_this_caller_has_used(open_desk: Opener, settings: Settings) -> None:
    desk, request = opened(open_desk, settings, runs_per_day=7, queue_limit=9)
    ask(desk, request, 1)
    ask(desk, request, 2, caller=OTHER)
    quotas = desk.call("get_service_status")["result"]["limits"]["quotas"]
    assert quotas["runs_per_day"] == {"used": 1, "limit": 7}
    assert quotas["runs_at_once"] == {"used": 1, "limit": 50}
    assert quotas["training_minutes_per_day"]["used"] == 0
    assert quotas["queue"] == {"used": 2, "limit": 9}


def test_a_server_without_workers_says_that_the_run_waits_for_another_one(
    open_desk: Opener, settings: Settings
) -> None:
    desk, request = opened(open_desk, settings)
    assert "MCP_FORECAST_WORKERS=0" in ask(desk, request, 1)["result"]["next_step"]


def test_an_inline_forecast_is_a_run_of_the_day_but_waits_for_nobody(open_desk: Opener, settings: Settings) -> None:
    quotas = {"runs_per_day": 4, "runs_at_once": 1, "queue_limit": 1, "training_minutes_per_day": 1e-4}
    desk, request = opened(open_desk, settings, workers=1, **quotas)
    trained = desk.finish(ask(desk, request, 2)["result"]["run_id"])
    assert trained["result"]["state"] in ENDED, trained
    assert desk.call("get_service_status")["result"]["limits"]["quotas"]["runs_at_once"]["used"] == 0

    def forecast(level: int) -> Answer:
        request = {"run_id": trained["result"]["run_id"], "levels": [level], "wait_s": 25}
        return desk.call("run_inference", request)

    assert [forecast(level)["ok"] for level in (80, 95, 80)] == [True, True, True]  # the third one is the first
    # The one training has worked for longer than all may: no other one is begun, but forecasts are still given.
    error = ask(desk, request, 3)["error"]
    assert (error["details"]["reason"], error["details"]["limit"]) == ("TRAINING_MINUTES", 1e-4)
    assert 86_000 < error["retry_after_s"] <= 86_400
    assert [forecast(level)["ok"] for level in (60, 40, 60)] == [True, False, True]
    refused = forecast(40)
    assert refused["error"]["details"] == {"reason": "RUNS_PER_DAY", "used": 4, "limit": 4}
    jsonschema.validate(refused, documents()["run_inference"]["output_schema"])
