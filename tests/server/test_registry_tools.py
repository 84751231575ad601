"""The registry's tools: what passed its gate is published, promoted and rolled back; what did not, never."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import registry_toy as toy
from bit_flips import flipped
from conftest import AGENT
from shop import Shop, opened_shop
from sqlalchemy import text

from mcp_forecast.calls.caller import Caller
from mcp_forecast.cli import main
from mcp_forecast.settings import child_environment
from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.registry import lifecycle
from mcp_forecast_engine.registry.events import Order

NO_RUN, NO_BUNDLE = "run_" + "0" * 24, "bnd_" + "0" * 24


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with opened_shop(tmp_path_factory) as made:
        yield made


@pytest.fixture
def another(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop of one test, which publishes its run of 7 days itself."""
    with opened_shop(tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def first(shop: Shop) -> dict[str, Any]:
    """A published bundle of 7 days."""
    return shop.done("publish_bundle", run_id=shop.passed(7))


@pytest.fixture(scope="module")
def second(shop: Shop) -> dict[str, Any]:
    """A published bundle of 8 days."""
    return shop.done("publish_bundle", run_id=shop.passed(8))


def test_a_run_that_passed_is_published_once_with_every_file_by_digest(shop: Shop, first: dict[str, Any]) -> None:
    assert (first["status"], shop.state(first["run_id"])) == ("PUBLISHED", "PUBLISHED")
    told = shop.done("list_bundles", view="events", bundle_id=first["bundle_id"])["events"]
    assert (told[-1]["event_type"], told[-1]["registry_event_id"]) == ("BUNDLE_PUBLISHED", first["registry_event_id"])
    again = shop.done("publish_bundle", run_id=first["run_id"])
    assert (again["status"], again["manifest"]) == ("ALREADY_PUBLISHED", first["manifest"])
    manifest = json.loads(shop.desk.app.engine.artifacts.get(first["manifest"]))
    assert len(manifest["files"]) == first["files"] >= 9
    for file in manifest["files"]:
        assert len(shop.desk.app.engine.artifacts.get(file["sha256"])) == file["size"]
    assert {"model.onnx", "result.json", "gate_receipt.json", "train_build_request.json", "dataset_manifest.json"} <= {
        file["name"] for file in manifest["files"]
    }
    (line,) = shop.done("list_bundles", bundle_id=first["bundle_id"])["bundles"]
    assert (line["manifest"], line["run_id"]) == (first["manifest"], first["run_id"])
    able = line["compatibility"]
    assert (able["horizon"], able["target"], able["input_contract_version"]) == (7, "y", "input_spec.v2")
    assert {0.1, 0.5, 0.9} <= set(able["levels"])
    assert first["bundle_id"].startswith("bnd_")
    assert shop.explained() == ()


def test_its_document_is_listed_and_read_as_an_artifact_of_its_run(shop: Shop, first: dict[str, Any]) -> None:
    found = shop.done("list_artifacts", run_id=first["run_id"], name="bundle.json")["artifacts"]
    assert [one["digest"] for one in found] == [first["manifest"]]
    read = shop.done("read_artifact", digest=first["manifest"])
    assert json.loads(read["data"])["bundle_id"] == first["bundle_id"]


def test_a_run_that_failed_its_gate_is_refused_with_rule_measured_limit_and_refinement(shop: Shop) -> None:
    run_id = shop.failed(9)
    error = shop.refused("publish_bundle", run_id=run_id)
    assert (error["code"], error["details"]["reason"]) == ("PUBLISH_REFUSED", "PUBLISH_NOT_ELIGIBLE")
    (rule,) = error["details"]["rules"]
    assert rule["rule"] == "skill_low"
    assert rule["measured"] < 0
    assert f"rule skill_low ({rule['means']}) is {rule['measured']:.4g}, allowed: at least 0" in error["message"]
    assert error["details"]["refinement"]["next_call"]["tool"] == "run_training"
    assert "run_training" in error["next_step"]
    assert shop.state(run_id) == "FAIL"
    assert shop.done("list_bundles", run_id=run_id)["bundles"] == []


def test_what_is_not_ready_or_not_a_training_cannot_be_published(shop: Shop, first: dict[str, Any]) -> None:
    assert shop.refused("publish_bundle", run_id=NO_RUN)["code"] == "NOT_FOUND"
    forecast = shop.done("run_inference", run_id=first["run_id"])["run_id"]
    assert shop.refused("publish_bundle", run_id=forecast)["code"] == "NOT_FOUND"
    asked = {"dataset_id": shop.dataset, "horizon": 5, "season_length": 29}
    queued = shop.desk.call("run_training", asked)["result"]["run_id"]
    early = shop.refused("publish_bundle", run_id=queued)
    assert early["code"] in ("RUN_NOT_READY", "PUBLISH_REFUSED")
    shop.done("cancel_run", run_id=queued)
    ended = shop.desk.finish(queued)["result"]["state"]
    assert ended != "CANCELLED" or shop.refused("publish_bundle", run_id=queued)["code"] == "RUN_FAILED"


def test_promote_roll_back_and_the_history_of_a_scope(
    shop: Shop, first: dict[str, Any], second: dict[str, Any]
) -> None:
    place = {"slot": "history"}
    up = shop.done("promote_bundle", bundle_id=first["bundle_id"], **place)
    assert (up["status"], up["active"]) == ("PROMOTED", f"{first['bundle_id']}@{first['version']}")
    again = shop.done("promote_bundle", bundle_id=first["bundle_id"], **place)
    assert (again["status"], again["token"], again["registry_event_ids"]) == ("UNCHANGED", up["token"], [])
    over = shop.done("promote_bundle", bundle_id=second["bundle_id"], expected_token=up["token"], **place)
    with flipped(shop.desk.app.engine.artifacts.path(first["manifest"])):  # first of all, who decided has to look again
        stale = shop.refused("rollback_bundle", expected_token=up["token"], **place)
    assert (stale["code"], stale["allowed"]) == ("REGISTRY_CONFLICT", [str(over["token"])])
    back = shop.done("rollback_bundle", expected_token=over["token"], **place)
    assert (back["status"], back["active"], back["before"]) == ("ROLLED_BACK", up["active"], over["active"])
    told = shop.done("list_bundles", view="events", **place)
    assert [one["event_type"] for one in told["events"]] == [
        "BUNDLE_ROLLED_BACK", "BUNDLE_PROMOTED_ACTIVE", "BUNDLE_PROMOTED_ACTIVE",
    ]  # fmt: skip
    assert [one["reason"] for one in told["events"]] == ["as tested"] * 3
    assert told["active"] == [{"scope": up["scope"], "bundle": up["active"], "token": back["token"]}]
    page = shop.done("list_bundles", view="events", limit=2, **place)
    rest = shop.done("list_bundles", view="events", limit=2, cursor=page["next_cursor"], **place)
    assert page["events"] + rest["events"] == told["events"]
    assert shop.explained() == ()


def test_a_bundle_that_can_do_less_is_rejected_on_record(
    shop: Shop, first: dict[str, Any], second: dict[str, Any]
) -> None:
    shop.done("promote_bundle", bundle_id=second["bundle_id"], slot="longest")
    no = shop.done("promote_bundle", bundle_id=first["bundle_id"], slot="longest")
    assert (no["status"], no["reason_codes"]) == ("REJECTED", ["CAPABILITY_MISMATCH:horizon"])
    assert no["active"].startswith(second["bundle_id"])
    told = shop.done("list_bundles", view="events", slot="longest", response_format="detailed")["events"]
    assert (told[0]["event_type"], told[0]["reason_codes"]) == ("PROMOTION_REJECTED", no["reason_codes"])
    assert told[0]["details"]["policy_rev"]["policy_id"] == "registry"


def test_a_bundle_that_is_retired_answers_nowhere_again(shop: Shop) -> None:
    gone = shop.done("publish_bundle", run_id=shop.passed(10))
    shop.done("promote_bundle", bundle_id=gone["bundle_id"], tenant="acme")
    back = shop.done("rollback_bundle", tenant="acme", retire=True)
    assert (back["status"], "active" in back, len(back["registry_event_ids"])) == ("ROLLED_BACK", False, 2)
    no = shop.done("promote_bundle", bundle_id=gone["bundle_id"], tenant="acme")
    assert no["reason_codes"] == ["BUNDLE_RETIRED"]
    (line,) = shop.done("list_bundles", state="RETIRED")["bundles"]
    assert line["bundle_id"] == gone["bundle_id"]


def test_bundles_are_listed_by_state_scope_and_run_page_by_page(
    shop: Shop, first: dict[str, Any], second: dict[str, Any]
) -> None:
    whole = shop.done("list_bundles")
    assert whole["total"] == len(whole["bundles"]) >= 2
    page = shop.done("list_bundles", limit=1)
    rest = shop.done("list_bundles", limit=100, cursor=page["next_cursor"])
    assert page["bundles"] + rest["bundles"] == whole["bundles"]
    shop.done("promote_bundle", bundle_id=first["bundle_id"], mode="shadow")
    (line,) = shop.done("list_bundles", run_id=first["run_id"], state="ACTIVE")["bundles"]
    assert "local/shadow/primary" in line["active_in"]
    assert [one["bundle_id"] for one in shop.done("list_bundles", mode="shadow")["bundles"]] == [first["bundle_id"]]
    foreign = shop.refused("list_bundles", view="events", cursor=page["next_cursor"])
    assert foreign["code"] == "CURSOR_INVALID"
    assert foreign["message"] == "this cursor was not made by this listing: events"


def test_the_command_lists_as_many_lines_as_were_asked_for_and_says_where_none_fits(
    another: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = another.done("publish_bundle", run_id=another.passed(7))
    for place in range(25):
        another.done("promote_bundle", bundle_id=made["bundle_id"], mode="paged", slot=f"slot-{place}")
    assert another.done("list_bundles", view="events", limit=100)["has_more"]  # more than one answer holds
    for name, value in child_environment(another.desk.app.settings).items():
        monkeypatch.setenv(name, value)
    assert main(["bundles", "list", "--events", "--limit", "100"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "BUNDLE_PROMOTED_ACTIVE  local/paged/" in line]
    assert len(lines) == 25
    assert main(["bundles", "list", "--state", "ACTIVE", "--tenant", "nobodys"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "nothing fits: tenant nobodys, state ACTIVE"


def test_a_bundle_of_a_tenant_is_listed_without_its_name_unless_that_tenant_is_asked_for(another: Shop) -> None:
    ref = f"bnd_{'a' * 24}"
    with another.desk.app.database.command() as connection:
        made = toy.bundle("a" * 24)
        lifecycle.publish(connection, toy.TENANT, made, Order("anna", 1.0))
        lifecycle.promote(connection, toy.TENANT, made.ref, Order("anna", 1.0))
    for asked, told in (({}, "local/live/primary of another tenant"), ({"tenant": "acme"}, str(toy.TENANT))):
        (line,) = another.done("list_bundles", bundle_id=ref, **asked)["bundles"]
        assert line["made_for"] == told


def test_a_filter_of_bundles_is_refused_where_events_are_listed(shop: Shop, first: dict[str, Any]) -> None:
    for field, value in (("state", "ACTIVE"), ("run_id", first["run_id"])):
        error = shop.refused("list_bundles", view="events", **{field: value})
        assert (error["code"], error["field"]) == ("INVALID_ARGUMENTS", field)


def test_unknown_bundles_and_scopes_are_refused_by_name(shop: Shop, first: dict[str, Any]) -> None:
    assert shop.refused("promote_bundle", bundle_id=NO_BUNDLE)["code"] == "NOT_FOUND"
    other = shop.refused("promote_bundle", bundle_id=first["bundle_id"], version="v9")
    assert (other["code"], other["allowed"]) == ("NOT_FOUND", [first["version"]])
    aside = shop.refused("rollback_bundle", to=first["bundle_id"], slot="never")
    assert (aside["code"], aside["details"]["reason"]) == ("REGISTRY_CONFLICT", "BUNDLE_NOT_BEHIND")
    assert shop.refused("promote_bundle", bundle_id=first["bundle_id"], slot="A b")["code"] == "INVALID_ARGUMENTS"


def test_a_key_replays_and_every_ref_is_in_the_log(shop: Shop, first: dict[str, Any]) -> None:
    asked = {"bundle_id": first["bundle_id"], "slot": "keyed", "reason": "once", "idempotency_key": "the-one"}
    made, again = (shop.desk.call("promote_bundle", asked) for _ in range(2))
    assert (again["replayed"], again["result"]) == (True, made["result"])
    (refs,) = (entry["refs"] for entry in shop.desk.log("OK") if entry["request_id"] == made["request_id"])
    (event,) = made["result"]["registry_event_ids"]
    told = {"bundle_id": first["bundle_id"], "bundle": first["manifest"], "run_id": first["run_id"]}
    assert refs == {**told, "registry_event_id": event}
    found = shop.done("get_audit_trail", ref=first["bundle_id"])["entries"]
    assert {"publish_bundle", "promote_bundle"} <= {one["tool"] for one in found}


def test_each_tool_wants_its_scope(shop: Shop, first: dict[str, Any]) -> None:
    reader = Caller("reader", frozenset({"forecast:read", "forecast:write", "registry:read"}), "test")
    assert shop.desk.call("list_bundles", {}, reader)["ok"]
    asked = {"run_id": first["run_id"], "idempotency_key": "x"}
    assert shop.desk.call("publish_bundle", asked, reader)["error"]["code"] == "FORBIDDEN"
    nobody = Caller("nobody", AGENT.scopes - {"registry:read"}, "test")
    assert shop.desk.call("list_bundles", {}, nobody)["error"]["code"] == "FORBIDDEN"


def blocked(path: Path) -> Callable[[], None]:
    """Put a folder where a file of the store is or would be; returns what undoes it."""
    kept = path.with_suffix(".kept")
    if path.exists():
        path.rename(kept)
    path.mkdir(parents=True)

    def undo() -> None:
        path.rmdir()
        if kept.exists():
            kept.rename(path)

    return undo


def test_a_storage_that_fails_leaves_the_run_pending_and_the_same_call_ends_it(another: Shop) -> None:
    shop, run_id = another, another.passed(7)
    shelf = shop.desk.app.engine.shelf.prepare(run_id)
    assert shelf.packaged is not None
    undo = blocked(shop.desk.app.engine.artifacts.path(shelf.packaged.manifest))
    asked = {"run_id": run_id, "idempotency_key": "again"}
    tries = [shop.desk.call("publish_bundle", asked) for _ in range(2)]
    assert [(one["ok"], one["replayed"]) for one in tries] == [(True, False)] * 2
    assert [one["result"]["status"] for one in tries] == ["PUBLISH_PENDING"] * 2
    assert [one["result"]["attempts_left"] for one in tries] == [2, 1]
    waiting = shop.done("get_run_status", run_id=run_id)
    assert (waiting["state"], waiting["error"]["code"]) == ("PUBLISH_PENDING", "STORE_UNAVAILABLE")
    assert "trust" in waiting["result"]
    undo()
    made = shop.desk.call("publish_bundle", asked)
    assert made["result"]["status"] == "PUBLISHED"
    after = shop.done("get_run_status", run_id=run_id)
    assert (after["state"], "error" in after, after["attempt"]) == ("PUBLISHED", False, waiting["attempt"])


def test_after_three_failures_an_operator_lets_a_publication_be_tried_again_and_nothing_trains(
    another: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop, run_id = another, another.passed(7)
    trained = shop.done("get_run_status", run_id=run_id)["attempt"], steps_of(shop, run_id)
    shelf = shop.desk.app.engine.shelf.prepare(run_id)
    assert shelf.packaged is not None
    for name, value in child_environment(shop.desk.app.settings).items():
        monkeypatch.setenv(name, value)
    command = f"mcp-forecast bundles retry {run_id}"
    assert main(["bundles", "retry", run_id]) == 2  # nothing has failed: attempts are not saved up
    assert f"{run_id} is PASS" in capsys.readouterr().err
    undo = blocked(shop.desk.app.engine.artifacts.path(shelf.packaged.document["refs"]["eval_report"]))
    asked = {"run_id": run_id, "idempotency_key": "exhausted"}
    for _ in range(2):
        left = [shop.desk.call("publish_bundle", asked)["result"]["attempts_left"] for _ in range(3)]
        assert left == [2, 1, 0]
        error = shop.desk.call("publish_bundle", asked)["error"]
        assert (error["code"], error["details"]["reason"]) == ("PUBLISH_REFUSED", "PUBLISH_RETRY_EXHAUSTED")
        waiting = shop.done("get_run_status", run_id=run_id)
        assert waiting["state"] == "PUBLISH_PENDING"
        assert command in error["next_step"]
        assert command in waiting["error"]["next_step"]
        assert main(command.split()[1:]) == 0
        assert "3 attempts are left" in capsys.readouterr().out
    undo()
    assert shop.desk.call("publish_bundle", asked)["result"]["status"] == "PUBLISHED"
    assert main(command.split()[1:]) == 2
    assert f"{run_id} is PUBLISHED" in capsys.readouterr().err
    assert (shop.done("get_run_status", run_id=run_id)["attempt"], steps_of(shop, run_id)) == trained
    granted = [one for one in shop.desk.log("OK") if one["code"] == "PUBLISH_RETRY_GRANTED"]
    told = (shop.desk.app.settings.caller, {"run_id": run_id, "attempts_left": "3"})
    assert [(one["caller"], one["refs"]) for one in granted] == [told] * 2


def test_failures_side_by_side_use_up_three_attempts_and_no_more(another: Shop) -> None:
    shop, run_id = another, another.passed(7)
    shelf = shop.desk.app.engine.shelf
    packaged = shelf.prepare(run_id).packaged
    assert packaged is not None
    undo = blocked(shop.desk.app.engine.artifacts.path(packaged.manifest))
    prepared = [shelf.prepare(run_id) for _ in range(4)]  # all of them before the first is on record
    undo()
    order = Order("agent", 1.0)
    for one, tried in zip(prepared[:3], (1, 2, 3), strict=True):
        with shop.desk.app.database.command() as connection:
            assert shelf.publish(connection, one, order).attempts == tried
    with shop.desk.app.database.command() as connection, pytest.raises(CorridorRefused) as caught:
        shelf.publish(connection, prepared[3], order)
    assert caught.value.reason == "PUBLISH_RETRY_EXHAUSTED"


def steps_of(shop: Shop, run_id: str) -> list[tuple[Any, ...]]:
    """What each step made, under which epoch and when: another training would leave other rows."""
    with shop.desk.app.database.read() as connection:
        rows = connection.execute(text("SELECT * FROM run_step WHERE run_id = :run ORDER BY step"), {"run": run_id})
        return [tuple(row) for row in rows]
