"""`mcp-forecast audit` verifies, exports and proves, beside a server, without one, and where nothing may be written."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sealed_log import SealedLog, sealed_log
from sqlalchemy import text

from mcp_forecast.cli import main
from mcp_forecast.sealing import checkpoint_file
from mcp_forecast_audit.checkpoint import read_note
from mcp_forecast_audit.tree import is_consistent, is_included, leaf_hash

BOTH_DATABASES = True
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def log(tmp_path: Path, database_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SealedLog]:
    """A sealed log in the home that the settings name."""
    made = sealed_log(tmp_path / "home", database_address, entries=300)
    own = checkpoint_file(made.home / "checkpoints", made.signer.name.removeprefix("mcp-forecast/"))
    own.parent.mkdir()
    own.write_text(made.note)
    monkeypatch.setenv("MCP_FORECAST_HOME", str(made.home))
    monkeypatch.setenv("MCP_FORECAST_DATABASE", database_address)
    yield made
    made.database.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `mcp-forecast audit …`; returns the exit code and all that was printed."""

    def runner(*arguments: object) -> tuple[int, str]:
        code = main(["audit", *map(str, arguments)])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return runner


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
    assert "NOT INTACT: 1 contradictions\n  entry 5, code: found 'OK'; expected 'FORBIDDEN', as in its body" in shown
    code, shown = run("verify", "--json")
    found = json.loads(shown)
    assert (code, found["intact"], found["problems"][0]["where"]) == (1, False, "entry 5, code")


def test_a_checkpoint_file_that_is_gone_while_entries_are_sealed_is_a_problem(log: SealedLog, run: Run) -> None:
    for file in (log.home / "checkpoints").iterdir():
        file.unlink()
    code, shown = run("verify")
    assert (code, shown.startswith("NOT INTACT: 1 contradictions\n  the checkpoint outside: found no file")) == (
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


def test_a_proof_is_checked_with_nothing_but_what_it_says(log: SealedLog, run: Run, tmp_path: Path) -> None:
    with log.database.read() as connection:
        old = connection.execute(text("SELECT note FROM audit_checkpoint WHERE size = 256")).scalar_one()
    (tmp_path / "old").write_text(old)
    code, shown = run("proof", f"req_{41:024x}", "--consistency-from", tmp_path / "old")
    proof: dict[str, Any] = json.loads(shown)
    newest, leaf = read_note(proof["checkpoint"]), leaf_hash(proof["entry"].encode())
    assert (code, proof["seq"], leaf.hex()) == (0, 42, proof["leaf_hash"])
    assert is_included(leaf, proof["leaf_index"], newest.size, _hashes(proof["path"]), newest.root)
    assert proof["public_key"] == log.signer.public.vkey
    join, path = proof["consistency"], _hashes(proof["consistency"]["path"])
    sizes = {"old": join["old_size"], "new": join["new_size"]}
    assert is_consistent(**sizes, old_root=read_note(old).root, new_root=newest.root, path=path)


def test_no_proof_is_given_of_what_is_not_there_or_was_changed(log: SealedLog, run: Run) -> None:
    assert run("proof", "301") == (2, "error: no entry 301; the log has 300\n")
    assert run("proof", "req_nobody")[0] == 2
    assert run("proof", "9" * 5000) == (2, "error: no entry has a number of 5000 digits\n")
    with log.database.command() as connection:
        connection.execute(
            text("UPDATE audit_entry SET body = (SELECT body FROM audit_entry WHERE seq = 6) WHERE seq = 5")
        )
    code, shown = run("proof", "5")
    assert (code, "the log is not as it was sealed" in shown) == (1, True)


def test_an_export_verifies_without_a_home(
    log: SealedLog, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "log.jsonl"
    assert run("export", file)[0] == 0
    assert run("export", file)[0] == 2  # never over a file that is there
    monkeypatch.setenv("MCP_FORECAST_HOME", str(tmp_path / "nowhere"))
    (tmp_path / "kept").write_text(log.note)
    checked = ("--checkpoint", tmp_path / "kept", "--public-key", log.home / "audit.pub")
    code, shown = run("verify", "--export", file, *checked)
    assert (code, shown.startswith("intact\n300 entries, 300 sealed")) == (0, True)
    assert not (tmp_path / "nowhere").exists()
    lines = file.read_text().splitlines(keepends=True)
    for changed in (lines[:-1], [*lines[:9], *lines[10:]], [lines[0], lines[2], lines[1], *lines[3:]]):
        file.write_text("".join(changed))
        assert run("verify", "--export", file, *checked)[0] == 1
    file.write_text(lines[0] + lines[1].replace("FORBIDDEN", "OK") + "".join(lines[2:]))
    assert run("verify", "--export", file)[0] == 1


def test_a_file_that_is_no_export_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("{}\n")
    assert run("verify", "--export", tmp_path / "other")[0] == 2


@pytest.mark.parametrize("part", [{"keys": [1]}, {"keys": 1}, {"entries": "3"}, {"checkpoint": 5}, {"origin": None}])
def test_an_export_whose_first_line_is_odd_is_refused(log: SealedLog, run: Run, tmp_path: Path, part: Any) -> None:
    file = tmp_path / "log.jsonl"
    assert run("export", file)[0] == 0
    head, *rest = file.read_text().splitlines(keepends=True)
    file.write_text(json.dumps(json.loads(head) | part) + "\n" + "".join(rest))
    code, shown = run("verify", "--export", file)
    assert (code, "does not begin as an export" in shown) == (2, True)


def test_an_export_without_a_checkpoint_verifies_nothing_and_says_so(log: SealedLog, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    assert run("export", file)[0] == 0
    head, *rest = file.read_text().splitlines(keepends=True)
    file.write_text(json.dumps(json.loads(head) | {"checkpoint": None}) + "\n" + "".join(rest))
    code, shown = run("verify", "--export", file)
    assert (code, shown.startswith("nothing verified")) == (2, True)
    assert json.loads(run("verify", "--export", file, "--json")[1])["intact"] is None


def test_an_export_that_fails_leaves_no_file(log: SealedLog, run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with log.database.command() as connection:
        connection.execute(text("UPDATE audit_entry SET body = 'text' WHERE seq = 5"))
    if log.database.kind != "sqlite":
        return  # PostgreSQL makes bytes of it
    code, shown = run("export", tmp_path / "out" / "log.jsonl")
    assert (code, "body of entry 5 is of type str" in shown, list((tmp_path / "out").iterdir())) == (1, True, [])


def test_where_there_is_no_log_none_is_made(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_FORECAST_HOME", str(tmp_path / "nowhere"))
    code, shown = run("verify")
    assert (code, "there is no log" in shown) == (2, True)
    assert not (tmp_path / "nowhere").exists()


def _hashes(texts: list[str]) -> list[bytes]:
    return [base64.b64decode(text) for text in texts]
