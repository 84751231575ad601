"""A durable file is there whole, with its mode, and a failure leaves what was there before and no draft."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mcp_forecast_engine.store.durable import OWN, SHARED, place_file, replace_file, sync


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_as_a_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    for data in (b"first", b"second"):
        replace_file(tmp_path / "name", data, mode=SHARED)
        assert (tmp_path / "name").read_bytes() == data
    assert names(tmp_path) == ["name"]


def test_a_secret_is_never_readable_by_others(tmp_path: Path) -> None:
    replace_file(tmp_path / "tokens", b"x", mode=OWN)
    assert place_file(tmp_path / "key", b"x", mode=OWN)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("tokens", "key")] == [0o600, 0o600]


def test_of_several_who_place_a_file_one_does_and_its_bytes_stay(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        placed = list(threads.map(lambda i: place_file(tmp_path / "key", bytes([i]) * 1000, mode=OWN), range(8)))
    assert placed.count(True) == 1
    assert (tmp_path / "key").read_bytes() == bytes([placed.index(True)]) * 1000
    assert names(tmp_path) == ["key"]


def test_a_failure_leaves_what_was_there_and_no_draft(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(OSError, match="directory"):
        replace_file(tmp_path / "name", b"x", mode=SHARED)
    assert names(tmp_path) == ["name"]


def test_what_is_not_there_cannot_be_synced(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "none")
