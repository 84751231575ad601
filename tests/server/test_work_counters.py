"""What get_service_status says of the work done: counted from rows, and compared with what nobody can change."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from conftest import Desk
from sqlalchemy import delete, select, update

from mcp_forecast.home.run_ends import enter_end
from mcp_forecast_contracts.catalogue import documents
from mcp_forecast_engine.registry import lifecycle
from mcp_forecast_engine.registry.active import ACTIVE
from mcp_forecast_engine.registry.bundles import BUNDLE, Bundle
from mcp_forecast_engine.registry.events import Order
from mcp_forecast_engine.registry.scope import Scope
from mcp_forecast_engine.runtime import lease, ledger, publishing
from mcp_forecast_engine.runtime.run import State
from mcp_forecast_engine.store.identity import digest, short_id

BOTH_DATABASES = True
NONE = {"train_failed": 0, "publish_pending": 0, "promotion_rejected": 0, "disagreements": 0}
ENDS: tuple[State, ...] = ("PASS", "PASS", "PASS", "FAIL", "FAILED")


def work(desk: Desk) -> dict[str, Any]:
    answer = desk.call("get_service_status", {"work": True})
    jsonschema.validate(answer, documents()["get_service_status"]["output_schema"])
    found: dict[str, Any] = answer["result"]["work"]
    return found


def ask(desk: Desk, name: str) -> str:
    key = digest("counted/1", {"name": name})
    with desk.app.database.command() as connection:
        run, _ = ledger.submit(
            connection, run_id=short_id("run", key), run_key=key, kind="training", plan={}, caller="agent",
            wall_limit_s=60.0, now=1.0,
        )  # fmt: skip
    return run.run_id


def end(desk: Desk, state: State) -> str:
    """A training as a worker does it, up to its end in this state and the log's entry of it."""
    now = desk.app.clock()
    with desk.app.database.command() as connection:
        run = lease.claim(connection, owner="a/b", lease_s=60.0, max_running=9, now=now)
        assert run is not None
        held = (run.run_id, run.epoch)
        lease.evaluated(connection, *held)
        if state == "FAILED":
            run = lease.fail(connection, *held, error={"reason": "DATA_INVALID", "disposition": "terminal"}, now=now)
        else:
            run = lease.finish(connection, *held, state=state, result=digest("result/1", {}), now=now)
        enter_end(connection, run)
    return run.run_id


def publish(desk: Desk, run_id: str) -> None:
    can = {"target": "y", "freq": "D", "horizon": 7, "levels": [0.1, 0.5, 0.9], "input_contract_version": "v2"}
    proof = digest("any/1", {})
    bundle = Bundle(
        bundle_id=short_id("bnd", digest("bundle/1", {"run": run_id})), version="1", kind="forecaster", run_id=run_id,
        manifest=proof, compatibility=can, gate_decision="PASS", gate_receipt=proof,
    )  # fmt: skip
    with desk.app.database.command() as connection:
        lifecycle.publish(connection, Scope(), bundle, Order(actor="agent", at=desk.app.clock()))
        publishing.published(connection, run_id)


@pytest.fixture
def worked(desk: Desk) -> Desk:
    """A desk with trainings in every final state, one of them published, one pending, one still queued."""
    for number in range(len(ENDS)):
        ask(desk, str(number))
    ended = [end(desk, state) for state in ENDS]
    publish(desk, ended[0])
    with desk.app.database.command() as connection:
        publishing.pending(connection, ended[1], "the disk is full")
    ask(desk, "queued")
    return desk


def test_a_new_home_has_done_nothing_and_agrees_with_itself(desk: Desk) -> None:
    found = work(desk)
    assert set(found["counters"].values()) == {0}
    assert found["anomalies"] == NONE
    assert "work" not in desk.call("get_service_status")["result"]


def test_counters_are_those_of_the_rows_and_agree_with_log_and_events(worked: Desk) -> None:
    found = work(worked)
    assert found["counters"] == {
        "train_requested": 6, "train_completed": 4, "eval_pass": 3, "eval_fail": 1, "bundle_published": 1,
        "anomalies": 2,
    }  # fmt: skip
    assert found["anomalies"] == {**NONE, "train_failed": 1, "publish_pending": 1}
    assert [(check["rows"], check["events"]) for check in found["reconciliation"]] == [(3, 3), (1, 1), (1, 1), (1, 1)]
    assert all(check["agrees"] for check in found["reconciliation"])
    assert found["unexplained"] == []


def test_a_run_whose_row_was_changed_by_hand_no_longer_agrees_with_the_log(worked: Desk) -> None:
    with worked.app.database.command() as connection:
        connection.execute(update(ledger.RUN).where(ledger.RUN.c.state == "FAIL").values(state="PASS"))
    found = work(worked)
    wrong = [check["check"] for check in found["reconciliation"] if not check["agrees"]]
    assert wrong == ["trainings that passed their gate", "trainings that failed their gate"]
    assert found["anomalies"]["disagreements"] == 2


def test_a_scope_that_serves_what_no_event_made_active_is_named(worked: Desk) -> None:
    with worked.app.database.command() as connection:
        bundle = connection.execute(select(BUNDLE)).mappings().one()
        row = {"bundle_id": bundle["bundle_id"], "version": bundle["version"], "seq": 7}
        connection.execute(ACTIVE.insert(), {**Scope().columns, **row})
    found = work(worked)
    assert len(found["unexplained"]) == found["anomalies"]["disagreements"] == 1
    assert "events say nothing" in found["unexplained"][0]
    with worked.app.database.command() as connection:
        connection.execute(delete(ACTIVE))
    assert work(worked)["anomalies"]["disagreements"] == 0
