"""Settings that name a database: one place, no password where people or files could read it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcp_forecast.cli import main
from mcp_forecast.settings import PREFIX, SettingInvalid, child_environment, read_settings
from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.database import open_database

URL = "postgresql://me:s3cret@host/db"


def test_without_a_database_the_rows_are_in_a_file_of_the_home(tmp_path: Path) -> None:
    for environ in ({}, {f"{PREFIX}DATABASE": ""}):
        settings = read_settings({f"{PREFIX}HOME": str(tmp_path), **environ}, tmp_path)
        assert settings.address == tmp_path / "forecast.db"
    assert read_settings({f"{PREFIX}DATABASE": URL}, tmp_path).address == URL


@pytest.mark.parametrize("name", ["DATABASE", "DATABASE_OWNER"])
def test_what_is_no_postgresql_address_is_refused_without_its_password(tmp_path: Path, name: str) -> None:
    for address in (URL.replace("postgresql", "mysql"), "host=h user=u password=s3cret", "me:s3cret@host"):
        with pytest.raises(SettingInvalid, match=f"{PREFIX}{name} is no PostgreSQL URL; allowed: ") as caught:
            read_settings({f"{PREFIX}{name}": address}, tmp_path)
        assert "s3cret" not in str(caught.value)


def test_a_worker_is_told_the_password_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DATABASE", "DATABASE_OWNER"):
        monkeypatch.setenv(f"{PREFIX}{name}", URL)
    monkeypatch.setenv(f"{PREFIX}HOME", str(tmp_path))
    settings = read_settings(os.environ, tmp_path)
    child = child_environment(settings)
    assert (child[f"{PREFIX}DATABASE"], child[f"{PREFIX}DATABASE_OWNER"]) == (URL, "")
    assert "s3cret" not in repr(settings)
    for command, shown in (("settings", "me:***@host/db"), ("connect", "me@host/db")):
        assert main([command]) == 0
        said = capsys.readouterr().out
        assert f"{PREFIX}DATABASE=postgresql://{shown}" in said
        assert "s3cret" not in said


def test_postgresql_without_its_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mcp_forecast_engine.store.postgres", raising=False)
    monkeypatch.delitem(sys.modules, "mcp_forecast_engine.store.postgres_link", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreUnavailable, match="psycopg") as caught:
        open_database(URL)
    assert "mcp-forecast[postgres]" in (caught.value.next_step or "")


def test_a_home_on_sqlite_never_loads_the_driver(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from mcp_forecast.home.opening import open_home; "
        f"open_home(Path({str(tmp_path)!r})).close(); print([n for n in sys.modules if n.startswith('psycopg')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
