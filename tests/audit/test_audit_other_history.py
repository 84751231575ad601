"""Who can write the database alone gets no other history signed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sealed_log import NOW, entry, unlocked
from sealing_server import Server, servers
from sqlalchemy import text

from mcp_forecast_audit.checkpoint import Signer, read_note
from mcp_forecast_audit.seal import seal
from mcp_forecast_audit.stored import LogBroken, standing
from mcp_forecast_audit.tree import leaf_hash, root_hash

BOTH_DATABASES = True


@pytest.fixture
def start(tmp_path: Path, database_address: str) -> Iterator[Callable[..., Server]]:
    with servers(tmp_path / "home", database_address) as starter:
        yield starter


@pytest.mark.parametrize("again", [False, True], ids=["while it serves", "before it starts"])
@pytest.mark.parametrize("gone", [False, True], ids=["file", "no file"])
@pytest.mark.parametrize("keeps", [False, True], ids=["all removed", "kept one put back"])
def test_who_can_write_the_database_alone_gets_no_other_history_signed(
    start: Callable[..., Server], database_address: str, keeps: bool, gone: bool, again: bool
) -> None:
    if gone and again and not keeps:
        return  # a server that starts and finds neither file nor checkpoint has nothing to go by
    server = start()
    server.enter(300)
    assert server.turn()
    note = server.file.read_text()
    _rewrite(server.home, database_address, note=note if keeps else None)
    if gone:
        server.file.unlink()
    if again:
        server = start()
    server.enter(300)
    assert not server.turn(later=6)
    assert not server.turn(later=6, ending=True)
    assert server.status["state"] == "broken"
    assert gone or server.file.read_text() == note
    assert not gone or not server.file.exists()


def test_a_checkpoint_that_is_put_back_while_sealing_does_not_let_another_history_pass(
    start: Callable[..., Server], database_address: str
) -> None:
    server = start()
    server.enter(300)
    assert server.turn()
    note = server.file.read_text()
    _rewrite(server.home, database_address, note=None)
    _put_back_when_sealing(server.home, database_address, note)
    server.enter(300)
    assert not server.turn(later=6)
    assert (server.status["state"], server.file.read_text()) == ("broken", note)


@pytest.mark.parametrize("again", [False, True])
def test_nothing_is_signed_after_a_checkpoint_that_another_key_signed(
    start: Callable[..., Server], database_address: str, again: bool
) -> None:
    server = start()
    server.enter(300)
    assert server.turn()
    note = server.file.read_text()
    server.enter(300)
    forger = Signer(read_note(note).origin, Ed25519PrivateKey.generate())
    database = unlocked(server.home, database_address)
    with database.command() as connection:
        keys = {forger.public.key_id: forger.public}
        with pytest.raises(LogBroken, match="none of the known keys"):
            seal(connection, standing(connection), forger, now=NOW, keys=keys)
        seal(connection, standing(connection), forger, now=NOW, keys=keys, anchors=[read_note(note)])
    database.close()
    server = start() if again else server
    server.enter(300)
    assert not server.turn(later=6)
    assert (server.status["state"], server.file.read_text()) == ("broken", note)


def _rewrite(home: Path, address: str, *, note: str | None) -> None:
    """Let entry 5 be somebody else's and forget what was signed, but for this note."""
    database = unlocked(home, address)
    try:
        with database.command() as connection:
            body = entry(99_999).body()
            connection.execute(
                text("UPDATE audit_entry SET body = :body, leaf_hash = :leaf WHERE seq = 5"),
                {"body": body, "leaf": leaf_hash(body)},
            )
            for table in ("checkpoint", "node", "key"):
                connection.execute(text(f"DELETE FROM audit_{table}"))
            if note is not None:
                leaves = connection.execute(text("SELECT leaf_hash FROM audit_entry ORDER BY seq LIMIT 256")).scalars()
                node = {"hash": root_hash([bytes(leaf) for leaf in leaves])}
                connection.execute(text("INSERT INTO audit_node (level, position, hash) VALUES (1, 0, :hash)"), node)
                values = {"size": read_note(note).size, "at": read_note(note).at, "note": note}
                connection.execute(
                    text("INSERT INTO audit_checkpoint (size, at, note) VALUES (:size, :at, :note)"), values
                )
    finally:
        database.close()


def _put_back_when_sealing(home: Path, address: str, note: str) -> None:
    checkpoint = read_note(note)
    row = f"INSERT INTO audit_checkpoint (size, at, note) VALUES ({checkpoint.size}, {checkpoint.at!r}, '{note}')"
    database = unlocked(home, address)
    try:
        with database.command() as connection:
            if not address:
                made = f"AFTER INSERT ON audit_checkpoint WHEN NEW.size <> {checkpoint.size} BEGIN {row}; END"
                connection.exec_driver_sql(f"CREATE TRIGGER back {made}")
                return
            body = f"BEGIN IF NEW.size <> {checkpoint.size} THEN {row}; END IF; RETURN NEW; END"
            connection.exec_driver_sql(f"CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
            connection.exec_driver_sql(
                "CREATE TRIGGER back AFTER INSERT ON audit_checkpoint FOR EACH ROW EXECUTE FUNCTION back()"
            )
    finally:
        database.close()
