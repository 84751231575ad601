"""Leaks of every guard, each in a real training: the run fails by the guard that is named for it, and nothing of it is
served, published or in the registry; the same training without a leak passes every guard."""

from __future__ import annotations

from pathlib import Path

import pytest
from leaking_runs import HONEST, IN_SUITE, LEAKS, LISTED, leaked, trained

from mcp_forecast_engine.factory.guard import MEND


@pytest.mark.parametrize("mutant", IN_SUITE)
def test_a_training_that_leaks_fails_by_name_and_leads_to_nothing(
    mutant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = leaked(mutant, tmp_path, monkeypatch)
    assert ended.holes(LISTED[mutant]) == []


def test_every_leak_that_is_listed_is_tried() -> None:
    assert LEAKS.keys() == LISTED.keys()


@pytest.mark.parametrize("name", ["revisions"])
def test_an_honest_training_passes_every_guard(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = trained(HONEST[name], tmp_path, monkeypatch)
    assert ended.alarms == []
    assert ended.guards.keys() == MEND.keys()


def test_only_what_is_in_the_data_is_to_be_mended_there() -> None:
    assert [name for name, advice in MEND.items() if not advice.startswith("report it")] == ["columns"]
