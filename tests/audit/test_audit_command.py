"""`mcp-forecast audit` verifies, exports and proves, beside a server, without one, and where nothing may be written."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sealed_log import NOW, SealedLog, entry, sealed_log
from sqlalchemy import text

from mcp_forecast.cli import main
from mcp_forecast.sealing import checkpoint_file
from mcp_forecast.signing_key import signer_of
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.checkpoint import Checkpoint, read_note
from mcp_forecast_audit.seal import seal
from mcp_forecast_audit.stored import standing
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


def test_a_proof_file_is_checked_without_a_home(
    log: SealedLog, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {size: tmp_path / f"kept{size}" for size in (256, 300)}
    with log.database.read() as connection:
        for size, file in files.items():
            note = connection.execute(text(f"SELECT note FROM audit_checkpoint WHERE size = {size}")).scalar_one()
            file.write_text(note)
    proof, joined = tmp_path / "proof", tmp_path / "joined"
    proof.write_text(run("proof", 42)[1])
    joined.write_text(run("proof", 42, "--consistency-from", files[256])[1])
    assert json.loads(proof.read_text())["format"] == "mcp-forecast-proof/1"
    monkeypatch.setenv("MCP_FORECAST_HOME", str(tmp_path / "nowhere"))
    code, shown = run("verify", "--proof", proof)
    assert (code, shown.count("\n")) == (0, 1)
    assert shown.startswith("the proof holds: entry 42 is under the checkpoint over 300 entries, signed by ")
    assert "the key is the proof's own" in shown
    key = ("--public-key", log.home / "audit.pub")
    code, shown = run("verify", "--proof", proof, *key, "--checkpoint", files[300])
    assert (code, "the proof's own" in shown) == (0, False)
    code, shown = run("verify", "--proof", joined, *key, "--checkpoint", files[256])
    assert (code, "which begins with yours over 256" in shown) == (0, True)
    code, shown = run("verify", "--proof", proof, *key, "--checkpoint", files[256])
    assert (code, "says nothing of the checkpoint over 256 that you gave" in shown) == (2, True)
    assert json.loads(run("verify", "--proof", proof, "--checkpoint", files[256], "--json")[1])["holds"] is None
    assert not (tmp_path / "nowhere").exists()


def test_a_proof_holds_no_more_once_any_part_of_it_is_changed(log: SealedLog, run: Run, tmp_path: Path) -> None:
    with log.database.read() as connection:
        old = connection.execute(text("SELECT note FROM audit_checkpoint WHERE size = 256")).scalar_one()
    (tmp_path / "old").write_text(old)
    proof = json.loads(run("proof", 42, "--consistency-from", tmp_path / "old")[1])
    join, file = proof["consistency"], tmp_path / "proof"
    wrong: list[dict[str, Any]] = [
        {"entry": proof["entry"].replace("OK", "KO").replace("FORBIDDEN", "OK")},
        {"entry": proof["entry"] + " "}, {"seq": 43}, {"leaf_index": 42}, {"seq": 43, "leaf_index": 42},
        {"seq": 1 << 80, "leaf_index": (1 << 80) - 1}, {"seq": 0, "leaf_index": -1}, {"tree_size": 301},
        {"leaf_hash": "00" * 32}, {"path": proof["path"][1:]}, {"path": [*proof["path"], proof["path"][0]]},
        {"path": proof["path"][::-1]}, {"checkpoint": old},
        {"checkpoint": proof["checkpoint"].replace("\n300\n", "\n301\n")},
        {"checkpoint": "text"}, {"public_key": proof["public_key"].replace("+", "++", 1)},
        {"consistency": {**join, "old_size": 255}}, {"consistency": {**join, "new_size": 301}},
        {"consistency": {**join, "path": join["path"][1:]}}, {"consistency": {**join, "old_checkpoint": "text"}},
        {"consistency": {**join, "old_checkpoint": proof["checkpoint"], "old_size": 300}},
    ]  # fmt: skip
    for part in wrong:
        file.write_text(json.dumps(proof | part))
        code, shown = run("verify", "--proof", file)
        assert (code, shown.startswith("the proof does not hold: "), shown.count("\n")) == (1, True, 1), part
    unlike: list[dict[str, Any]] = [
        {"format": "other/1"}, {"seq": "42"}, {"seq": True}, {"path": "text"}, {"path": [1]}, {"path": ["AA=="]},
        {"entry": None}, {"entry": "\ud800"}, {"consistency": None}, {"consistency": {}},
    ]  # fmt: skip
    for part in unlike:
        file.write_text(json.dumps(proof | part))
        assert run("verify", "--proof", file) == (
            2,
            "error: the file is no proof of this kind (mcp-forecast-proof/1)\n",
        )


def test_a_proof_under_a_checkpoint_that_contradicts_the_kept_one_does_not_hold(
    log: SealedLog, run: Run, tmp_path: Path
) -> None:
    newest, file = read_note(log.note), tmp_path / "proof"
    file.write_text(run("proof", 42)[1])
    (tmp_path / "root").write_text(log.signer.note(replace(newest, root=bytes(32))))
    code, shown = run("verify", "--proof", file, "--checkpoint", tmp_path / "root")
    assert (code, "has another root than the one that you gave" in shown) == (1, True)
    (tmp_path / "origin").write_text(log.signer.note(replace(newest, origin="mcp-forecast/other")))
    code, shown = run("verify", "--proof", file, "--checkpoint", tmp_path / "origin")
    assert (code, "the checkpoint that you gave is of mcp-forecast/other" in shown) == (1, True)


def test_a_key_that_came_after_the_copy_of_the_public_keys_is_named_with_what_may_be_the_reason(
    log: SealedLog, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "copy.pub").write_text((log.home / "audit.pub").read_text())
    (log.home / "audit.key").unlink()  # as in a restored home
    newer = signer_of(log.home, log.signer.name)
    with log.database.command() as connection:
        audit_log.append(connection, [entry(number) for number in range(300, 310)])
        seal(connection, standing(connection), newer, now=NOW + 100, anchors=[read_note(log.note)])
    given, whole, hint = ("--public-key", tmp_path / "copy.pub"), log.home / "audit.pub", "after a restore a home signs"
    code, shown = run("verify", *given)
    assert code == 1
    assert f"signed from entry 301 on by a key that you did not give ({newer.public.vkey})" in shown
    assert f"{hint} with a new key; if you expected that, add its line of audit.pub to your copy" in shown
    file, proof = tmp_path / "log.jsonl", tmp_path / "proof"
    assert run("export", file)[0] == 0
    proof.write_text(run("proof", 42)[1])
    for option, made in (("--export", file), ("--proof", proof)):
        code, shown = run("verify", option, made, *given)
        assert (code, f"did not give ({newer.public.vkey})" in shown, hint in shown) == (1, True, True)
        assert run("verify", option, made, "--public-key", whole)[0] == 0
    assert run("verify", "--public-key", whole)[0] == 0
    whole.write_text((tmp_path / "copy.pub").read_text())  # a key that the home itself does not name
    code, shown = run("verify", *given)
    assert (code, hint in shown, f"does not stand in {whole} either" in shown) == (1, False, True)


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
    code, shown = run("export", file)  # never over a file that is there
    assert (code, shown) == (
        2,
        f"error: {file} is there already, and an export writes over nothing\n  name another file\n",
    )
    code, shown = run("export", tmp_path / "none" / "log.jsonl")
    assert (code, shown) == (2, f"error: there is no folder {tmp_path / 'none'}\n  make it, or name another place\n")
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


def test_an_export_that_ends_before_the_kept_checkpoint_is_no_contradiction(
    log: SealedLog, run: Run, tmp_path: Path
) -> None:
    file, kept = tmp_path / "log.jsonl", ("--checkpoint", tmp_path / "kept")
    assert run("export", file)[0] == 0
    with log.database.command() as connection:
        audit_log.append(connection, [entry(number) for number in range(300, 310)])
        seal(connection, standing(connection), log.signer, now=NOW + 100)
        (tmp_path / "kept").write_text(str(standing(connection).note))
    code, shown = run("verify", "--export", file, *kept)
    assert (code, shown.splitlines()[0]) == (
        2,
        "this export ends before the checkpoint (300 of 310 entries): take a newer export, or a checkpoint of its time",
    )
    assert "\ncompared with" not in shown
    found = json.loads(run("verify", "--export", file, *kept, "--json")[1])
    assert (found["intact"], found["ends_early"]) == (None, True)
    whole = file.read_text()
    file.write_text("".join(whole.splitlines(keepends=True)[:-1]))  # an entry of the export itself is gone
    assert run("verify", "--export", file, *kept)[0] == 1
    file.write_text(whole)
    (tmp_path / "kept").write_text((tmp_path / "kept").read_text().replace("\n310\n", "\n311\n"))
    assert run("verify", "--export", file, *kept)[0] == 1  # a checkpoint that nobody signed


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
