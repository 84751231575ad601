"""get_audit_trail: read the log, filter it, page it, verify it; and its proofs, entry by entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest
from conftest import AGENT, Answer, Desk
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sealed_log import entry, sealed_log, unlocked
from sqlalchemy import text

from mcp_forecast.calls.caller import Caller
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.checkpoint import Signer, read_note
from mcp_forecast_audit.proof import NoProof, Prover, seq_of
from mcp_forecast_audit.seal import seal
from mcp_forecast_audit.stored import LogBroken, note_at, standing
from mcp_forecast_audit.tree import leaf_hash
from mcp_forecast_contracts.catalogue import documents

BOTH_DATABASES = True
OTHER = Caller("other", frozenset({"forecast:read"}), "test")
ROWS = [{"ds": f"2025-01-{day:02d}", "y": day % 7} for day in range(1, 29)]


def trail(desk: Desk, **arguments: Any) -> dict[str, Any]:
    """The result of a call that has to work and fits its contract."""
    answer: Answer = desk.call("get_audit_trail", arguments)
    assert answer["ok"], answer["error"]
    jsonschema.validate(answer, documents()["get_audit_trail"]["output_schema"])
    result: dict[str, Any] = answer["result"]
    return result


@pytest.fixture
def used(desk: Desk) -> Desk:
    """A desk that two callers have used; all of it is in the log and sealed."""
    made = desk.call("register_dataset", {"rows": ROWS})
    desk.call("describe_dataset", {"dataset_id": made["result"]["dataset_id"]})
    desk.call("register_dataset", {"rows": ROWS}, OTHER)
    desk.call("list_runs", {}, OTHER)
    desk.log("OK")
    with desk.app.database.command() as connection:
        audit_log.append(connection, [entry(number) for number in range(400)])
    desk.app.writer.submit(lambda connection: None).result()
    _until_sealed(desk)
    return desk


def _until_sealed(desk: Desk) -> None:
    for _ in range(100):
        sealed = trail(desk, limit=1).get("checkpoint", {"size": 0})["size"] >= 400
        if sealed and any(desk.app.settings.checkpoint_folder.glob("*.checkpoint")):
            return
        desk.portal.call(anyio.sleep, 0.02)
    raise AssertionError("nothing was sealed")


def test_entries_come_newest_first_and_by_what_was_asked_for(used: Desk) -> None:
    newest = trail(used, limit=3)["entries"]
    assert [one["seq"] for one in newest] == sorted((one["seq"] for one in newest), reverse=True)
    refused = trail(used, caller="other", code="FORBIDDEN")["entries"]
    assert [(one["tool"], one["caller"]) for one in refused] == [("register_dataset", "other")]
    made = trail(used, tool="register_dataset", code="OK")["entries"]
    dataset = made[0]["refs"]["dataset_id"]
    touching = trail(used, ref=dataset, caller=AGENT.id)["entries"]
    assert {one["tool"] for one in touching} >= {"register_dataset", "describe_dataset"}
    assert trail(used, request_id=made[0]["request_id"])["entries"] == made
    assert trail(used, caller="nobody")["entries"] == []


def test_times_bound_what_is_shown_both_ends_included(used: Desk) -> None:
    body = json.loads(trail(used, request_id=f"req_{8:024x}", response_format="detailed")["entries"][0]["body"])
    assert body["at"] == 1_795_262_402
    within = trail(used, since="2026-11-21T12:00:02Z", until="2026-11-21T13:00:02+01:00", caller="local:3")["entries"]
    assert [one["request_id"] for one in within] == [f"req_{8:024x}"]
    for bad in ("2026-13-21T12:00:02Z", "2026-11-21T25:00:02Z"):
        answer = used.call("get_audit_trail", {"since": bad})
        assert (answer["error"]["code"], answer["error"]["field"]) == ("INVALID_ARGUMENTS", "since")


def test_pages_follow_each_other_without_gap_or_repeat(used: Desk) -> None:
    seen, cursor = [], None
    while True:
        page = trail(used, caller="local:1", limit=30, **({"cursor": cursor} if cursor else {}))
        seen += [one["seq"] for one in page["entries"]]
        cursor = page.get("next_cursor")
        if not page["has_more"]:
            break
    assert len(seen) == len(set(seen)) == 80
    assert seen == sorted(seen, reverse=True)
    first = trail(used, caller="local:1", limit=1)
    answer = used.call("get_audit_trail", {"caller": "local:2", "cursor": first["next_cursor"]})
    assert answer["error"]["code"] == "CURSOR_INVALID"


def test_a_detailed_entry_carries_the_bytes_that_were_hashed(used: Desk) -> None:
    one = trail(used, request_id=f"req_{3:024x}", response_format="detailed")["entries"][0]
    assert leaf_hash(one["body"].encode()).hex() == one["leaf_hash"]
    assert "body" not in trail(used, request_id=f"req_{3:024x}")["entries"][0]


@pytest.mark.parametrize("scope", ["page", "log"])
def test_what_is_shown_is_verified_against_the_quoted_checkpoint(used: Desk, scope: str) -> None:
    answer = trail(used, caller="local:1", verify=scope)
    made = answer["verification"]
    assert (made["scope"], made["intact"], made["problems"]) == (scope, True, [])
    assert made["verified"] == (len(answer["entries"]) if scope == "page" else made["verified"])
    assert read_note(answer["checkpoint"]["note"]).size == answer["checkpoint"]["size"]


@pytest.mark.parametrize("scope", ["page", "log"])
def test_a_changed_entry_is_shown_as_one(used: Desk, database_address: str, scope: str) -> None:
    other = unlocked(used.app.settings.home, database_address)
    with other.command() as connection:
        another = "(SELECT leaf_hash FROM audit_entry WHERE seq = 1)"
        change = text(f"UPDATE audit_entry SET leaf_hash = {another} WHERE request_id = :request")
        connection.execute(change, {"request": f"req_{6:024x}"})
    other.close()
    made = trail(used, request_id=f"req_{6:024x}", verify=scope)["verification"]
    assert made["intact"] is False
    assert "audit verify" in made["next_step"]


def test_a_checkpoint_file_that_is_about_to_be_written_is_no_contradiction(used: Desk) -> None:
    for file in used.app.settings.checkpoint_folder.iterdir():
        file.unlink()
    with used.app.database.read() as connection:
        sealed_at = standing(connection).at
    assert sealed_at is not None
    used.app.clock = lambda: sealed_at + 1
    for scope in ("page", "log"):
        made = trail(used, limit=1, verify=scope)["verification"]
        assert (made["intact"], "the checkpoint outside" in made["outside"]) == (True, True)


def test_a_missing_checkpoint_outside_is_no_proof_of_anything(used: Desk) -> None:
    for file in used.app.settings.checkpoint_folder.iterdir():
        file.unlink()
    now = used.app.clock()
    used.app.clock = lambda: now + 60  # no server is about to write it any more
    for scope in ("page", "log"):
        made = trail(used, limit=1, verify=scope)["verification"]
        assert made["intact"] is False
        assert "the checkpoint outside" in made["problems"][0]


def test_an_empty_log_says_that_nothing_is_sealed(desk: Desk) -> None:
    answer = trail(desk, verify="page", tool="nothing")
    assert (answer["entries"], answer["verification"]["verified"]) == ([], 0)
    assert "intact" not in answer["verification"]
    assert "ask again" in answer["verification"]["next_step"]


def test_a_page_is_not_intact_where_every_stored_checkpoint_was_removed(used: Desk, database_address: str) -> None:
    other = unlocked(used.app.settings.home, database_address)
    with other.command() as connection:
        connection.execute(text("DELETE FROM audit_checkpoint"))
    other.close()
    made = trail(used, limit=1, verify="page")["verification"]
    assert (made["intact"], "all of them were removed" in made["problems"][0]) == (False, True)


def test_a_page_under_a_checkpoint_that_another_key_signed_is_not_intact(used: Desk, database_address: str) -> None:
    other = unlocked(used.app.settings.home, database_address)
    with other.command() as connection:
        note = standing(connection).note
        assert note is not None
        checkpoint, forger = read_note(note), Signer(read_note(note).origin, Ed25519PrivateKey.generate())
        connection.execute(text("DELETE FROM audit_checkpoint WHERE size = :size"), {"size": checkpoint.size})
        values = {"size": checkpoint.size, "at": checkpoint.at, "note": forger.note(checkpoint)}
        connection.execute(text("INSERT INTO audit_checkpoint (size, at, note) VALUES (:size, :at, :note)"), values)
        key = {"id": forger.public.key_id, "key": forger.public.vkey, "since": checkpoint.size}
        connection.execute(
            text("INSERT INTO audit_key (key_id, public_key, since_size) VALUES (:id, :key, :since)"), key
        )
    other.close()
    made = trail(used, limit=1, verify="page")["verification"]
    assert (made["intact"], "none of the known keys" in made["problems"][0]) == (False, True)


def test_a_caller_from_elsewhere_is_told_no_folder(used: Desk) -> None:
    caller = Caller("far", frozenset({"forecast:read"}), "http")
    for scope in ("page", "log"):
        answer = used.call("get_audit_trail", {"limit": 1, "verify": scope}, caller)
        assert str(used.app.settings.home) not in json.dumps(answer["result"])
        assert ".checkpoint" in answer["result"]["verification"]["outside"]
    status = used.call("get_service_status", {}, caller)
    assert str(used.app.settings.home) not in json.dumps(status["result"]["audit"])


def test_every_entry_and_every_older_checkpoint_is_proved(tmp_path: Path, database_address: str) -> None:
    log = sealed_log(tmp_path / "home", database_address, entries=700, every=100)

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(1, 700), st.sampled_from(range(100, 701, 100)))
    def prove(seq: int, old: int) -> None:
        with log.database.read() as connection:
            prover = Prover(connection)
            assert prover.inclusion(seq).leaf_hash == leaf_hash(entry(seq - 1).body())
            note = note_at(connection, old)
            assert note is not None
            assert prover.consistency(read_note(note)).old == old

    prove()
    with log.tampering() as connection:
        audit_log.append(connection, [entry(700)])
        with pytest.raises(NoProof, match="not sealed yet"):
            Prover(connection).inclusion(701)
        assert seq_of(connection, f"req_{700:024x}") == 701
        seal(connection, standing(connection), log.signer, now=1.5)
        assert Prover(connection).inclusion(701).size == 701
        connection.execute(text("UPDATE audit_entry SET leaf_hash = body WHERE seq = 8"))
        with pytest.raises(LogBroken):
            Prover(connection).inclusion(9)
    log.database.close()
