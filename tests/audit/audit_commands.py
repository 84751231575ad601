"""`mcp-forecast audit` on a sealed log, as an operator runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sealed_log import SealedLog, sealed_log

from mcp_forecast.cli import main
from mcp_forecast.home.sealing import checkpoint_file

Run = Callable[..., tuple[int, str]]


@contextmanager
def log_of_settings(tmp_path: Path, database_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SealedLog]:
    """A sealed log in the home that the settings name."""
    made = sealed_log(tmp_path / "home", database_address, entries=300)
    own = checkpoint_file(made.home / "checkpoints", made.signer.name.removeprefix("mcp-forecast/"))
    own.parent.mkdir()
    own.write_text(made.note)
    monkeypatch.setenv("MCP_FORECAST_HOME", str(made.home))
    monkeypatch.setenv("MCP_FORECAST_DATABASE", database_address)
    yield made
    made.database.close()


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `mcp-forecast audit …`; returns the exit code and all that was printed."""

    def run(*arguments: object) -> tuple[int, str]:
        code = main(["audit", *map(str, arguments)])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run
