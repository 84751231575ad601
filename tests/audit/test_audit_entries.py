"""Entries have one byte form, and leaves hash as RFC 6962 says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from mcp_forecast.home.opening import open_home
from mcp_forecast_audit import log
from mcp_forecast_audit.entry import Entry
from mcp_forecast_audit.tree import leaf_hash, root_hash
from mcp_forecast_engine.store.database import Database

BOTH_DATABASES = True

ENTRY = Entry(
    request_id="req_1", at=1.5, caller="agent", door="stdio", tool="list_runs", contract="list_runs@0.1.0",
    arguments={"digest": "sha256:00", "size": 2}, decision={"verdict": "allow"}, code="OK",
)  # fmt: skip
# The eight leaves of Certificate Transparency's reference tests and their root (google/certificate-transparency).
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_the_root_of_the_reference_leaves_is_the_published_one() -> None:
    assert root_hash([leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES]).hex() == ROOT


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert root_hash([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_an_entry_has_one_byte_form_and_it_is_pinned() -> None:
    expected = (
        b'{"arguments":{"digest":"sha256:00","size":2},"at":1.5,"caller":"agent","code":"OK",'
        b'"contract":"list_runs@0.1.0","decision":{"verdict":"allow"},"door":"stdio","refs":{},'
        b'"request_id":"req_1","tool":"list_runs","v":1}'
    )
    assert ENTRY.body() == expected
    assert replace(ENTRY, arguments={"size": 2, "digest": "sha256:00"}).body() == expected


@pytest.fixture
def database(tmp_path: Path, database_address: str) -> Iterator[Database]:
    opened = open_home(tmp_path, database_address)
    yield opened
    opened.close()


def stored(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(text("SELECT request_id FROM audit_entry ORDER BY seq")).scalars())


def test_what_is_stored_is_what_was_hashed_and_cannot_be_changed_or_deleted(database: Database) -> None:
    with database.command() as connection:
        log.append(connection, [ENTRY, replace(ENTRY, request_id="req_2")])
    with database.read() as connection:
        rows = connection.execute(text("SELECT seq, body, leaf_hash FROM audit_entry ORDER BY seq")).all()
    assert [json.loads(row.body)["request_id"] for row in rows] == ["req_1", "req_2"]
    assert all(leaf_hash(row.body) == row.leaf_hash for row in rows)
    for change in ("UPDATE audit_entry SET code = 'X'", "DELETE FROM audit_entry"):
        with pytest.raises(Exception, match="append-only"), database.command() as connection:
            connection.execute(text(change))
    assert stored(database) == ["req_1", "req_2"]


def test_entries_that_come_again_because_nobody_knew_are_there_once(database: Database) -> None:
    first, second, third = (replace(ENTRY, request_id=f"req_{n}", refs={"run_id": "run_1"}) for n in (1, 2, 3))
    for group in ([first], [first, second], [replace(second, code="OUTCOME_UNKNOWN")], [], [third]):
        with database.command() as connection:
            log.append_missing(connection, group)
    assert stored(database) == ["req_1", "req_2", "req_3"]
    with database.read() as connection:
        assert connection.execute(text("SELECT seq FROM audit_ref ORDER BY seq")).scalars().all() == [1, 2, 3]
