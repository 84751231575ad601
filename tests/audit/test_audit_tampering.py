"""Whatever is changed in a sealed log, by whoever can change the database, is found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sealed_log import COLUMNS, NOW, TAMPERINGS, SealedLog, entry, flip, sealed_log
from sqlalchemy import Connection, text

from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.checkpoint import Signer
from mcp_forecast_audit.seal import seal
from mcp_forecast_audit.stored import LogBroken, standing

BOTH_DATABASES = True
MANY = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def log(tmp_path: Path, database_address: str) -> Iterator[SealedLog]:
    """Six hundred entries under three checkpoints."""
    made = sealed_log(tmp_path / "home", database_address, entries=600)
    yield made
    made.database.close()


def test_a_log_nobody_touched_is_intact(log: SealedLog) -> None:
    report = log.verify()
    assert (report.intact, report.entries, report.sealed, report.checkpoints, report.outside) == (
        True,
        600,
        600,
        3,
        600,
    )
    assert report.keys == (log.signer.public.vkey,)


@MANY
@given(st.sampled_from(COLUMNS), st.integers(0, 2**32))
def test_a_flipped_bit_in_any_column_is_found(log: SealedLog, column: tuple[str, str], seed: int) -> None:
    with log.tampering() as connection:
        done = flip(connection, random.Random(seed), *column)
        assert done is None or not log.verify(connection).intact, done


@pytest.mark.parametrize("tampering", ["delete", "swap", "truncate"])
def test_deleted_swapped_and_cut_entries_are_found(log: SealedLog, tampering: str) -> None:
    for seed in range(12):
        with log.tampering() as connection:
            done = TAMPERINGS[tampering](connection, random.Random(seed))
            report = log.verify(connection)
            assert not report.intact, done
            assert all(problem.where and problem.expected for problem in report.problems)
    assert log.verify().intact  # nothing of it was kept


def test_what_was_changed_is_named_with_what_was_found_and_expected(log: SealedLog) -> None:
    with log.tampering() as connection:
        connection.execute(text("UPDATE audit_entry SET caller = 'mallory' WHERE seq = 17"))
        problems = [str(problem) for problem in log.verify(connection).problems]
    assert problems == ["entry 17, caller: found 'mallory'; expected 'local:1', as in its body"]


def test_a_log_cut_to_an_older_state_is_found_by_the_checkpoint_outside_alone(log: SealedLog) -> None:
    with log.tampering() as connection:
        for table, key in (("entry", "seq"), ("ref", "seq"), ("checkpoint", "size")):
            connection.execute(text(f"DELETE FROM audit_{table} WHERE {key} > 512"))
        assert log.verify(connection, outside=None).intact
        assert [problem.where for problem in log.verify(connection).problems] == ["the checkpoint outside"]


def test_a_log_written_anew_under_another_key_is_found_by_what_was_kept_outside(log: SealedLog) -> None:
    forger = Signer(log.signer.name, Ed25519PrivateKey.generate())
    with log.tampering() as connection:
        _forget(connection)
        audit_log.append(connection, [entry(number + 1) for number in range(600)])
        seal(connection, standing(connection), forger, now=NOW)
        assert log.verify(connection, outside=None, trust=False).intact  # inside, all fits
        assert not log.verify(connection, outside=None).intact  # the key is not the one that was kept
        assert not log.verify(connection, trust=False).intact  # nor is the checkpoint


def test_a_log_written_anew_under_the_same_key_is_found_by_the_checkpoint_outside(log: SealedLog) -> None:
    with log.tampering() as connection:
        _forget(connection)
        audit_log.append(connection, [entry(number + 1) for number in range(600)])
        seal(connection, standing(connection), log.signer, now=NOW)
        assert log.verify(connection, outside=None).intact
        assert not log.verify(connection).intact


def test_entries_that_are_not_sealed_yet_are_told_apart(log: SealedLog) -> None:
    with log.tampering() as connection:
        audit_log.append(connection, [entry(number) for number in range(600, 607)])
        report = log.verify(connection)
    assert (report.intact, report.entries, report.sealed) == (True, 607, 600)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_node SET hash = (SELECT leaf_hash FROM audit_entry WHERE seq = 1)",
        "UPDATE audit_entry SET leaf_hash = (SELECT hash FROM audit_node LIMIT 1) WHERE seq = 600",
        "DELETE FROM audit_checkpoint WHERE size = 600",
        "UPDATE audit_checkpoint SET note = 'something else' WHERE size = 600",
        "DELETE FROM audit_node",
    ],
)
def test_nothing_is_signed_over_a_tree_that_is_not_the_one_signed_before(log: SealedLog, change: str) -> None:
    with log.tampering() as connection:
        audit_log.append(connection, [entry(number) for number in range(600, 607)])
        connection.execute(text(change))
        if "DELETE FROM audit_checkpoint" in change:  # the nodes still fit the older one; the file outside does not
            assert not log.verify(connection).intact
            return
        with pytest.raises(LogBroken):
            seal(connection, standing(connection), log.signer, now=NOW)


def _forget(connection: Connection) -> None:
    for table in ("entry", "ref", "node", "checkpoint", "key"):
        connection.execute(text(f"DELETE FROM audit_{table}"))
