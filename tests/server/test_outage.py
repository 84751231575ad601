"""PostgreSQL is stopped at once and comes back: typed answers meanwhile, then everything works by itself, once."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from conftest import ENDED, Answer, Desk
from postgres_server import PostgresServer
from sqlalchemy import select, text

from mcp_forecast.settings import Settings
from mcp_forecast_audit.tables import EntryRow

AWAY = ("STORE_UNAVAILABLE", "OUTCOME_UNKNOWN")
Open = Callable[[Settings], Desk]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of our own: we stop it."""
    made = PostgresServer()
    yield made
    made.close()


@pytest.fixture
def served(settings: Settings, server: PostgresServer) -> Settings:
    return replace(settings, database=server.fresh(), lease_s=2.0)


def rows(number: int = 0) -> list[dict[str, object]]:
    return [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d + 3 * m + number)} for m in range(1, 13) for d in range(1, 29)]


def register(desk: Desk, number: int) -> Answer:
    return desk.call("register_dataset", {"rows": rows(number), "freq": "D", "idempotency_key": f"k{number}"})


def entries(desk: Desk) -> list[tuple[int, str, str]]:
    """The log (seq, request, code) once nothing has been added for a while."""
    before: list[tuple[int, str, str]] = []
    for _ in range(50):
        with desk.app.database.read() as connection:
            found = connection.execute(select(EntryRow.seq, EntryRow.request_id, EntryRow.code).order_by(EntryRow.seq))
            now = [tuple(row) for row in found]
        if now == before:
            return now  # type: ignore[return-value]
        before = now  # type: ignore[assignment]
        time.sleep(0.3)
    raise AssertionError("the log does not come to rest")


def test_calls_meanwhile_get_typed_answers_soon_and_all_of_them_are_in_the_log(
    open_desk: Open, served: Settings, server: PostgresServer
) -> None:
    desk = open_desk(served)
    first = register(desk, 1)
    server.stop()
    answers = []
    for _ in range(3):
        for call in (lambda: desk.call("list_runs"), lambda: register(desk, 2), lambda: desk.call("nothing")):
            began = time.monotonic()
            answers.append(call())
            assert time.monotonic() - began < 2.0
    assert [answer["error"]["code"] for answer in answers] == [*AWAY[:1], *AWAY[:1], "UNKNOWN_TOOL"] * 3
    assert {answer["error"]["disposition"] for answer in answers[:2]} == {"retryable"}
    server.start()
    assert desk.call("list_runs")["ok"]
    assert register(desk, 1)["replay_of"] == first["request_id"]
    assert not register(desk, 2)["replayed"]
    log = entries(desk)
    assert [seq for seq, _, _ in log] == list(range(1, len(log) + 1))
    codes = {request: code for _, request, code in log}
    assert [codes[answer["request_id"]] for answer in answers] == [answer["error"]["code"] for answer in answers]
    assert set(Counter(request for _, request, _ in log).values()) == {1}


def test_a_frozen_backend_keeps_nobody_from_the_loop_and_its_callers_wait_for_seconds_only(
    open_desk: Open, served: Settings, server: PostgresServer
) -> None:
    desk = open_desk(replace(served, workers=0))
    first = register(desk, 1)
    asked = {"dataset_id": first["result"]["dataset_id"], "horizon": 7}
    run = desk.call("run_training", asked)["result"]["run_id"]
    with server.connect(served.database) as root:
        query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
        frozen = [int(pid) for (pid,) in root.execute(query)]
    answers: list[Answer] = []
    calls: list[Callable[[], Answer]] = [
        lambda: desk.call("get_service_status"),
        lambda: desk.call("get_run_status", {"run_id": run}),
        lambda: register(desk, 1),
    ]
    threads = [threading.Thread(target=lambda call=call: answers.append(call())) for call in calls]
    try:
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        for thread in threads:
            thread.start()
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            began = time.monotonic()
            assert desk.call("nothing")["error"]["code"] == "UNKNOWN_TOOL"  # it needs no database, only the loop
            assert time.monotonic() - began < 1.5
        for thread in threads:
            thread.join(timeout=15.0)
        assert len(answers) == len(calls)
        assert {answer["error"]["code"] for answer in answers if not answer["ok"]} == set(AWAY[:1])
        assert desk.call("list_runs")["ok"]
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)


def test_a_desk_can_be_opened_as_soon_as_the_server_is_there(
    open_desk: Open, served: Settings, server: PostgresServer
) -> None:
    server.stop()
    with pytest.raises(Exception, match="the database did not open"):
        open_desk(served)
    server.start()
    assert open_desk(served).call("get_service_status")["result"]["store"]["kind"] == "postgresql"


def test_a_run_under_way_ends_as_if_nothing_had_happened(
    open_desk: Open, served: Settings, server: PostgresServer
) -> None:
    desk = open_desk(served)
    dataset = register(desk, 1)["result"]["dataset_id"]
    run = desk.call("run_training", {"dataset_id": dataset, "horizon": 7})["result"]["run_id"]
    server.stop()
    assert desk.call("get_run_status", {"run_id": run})["error"]["code"] == AWAY[0]
    server.start()
    assert desk.finish(run)["result"]["state"] in ENDED


def test_whatever_was_acknowledged_stands_and_whatever_was_repeated_is_there_once(
    open_desk: Open, served: Settings, server: PostgresServer
) -> None:
    desk = open_desk(served)
    over = threading.Event()
    told: list[tuple[int, Answer]] = []

    def go_on(caller: int) -> None:
        number = caller
        while not over.is_set():
            answer = register(desk, number)
            told.append((number, answer))
            if answer["ok"]:
                number += 4

    threads = [threading.Thread(target=go_on, args=(caller,)) for caller in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.5)
        server.stop()
        server.start()
    time.sleep(0.3)
    over.set()
    for thread in threads:
        thread.join()
    assert {answer["error"]["code"] for _, answer in told if not answer["ok"]} <= set(AWAY)
    stand = {number: answer["result"]["dataset_id"] for number, answer in told if answer["ok"]}
    assert len(stand) > 8
    assert {number: register(desk, number)["result"]["dataset_id"] for number in stand} == stand
    log = entries(desk)
    assert [seq for seq, _, _ in log] == list(range(1, len(log) + 1))
    assert max(Counter(request for _, request, _ in log).values()) == 1
    assert {answer["request_id"] for _, answer in told} <= {request for _, request, _ in log}
    with desk.app.database.read() as connection:
        bodies = connection.execute(text("SELECT body FROM audit_entry WHERE code = 'OK' AND tool != 'server'"))
        new = [entry for entry in map(json.loads, bodies.scalars()) if "replay_of" not in entry]
        keys = connection.execute(text("SELECT count(*) FROM idempotency_key")).scalar_one()
    assert keys == len(new) >= len(stand)
