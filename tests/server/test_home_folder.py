"""A home's folder: which database it belongs to, who may settle that, and who has to wait or to mend first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import PostgresServer

from mcp_forecast.cli import main
from mcp_forecast.home.folder import LOCK, RESTORING
from mcp_forecast.home.opening import open_home
from mcp_forecast.home.schema import migrate, upgrade
from mcp_forecast.settings import PREFIX, Settings
from mcp_forecast.upkeep.collecting import collect_home
from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.folder_lock import folder_lock

LATER = 4e9  # seconds since 1970


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def empty(postgres: PostgresServer) -> Iterator[str]:
    """A PostgreSQL database with nothing in it."""
    made = postgres.empty()
    yield made
    postgres.drop(made)


@pytest.mark.parametrize("with_rows", [True, False])
def test_a_folder_of_the_first_version_is_not_given_to_a_postgresql_database(
    home: Path, empty: str, with_rows: bool, postgres: PostgresServer
) -> None:
    if with_rows:
        upgrade(home / "forecast.db", "0001")
    artifacts = ArtifactStore(home / "artifacts")
    digest = artifacts.put(b"of the first version")
    settings = Settings(home=home, database=empty)
    for opened in (
        lambda: open_home(home, empty),
        lambda: collect_home(settings, older_than_s=0.0, dry_run=False, clock=lambda: LATER),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            opened()
    assert not (home / "home.id").exists()
    assert artifacts.get(digest)
    with pytest.raises(StoreUnavailable, match="not of this PostgreSQL database") as caught:
        open_home(home, empty)
    assert "unset MCP_FORECAST_DATABASE" in (caught.value.next_step or "")
    with postgres.connect(empty) as root:
        assert root.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
    open_home(home).close()  # its own rows, or new ones
    assert (home / "home.id").exists()
    with pytest.raises(StoreUnavailable, match="belongs to the database of"):
        open_home(home, empty)


def test_a_database_that_was_taken_back_finds_its_folder_again(home: Path, empty: str) -> None:
    open_home(home, empty).close()
    ArtifactStore(home / "artifacts").put(b"x")
    migrate(home, empty, to="0001")
    assert not (home / "home.id").exists()
    open_home(home, empty).close()
    assert (home / "home.id").exists()


def test_a_collection_or_a_backup_never_settles_which_database_a_folder_is_of(home: Path) -> None:
    upgrade(home / "forecast.db")
    settings = Settings(home=home)
    with pytest.raises(StoreUnavailable, match="does not say which database") as caught:
        collect_home(settings, older_than_s=0.0, dry_run=False, clock=lambda: LATER)
    assert "start a server" in (caught.value.next_step or "")
    open_home(home).close()
    collect_home(settings, older_than_s=0.0, dry_run=False, clock=lambda: LATER)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nobody_opens_a_home_that_is_being_restored_or_whose_restore_was_killed(
    home: Path, empty: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = empty if kind == "postgresql" else ""
    monkeypatch.setattr("mcp_forecast.home.folder.OPEN_WAIT_S", 0.1)
    (home / RESTORING).mkdir()
    with (
        folder_lock(home / LOCK, alone=True, within_s=0.0, busy=""),
        pytest.raises(StoreUnavailable, match="another process is restoring or migrating this home"),
    ):
        open_home(home, address)
    with pytest.raises(StoreUnavailable, match="its restore was killed") as caught:
        open_home(home, address)
    assert "restore" in (caught.value.next_step or "")
    assert not (home / "forecast.db").exists()
    (home / RESTORING).rmdir()
    first = open_home(home, address)
    open_home(home, address).close()
    first.close()


def test_a_folder_that_cannot_be_used_is_said_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(f"{PREFIX}HOME", str(tmp_path / "file" / "home"))
    assert main(["migrate"]) == 2
    said = capsys.readouterr().err
    assert "cannot be used: Not a directory" in said
    assert "\n  make the folder writable" in said


def test_a_home_whose_rows_are_elsewhere_makes_no_empty_file_beside_them(tmp_path: Path) -> None:
    open_home(tmp_path / "home").close()
    (tmp_path / "home/forecast.db").unlink()
    with pytest.raises(StoreUnavailable, match="not in forecast"):
        open_home(tmp_path / "home")
    assert not (tmp_path / "home/forecast.db").exists()
