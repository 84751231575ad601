"""The registry's record: nobody changes it, and what no event explains is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import registry_toy as toy
from sqlalchemy import text

from mcp_forecast.home.opening import open_home
from mcp_forecast_engine.registry.explain import explain
from mcp_forecast_engine.registry.lifecycle import promote
from mcp_forecast_engine.store.database import Database

BOTH_DATABASES = True
A, B = (toy.bundle(name) for name in "ab")


@pytest.fixture
def database(tmp_path: Path, database_address: str) -> Iterator[Database]:
    opened = open_home(tmp_path, database_address)
    yield opened
    opened.close()


@pytest.mark.parametrize("change", ["UPDATE {} SET version = 'x'", "DELETE FROM {}"])
@pytest.mark.parametrize("table", ["registry_event", "bundle"])
def test_nobody_changes_what_happened(database: Database, table: str, change: str) -> None:
    with database.command() as connection:
        toy.publish(connection, A)
    with pytest.raises(Exception, match="append-only"), database.command() as connection:
        connection.execute(text(change.format(table)))
    with database.read() as connection:
        assert explain(connection).faults == ()


def test_an_active_row_that_no_event_explains_is_found(database: Database) -> None:
    with database.command() as connection:
        toy.publish(connection, A, B)
        promote(connection, toy.EVERYBODY, A.ref, toy.order())
        connection.execute(text("UPDATE active_bundle SET bundle_id = 'bnd_b'"))
        assert explain(connection).faults == (
            "scope local/live/primary: bnd_b@1 (token 3) is stored, events say bnd_a@1 (token 3)",
        )
        connection.execute(text("DELETE FROM active_bundle"))
        assert "nothing is stored" in explain(connection).faults[0]


def test_an_event_or_bundle_that_was_slipped_in_is_found(database: Database) -> None:
    with database.command() as connection:
        toy.publish(connection, A)
        row = (
            "INSERT INTO registry_event (seq, event_id, event_type, environment, mode, slot, tenant, bundle_id, "
            "version, actor, source_type, reason, evidence, policy_rev, at) VALUES (3, 'rev_x', "
            "'BUNDLE_PROMOTED_ACTIVE', 'local', 'live', 'primary', '', 'bnd_x', '1', 'eve', 'HUMAN', '', '{}', '{}', 1)"
        )
        connection.execute(text(row))
        connection.execute(
            text(
                "INSERT INTO bundle (bundle_id, version, seq, kind, run_id, manifest, compatibility, gate_decision, "
                "gate_receipt, published_at) VALUES ('bnd_y', '1', 9, 'k', 'r', 'm', '{}', 'PASS', '', 1)"
            )
        )
        faults = " ".join(explain(connection).faults)
    for found in ("follows 1", "name of its content", "not published", "nothing is stored", "bnd_y@1: no event"):
        assert found in faults
