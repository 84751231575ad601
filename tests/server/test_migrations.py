"""The schema, up and down on both databases: what was there stays, and a folder and its database belong together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from postgres_server import PostgresServer, as_role
from sqlalchemy import Connection, inspect, text

from mcp_forecast.cli import main
from mcp_forecast.home.opening import open_home
from mcp_forecast.home.schema import REVISION, REVISIONS, migrate, upgrade
from mcp_forecast.home.sealing import origin_of
from mcp_forecast.home.signing_key import signer_of
from mcp_forecast.migrations.metadata import METADATA
from mcp_forecast.settings import PREFIX
from mcp_forecast.upkeep.entry import enter
from mcp_forecast_audit.seal import seal
from mcp_forecast_audit.stored import standing
from mcp_forecast_audit.verify import verify
from mcp_forecast_engine.errors import HomeNewer, StoreUnavailable
from mcp_forecast_engine.registry.bundles import Bundle
from mcp_forecast_engine.registry.events import Order
from mcp_forecast_engine.registry.lifecycle import publish
from mcp_forecast_engine.registry.scope import Scope
from mcp_forecast_engine.store.address import Address
from mcp_forecast_engine.store.database import Database, open_database

BOTH_DATABASES = True
ENTRY = text(
    "INSERT INTO audit_entry (seq, request_id, tool, caller, code, body, leaf_hash) "
    "VALUES (:seq, :request_id, 'list_runs', 'me', 'OK', :body, :leaf)"
)
RUN = text(
    "INSERT INTO run (run_id, run_key, kind, state, plan, caller, created_at, attempt, losses, epoch, "
    "cancel_requested, wall_limit_s, progress_done, progress_total, progress_text) "
    "VALUES ('run_1', 'key', 'training', 'QUEUED', '{}', 'me', 5.5, 2, 0, 0, :no, 60, 0, 0, '')"
)

ABLE = {"target": "y", "freq": "D", "horizon": 7, "levels": [0.5], "input_contract_version": "input_spec.v2"}
BUNDLE = Bundle("bnd_a", "1", "forecast", "run_a", "sha256:" + "a" * 64, ABLE, "PASS", "sha256:" + "b" * 64)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def empty(request: pytest.FixtureRequest, home: Path, database_address: str) -> Iterator[Address]:
    """A database with nothing in it, and a role that may make tables."""
    if not database_address:
        yield home / "forecast.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    address = server.empty()
    yield address
    server.drop(address)


@pytest.fixture
def at_first(empty: Address) -> Iterator[Database]:
    """A database of the first schema with two entries and a run in it."""
    assert upgrade(empty, "0001") is None
    database = open_database(empty, schema="0001")
    with database.command() as connection:
        for seq, refs in ((1, {}), (2, {"run_id": "run_1", "dataset_id": "ds_1"})):
            body = json.dumps({"at": seq + 0.25, "refs": refs}).encode()
            connection.execute(ENTRY, {"seq": seq, "request_id": f"req_{seq}", "body": body, "leaf": b"leaf"})
        connection.execute(RUN, {"no": False})
    yield database
    database.close()


def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_entries_and_runs_of_the_first_schema_are_filled_in(at_first: Database, empty: Address, home: Path) -> None:
    database = open_home(home, empty)
    assert rows(database, "SELECT seq, at FROM audit_entry ORDER BY seq") == [(1, 1.25), (2, 2.25)]
    found = rows(database, "SELECT seq, name, ref FROM audit_ref ORDER BY name")
    assert found == [(2, "dataset_id", "ds_1"), (2, "run_id", "run_1")]
    assert rows(database, "SELECT run_id, attempt, caller, asked_at FROM run_attempt") == [("run_1", 2, "me", 5.5)]
    database.close()


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_log_is_append_only_after_every_step_up_and_down(at_first: Database, empty: Address, revision: str) -> None:
    for to in (REVISION, revision):
        upgrade(empty, to)
    database = open_database(empty, schema=revision)
    for change in ("UPDATE audit_entry SET code = 'X'", "DELETE FROM audit_entry"):
        with pytest.raises(Exception, match="append-only"), database.command() as connection:
            connection.execute(text(change))
    assert len(rows(database, "SELECT seq FROM audit_entry")) == 2
    assert "triggers" in str(database.report()["append_only"])
    database.close()


def test_every_step_down_leads_up_again(at_first: Database, empty: Address) -> None:
    assert [upgrade(empty, to) for to in (REVISION, "0001", REVISION)] == ["0001", REVISION, "0001"]
    assert rows(at_first, "SELECT seq, at FROM audit_entry ORDER BY seq") == [(1, 1.25), (2, 2.25)]
    upgrade(empty, "base")
    with at_first.read() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    assert upgrade(empty) is None
    assert rows(at_first, "SELECT count(*) FROM audit_entry") == [(0,)]


def test_the_migrated_schema_is_the_one_the_rows_are_written_for(empty: Address, home: Path) -> None:
    database = open_home(home, empty)

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), METADATA))

    with database.command() as connection:
        assert differences(connection) == []
    database.close()


def test_a_migration_that_fails_leaves_the_schema_as_it_was(at_first: Database, empty: Address, home: Path) -> None:
    with at_first.command() as connection:
        body = {"seq": 3, "request_id": "req_3", "body": b"no JSON", "leaf": b"leaf"}
        connection.execute(ENTRY, body)
    with pytest.raises(ValueError, match="Expecting value"):
        open_home(home, empty)
    assert rows(at_first, "SELECT version_num FROM alembic_version") == [("0001",)]
    with at_first.read() as connection:
        assert "home" not in inspect(connection).get_table_names()
    with pytest.raises(Exception, match="append-only"), at_first.command() as connection:
        connection.execute(text("DELETE FROM audit_entry"))


def test_a_folder_and_its_database_belong_together(empty: Address, home: Path, tmp_path: Path) -> None:
    for _ in range(2):
        open_home(home, empty).close()
    name = (home / "home.id").read_text().strip()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "home.id").write_text("home_of_another\n")
    with pytest.raises(StoreUnavailable, match=f"home_of_another.*{name}") as caught:
        open_home(tmp_path / "other", empty)
    assert "home.id" in (caught.value.next_step or "")
    migrate(home, empty, to="0001")  # which takes the database's name
    open_home(home, empty).close()
    assert (home / "home.id").read_text().strip() != name


def test_the_operator_moves_the_schema_and_is_told_from_where_to_where(
    empty: Address, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}HOME", str(home))
    monkeypatch.setenv(f"{PREFIX}DATABASE", str(empty) if isinstance(empty, str) else "")
    said = []
    for arguments in ((), (), ("--to", "0001", "--lose-proofs"), ("--to", REVISION)):
        assert main(["migrate", *arguments]) == 0
        said.append(capsys.readouterr().out.strip())
    assert said == [
        f"schema: nothing → {REVISION}", f"schema: {REVISION}, nothing to do", f"schema: {REVISION} → 0001",
        f"schema: 0001 → {REVISION}",
    ]  # fmt: skip
    database = open_database(as_role(empty, "postgres") if isinstance(empty, str) else empty)
    with database.command() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    assert main(["migrate"]) == 2
    refused = capsys.readouterr().err
    assert "9999" in refused
    assert "upgrade mcp-forecast" in refused
    with pytest.raises(HomeNewer):
        open_home(home, empty)


def test_going_back_says_that_the_registry_is_lost_and_wants_to_be_told_twice(
    empty: Address, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}HOME", str(home))
    monkeypatch.setenv(f"{PREFIX}DATABASE", str(empty) if isinstance(empty, str) else "")
    database = open_home(home, empty)
    for step in (["--to", "0002"], []):
        assert main(["migrate", *step]) == 0  # nothing is published, nothing lost
    capsys.readouterr()
    with database.command() as connection:
        publish(connection, Scope(), BUNDLE, Order(actor="me", at=1.0))
    assert main(["migrate", "--to", "0002"]) == 2
    refused = capsys.readouterr().err
    assert "1 published bundles, the 1 events of the registry" in refused
    assert "checkpoints" not in refused
    assert main(["migrate", "--to", "0002", "--lose-proofs"]) == 0
    assert main(["migrate"]) == 0
    assert rows(database, "SELECT count(*) FROM bundle") == [(0,)]
    database.close()


def test_going_back_says_which_proofs_are_lost_and_wants_to_be_told_twice(
    empty: Address, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}HOME", str(home))
    monkeypatch.setenv(f"{PREFIX}DATABASE", str(empty) if isinstance(empty, str) else "")
    database = open_home(home, empty)
    name = (home / "home.id").read_text().strip()
    with database.command() as connection:
        enter(connection, "GC", {}, now=1.0)
    key = signer_of(home, origin_of(name))
    with database.command() as connection:
        seal(connection, standing(connection), key, now=2.0)
    assert main(["migrate", "--to", "0001"]) == 2
    refused = capsys.readouterr().err
    for lost in ("1 signed checkpoints", "1 public keys", name, "--lose-proofs"):
        assert lost in refused
    assert rows(database, "SELECT version_num FROM alembic_version") == [(REVISION,)]
    assert rows(database, "SELECT count(*) FROM audit_checkpoint") == [(1,)]
    assert main(["migrate", "--to", "0001", "--lose-proofs"]) == 0
    assert name in capsys.readouterr().err
    assert main(["migrate", "--to", "0001"]) == 0  # nothing is left to lose
    assert main(["migrate"]) == 0
    found = rows(database, "SELECT seq, code, tool FROM audit_entry ORDER BY seq")
    assert found == [(1, "GC", "server"), (2, "MIGRATED", "server"), (3, "MIGRATED", "server")]
    refs = rows(database, "SELECT seq, name, ref FROM audit_ref ORDER BY seq, name")
    assert refs == [(2, "from", REVISION), (2, "to", "0001"), (3, "from", "0001"), (3, "to", REVISION)]
    assert verify(database.read, origin=origin_of("any"), outside=None).intact
    database.close()
