"""The checkpoint outside is written again where it is behind, and never over one that says more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sealing_server import Server, cut_after_256, servers

from mcp_forecast.home.signing_key import KeyUnsafe, signer_of
from mcp_forecast_audit.checkpoint import read_note
from mcp_forecast_audit.verify import verify

BOTH_DATABASES = True


@pytest.fixture
def start(tmp_path: Path, database_address: str) -> Iterator[Callable[..., Server]]:
    with servers(tmp_path / "home", database_address) as starter:
        yield starter


def test_a_checkpoint_file_that_is_behind_or_gone_is_written_again(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(256)
    server.turn()
    old = server.file.read_text()
    server.enter(256)
    server.turn()
    newest = server.file.read_text()
    server.file.write_text(old)
    assert not start().turn()
    assert server.file.read_text() == newest
    server.file.unlink()
    assert not start().turn()
    assert server.file.read_text() == newest


def test_a_checkpoint_that_says_more_than_the_database_is_kept_and_ends_the_sealing(
    start: Callable[..., Server], database_address: str
) -> None:
    server = start()
    server.enter(256)
    server.turn()
    server.enter(256)
    server.turn()
    kept = server.file.read_text()
    cut_after_256(server.home, database_address)
    again = start()
    again.enter(300)
    assert not again.turn()
    assert again.file.read_text() == kept
    assert again.status["state"] == "broken"
    assert "512 entries, the newest stored checkpoint over 256" in str(again.status["reason"])
    assert not again.turn(later=60, ending=True)


def test_a_file_that_is_no_checkpoint_is_not_overwritten(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(256)
    server.turn()
    server.file.write_text("something else")
    again = start()
    again.turn()
    assert (again.status["state"], again.file.read_text()) == ("broken", "something else")


def test_sealing_that_fails_is_told_and_tried_again(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(256)
    server.turn()
    folder, away = server.home / "checkpoints", server.home / "away"
    folder.rename(away)
    folder.write_text("no folder")
    server.enter(256)
    assert server.turn()  # sealed inside; only the file outside waits
    assert (server.status["state"], server.standing.sealed) == ("waiting", 512)
    server.enter(256)
    assert not server.turn()
    assert server.turn(later=5)
    folder.unlink()
    away.rename(folder)
    server.turn(later=5)
    assert (server.status["state"], read_note(server.file.read_text()).size) == ("sealing", 768)


def test_nothing_is_signed_before_the_checkpoint_outside_was_looked_at(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(256)
    (server.home / "checkpoints").write_text("no folder")
    assert not server.turn()
    assert server.status["state"] == "waiting"
    (server.home / "checkpoints").unlink()
    assert server.turn(later=5)


def test_a_key_that_others_can_read_signs_nothing(start: Callable[..., Server]) -> None:
    server = start()
    signer_of(server.home, "mcp-forecast/x")
    (server.home / "audit.key").chmod(0o644)
    with pytest.raises(KeyUnsafe, match="0644"):
        signer_of(server.home, "mcp-forecast/x")
    server.enter(256)
    assert not server.turn()
    assert "chmod 600" in str(server.status["reason"])
    (server.home / "audit.key").chmod(0o600)
    assert server.turn(later=5)


def test_a_new_key_joins_the_old_one_and_both_are_checked(start: Callable[..., Server]) -> None:
    server = start()
    server.enter(256)
    server.turn()
    (server.home / "audit.key").unlink()
    again = start()
    again.enter(256)
    assert again.turn()
    report = verify(again.database.read, origin=read_note(again.file.read_text()).origin)
    assert (report.intact, len(report.keys)) == (True, 2)
    assert set((server.home / "audit.pub").read_text().split()) == set(report.keys)
