"""SQLite keeps whatever is put into a cell: each is said to be what it is, and none of them stops anything else."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from conftest import Desk
from sealed_log import SealedLog, entry, sealed_log, unlocked
from sqlalchemy import Connection, text

from mcp_forecast.home.schema import REVISION, revision_of
from mcp_forecast.settings import Settings
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.export import export_lines
from mcp_forecast_audit.proof import Prover
from mcp_forecast_audit.seal import seal
from mcp_forecast_audit.stored import LogBroken, standing
from mcp_forecast_audit.verify import verify

CELLS = {
    "a node of text": "UPDATE audit_node SET hash = 'text' WHERE position = 0",
    "a node of a number": "UPDATE audit_node SET hash = 1000000000000 WHERE position = 0",
    "a node of nothing": "UPDATE audit_node SET hash = x'' WHERE position = 0",
    "a level between levels": "UPDATE audit_node SET level = 1.5 WHERE position = 0",
    "a level of text": "UPDATE audit_node SET level = 'abc' WHERE position = 0",
    "a position of text": "UPDATE audit_node SET position = 'abc' WHERE position = 0",
    "a body of text": "UPDATE audit_entry SET body = 'text' WHERE seq = 5",
    "a body of a number": "UPDATE audit_entry SET body = 1000000000000 WHERE seq = 5",
    "a leaf of text": "UPDATE audit_entry SET leaf_hash = 'text' WHERE seq = 299",
    "a leaf of a number": "UPDATE audit_entry SET leaf_hash = 1000000000000 WHERE seq = 299",
    "a time of text": "UPDATE audit_entry SET at = 'abc' WHERE seq = 299",
    "a checkpoint's time of text": "UPDATE audit_checkpoint SET at = 'abc' WHERE size = 300",
    "a key's size of text": "UPDATE audit_key SET since_size = 'abc'",
    "a key that signs later": "UPDATE audit_key SET since_size = 9999",
    "a key more": "INSERT INTO audit_key SELECT 'more', public_key, 9999 FROM audit_key",
    "a ref of no entry": "INSERT INTO audit_ref VALUES ('abc', 'run_id', 'run_1')",
    "a number below all": "UPDATE audit_entry SET seq = -4 WHERE seq = 5",
}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SealedLog]:
    """Three hundred entries under two checkpoints."""
    made = sealed_log(tmp_path / "home", "", entries=300)
    yield made
    made.database.close()


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_of_any_type_is_a_problem_with_a_name(log: SealedLog, cell: str) -> None:
    with log.tampering() as connection:
        connection.execute(text(CELLS[cell]))
        assert not log.verify(connection).intact


@pytest.mark.parametrize("cell", ["a leaf of text", "a leaf of a number"])
def test_nothing_is_sealed_or_proved_over_a_hash_that_is_none(log: SealedLog, cell: str) -> None:
    with log.tampering() as connection:
        connection.execute(text(CELLS[cell]))
        audit_log.append(connection, [entry(300)])
        with pytest.raises(LogBroken, match="not bytes"):
            seal(connection, standing(connection), log.signer, now=1.5)
        with pytest.raises(LogBroken, match="not bytes"):
            Prover(connection).inclusion(300)


def test_a_body_that_is_none_is_not_exported(log: SealedLog) -> None:
    with log.database.command() as connection:
        connection.execute(text(CELLS["a body of a number"]))
    with pytest.raises(LogBroken, match="body of entry 5 is of type int"):
        list(export_lines(log.database.read, origin=log.signer.name))


@pytest.mark.parametrize("late", [0, 5])
def test_a_first_seal_in_the_middle_of_a_verification_is_no_contradiction(log: SealedLog, late: int) -> None:
    with log.database.command() as connection:
        for table in ("checkpoint", "node", "key"):
            connection.execute(text(f"DELETE FROM audit_{table}"))
    reads = 0

    @contextmanager
    def read() -> Iterator[Connection]:
        nonlocal reads
        reads += 1
        if reads == 2:  # what was there at the start has been read
            with log.database.command() as connection:
                if late:
                    audit_log.append(connection, [entry(number) for number in range(300, 300 + late)])
                seal(connection, standing(connection), log.signer, now=1.5)
        with log.database.read() as connection:
            yield connection

    report = verify(read, origin=log.signer.name)
    assert (report.problems, report.sealed) == ((), 0 if late else 300)


def test_a_bad_cell_ends_the_sealing_aloud_and_no_call(
    open_desk: Callable[[Settings], Desk], settings: Settings
) -> None:
    desk = open_desk(settings)
    assert desk.call("list_runs")["ok"]
    _put(settings.home, [{"seq": 1000, "at": "abc", "body": "text"}, {"seq": -3, "at": 1.5, "body": b"{}"}])
    for _ in range(300):
        assert desk.call("list_runs")["ok"]
    for _ in range(100):
        status = desk.call("get_service_status")["result"]["audit"]
        if status["state"] == "broken":
            break
        desk.portal.call(anyio.sleep, 0.02)
    assert status["state"] == "broken"
    rows = [{"ds": f"2025-01-{day:02d}", "y": day % 7} for day in range(1, 29)]
    assert desk.call("register_dataset", {"rows": rows})["ok"]  # a command: the writer is there
    for scope in ("page", "log"):
        answer = desk.call("get_audit_trail", {"verify": scope, "tool": "bad", "response_format": "detailed"})
        assert answer["ok"], answer
    assert [one["body"] for one in answer["result"]["entries"]] == ["unreadable", "{}"]
    assert {one["at"] for one in answer["result"]["entries"]} == {"unreadable"}
    assert answer["result"]["verification"]["intact"] is False


def test_an_entry_of_odd_parts_is_shown_as_unreadable(
    open_desk: Callable[[Settings], Desk], settings: Settings
) -> None:
    desk = open_desk(settings)
    bodies = [json.dumps(part).encode() for part in ({"at": 1e300}, {"at": 1, "refs": [1]}, {"refs": "text"}, [1])]
    _put(settings.home, [{"seq": 1000 + at, "at": 1.5, "body": body} for at, body in enumerate(bodies)])
    answer = desk.call("get_audit_trail", {"tool": "bad", "verify": "page"})
    assert answer["ok"], answer
    assert [one["refs"] for one in answer["result"]["entries"]] == [{}] * 4
    assert sum(one["at"] == "unreadable" for one in answer["result"]["entries"]) == 3


def test_a_home_where_nobody_can_write_is_read(log: SealedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.database.close()
    file = log.home / "forecast.db"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = sorted(log.home.iterdir())
    assert file.with_name("forecast.db-wal") not in before
    monkeypatch.setattr(os, "access", lambda *_: False)  # whoever runs this may be able to write everywhere
    assert revision_of(file) == REVISION
    assert sorted(log.home.iterdir()) == before


def _put(home: Path, rows: list[dict[str, Any]]) -> None:
    """Put entries there that no server made."""
    database = unlocked(home, "")
    add = text(
        "INSERT INTO audit_entry (seq, request_id, at, tool, caller, code, body, leaf_hash) "
        "VALUES (:seq, 'req', :at, 'bad', 'caller', 'OK', :body, 'leaf')"
    )
    with database.command() as connection:
        for row in rows:
            connection.execute(add, row)
    database.close()
