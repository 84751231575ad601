"""A proof of one entry is made by a command, and holds wherever nothing of it was changed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audit_commands import Run, log_of_settings, runner
from sealed_log import NOW, SealedLog, entry
from sqlalchemy import text

from mcp_forecast.home.signing_key import signer_of
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.checkpoint import read_note
from mcp_forecast_audit.seal import seal
from mcp_forecast_audit.stored import standing
from mcp_forecast_audit.tree import is_consistent, is_included, leaf_hash

BOTH_DATABASES = True


@pytest.fixture
def log(tmp_path: Path, database_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SealedLog]:
    with log_of_settings(tmp_path, database_address, monkeypatch) as made:
        yield made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


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


def _hashes(texts: list[str]) -> list[bytes]:
    return [base64.b64decode(text) for text in texts]
