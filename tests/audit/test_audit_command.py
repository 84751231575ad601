"""`mcp-forecast audit verify` beside a server, without one, and where nothing may be written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_commands import Run, log_of_settings, runner
from sealed_log import NOW, SealedLog
from sqlalchemy import text

from mcp_forecast_audit.checkpoint import Checkpoint

BOTH_DATABASES = True


@pytest.fixture
def log(tmp_path: Path, database_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SealedLog]:
    with log_of_settings(tmp_path, database_address, monkeypatch) as made:
        yield made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_an_intact_log_says_what_was_verified_and_what_was_not(log: SealedLog, run: Run, tmp_path: Path) -> None:
    code, shown = run("verify")
    assert code == 0
    assert shown.startswith("intact\n300 entries, 300 sealed under 2 signed checkpoints\n")
    assert f"compared with {log.home}" in shown
    assert "not checked: who signed" in shown
    (tmp_path / "kept").write_text(log.note)
    code, shown = run("verify", "--checkpoint", tmp_path / "kept", "--public-key", log.home / "audit.pub")
    assert code == 0
    assert "not checked" not in shown


def test_a_changed_log_is_named_with_exit_code_1(log: SealedLog, run: Run) -> None:
    with log.database.command() as connection:
        connection.execute(text("UPDATE audit_entry SET code = 'OK' WHERE seq = 5"))
    code, shown = run("verify")
    assert code == 1
    assert "NOT INTACT: 1 contradiction\n  entry 5, code: found 'OK'; expected 'FORBIDDEN', as in its body" in shown
    code, shown = run("verify", "--json")
    found = json.loads(shown)
    assert (code, found["intact"], found["problems"][0]["where"]) == (1, False, "entry 5, code")


def test_a_checkpoint_file_that_is_gone_while_entries_are_sealed_is_a_problem(log: SealedLog, run: Run) -> None:
    for file in (log.home / "checkpoints").iterdir():
        file.unlink()
    code, shown = run("verify")
    assert (code, shown.startswith("NOT INTACT: 1 contradiction\n  the checkpoint outside: found no file")) == (
        1,
        True,
    )


def test_a_key_that_did_not_sign_is_refused(log: SealedLog, run: Run, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from mcp_forecast_audit.checkpoint import Signer

    (tmp_path / "other.pub").write_text(Signer(log.signer.name, Ed25519PrivateKey.generate()).public.vkey + "\n")
    assert run("verify", "--public-key", tmp_path / "other.pub")[0] == 1
    (tmp_path / "other.pub").write_text("nonsense")
    code, shown = run("verify", "--public-key", tmp_path / "other.pub")
    assert (code, "no Ed25519 public key" in shown) == (2, True)


def test_a_home_that_ends_before_the_kept_checkpoint_contradicts_it(log: SealedLog, run: Run, tmp_path: Path) -> None:
    later = Checkpoint(log.signer.name, 310, bytes(32), NOW, 300)
    (tmp_path / "kept").write_text(log.signer.note(later))
    code, shown = run("verify", "--checkpoint", tmp_path / "kept")
    assert (code, shown.startswith("NOT INTACT: 1 contradiction\n  the checkpoint outside: ")) == (1, True)


@pytest.mark.parametrize("option", ["--checkpoint", "--public-key", "--export", "--proof"])
def test_a_file_that_is_not_there_is_said_in_words_with_what_helps(run: Run, tmp_path: Path, option: str) -> None:
    code, shown = run("verify", option, tmp_path / "gone")
    assert (code, shown.startswith(f"error: there is no file {tmp_path / 'gone'}\n  ")) == (2, True)
    code, shown = run("verify", option, tmp_path)
    assert (code, shown) == (2, f"error: {tmp_path} cannot be read or written: Is a directory\n")


def test_where_there_is_no_log_none_is_made(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_FORECAST_HOME", str(tmp_path / "nowhere"))
    code, shown = run("verify")
    assert (code, "there is no log" in shown) == (2, True)
    assert not (tmp_path / "nowhere").exists()
