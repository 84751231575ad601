"""`mcp-forecast bundles`: the same tools from the command line, on record as what a person did."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gate_data import failing, passing

from mcp_forecast.cli import main
from mcp_forecast.home.schema import REVISIONS, migrate, revision_of
from mcp_forecast.settings import Settings

Typed = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files and a home: on one of them a training passes its gate, on the other it fails."""
    place = tmp_path_factory.mktemp("typed")
    for name, rows in (("good", passing()), ("the dull ones", failing())):
        lines = [f"{row['ds']},{row['y']}" for row in rows]
        (place / f"{name}.csv").write_text("\n".join(["ds,y", *lines]))
    return place


@pytest.fixture
def typed(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """What a person types there: the words of a command, and what it prints."""
    monkeypatch.setenv("MCP_FORECAST_HOME", str(folder / "home"))
    monkeypatch.chdir(folder)

    def told(*words: str, code: int = 0) -> str:
        assert main(words) == code
        return "".join(capsys.readouterr())

    return told


def next_of(told: str) -> list[str]:
    """The words of the command that is told to be typed next."""
    (line,) = (line for line in told.splitlines() if re.search("mcp-forecast (bundles p|forecast )", line))
    return shlex.split(line[line.index("mcp-forecast ") :])[1:]


def test_a_run_is_published_promoted_listed_and_rolled_back_as_it_is_told(typed: Typed) -> None:
    publish = next_of(typed("forecast", "good.csv", "--horizon", "7"))
    assert "nothing is published yet" in typed("bundles", "list")
    made: dict[str, Any] = json.loads(typed(*publish, "--json"))
    assert made["status"] == "PUBLISHED"
    promote = next_of(typed(*publish))
    promoted = typed(*promote, "--slot", "desk")
    assert promoted.startswith(f"PROMOTED\nlocal/live/desk: {made['bundle_id']}@{made['version']} is ACTIVE")
    warning = f"  warning: {made['bundle_id']}@{made['version']} was made for local/live/primary, and is promoted to"
    assert warning in promoted
    assert "ACTIVE" in typed("bundles", "list", "--state", "ACTIVE")
    events = typed("bundles", "list", "--events", "--slot", "desk")
    assert "BUNDLE_PROMOTED_ACTIVE" in events
    assert promote[-1] in events
    back = typed("bundles", "rollback", "--slot", "desk", "--reason", "worse", "--retire")
    assert "local/live/desk: nothing is ACTIVE" in back
    assert "served by what is ACTIVE" not in back
    rejected = typed("bundles", "promote", made["bundle_id"], "--reason", "again", code=1)
    assert rejected.startswith("REJECTED: BUNDLE_RETIRED\n")
    (event, *_) = json.loads(typed("bundles", "list", "--events", "--json"))["events"]
    assert event["source_type"] == "HUMAN"


def test_a_run_that_failed_is_not_published_and_what_is_told_instead_trains_with_more_models(typed: Typed) -> None:
    asked = ("forecast", "the dull ones.csv", "--horizon", "7")
    told = typed(*asked)
    again = next_of(told)
    assert again == [*asked, "--budget", "large"]
    assert "error in --levels" in typed(*again, "--levels", "81", code=2)  # nothing else is wrong with it
    failed = re.findall("training (run_[0-9a-f]{24}) is kept", told)
    refused = typed("bundles", "publish", *failed, code=2)
    assert "rule skill_low " in refused
    assert "run_training" in refused


def test_an_export_reads_a_home_of_another_schema_not_at_all_and_leaves_it_as_it_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    migrate(settings.home, to=REVISIONS[-2])
    (settings.home / "home.id").write_text("home_1\n")
    monkeypatch.setenv("MCP_FORECAST_HOME", str(settings.home))
    assert main(["bundles", "export", str(tmp_path / "out"), "bnd_" + "0" * 24]) == 2
    told = capsys.readouterr().err
    assert f"older schema {REVISIONS[-2]}" in told
    assert "mcp-forecast migrate" in told
    assert revision_of(settings.home / "forecast.db") == REVISIONS[-2]
