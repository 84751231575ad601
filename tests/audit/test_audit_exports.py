"""An export verifies without a home, and says where it proves nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_commands import Run, log_of_settings, runner
from sealed_log import NOW, SealedLog, entry
from sqlalchemy import text

from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.seal import seal
from mcp_forecast_audit.stored import standing

BOTH_DATABASES = True


@pytest.fixture
def log(tmp_path: Path, database_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SealedLog]:
    with log_of_settings(tmp_path, database_address, monkeypatch) as made:
        yield made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


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
