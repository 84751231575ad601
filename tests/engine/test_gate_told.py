"""What a training says of its gate and its model holds in every place that says it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forecast_toys import panel_of
from gate_data import passing
from label_toys import ASOF, on, revised_rows
from negative_home import Place, opened

from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.evaluation.plan import plan_for, rows_needed


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with opened(tmp_path / "home") as made:
        yield made


def trained(place: Place, rows: list[dict[str, Any]], **asked: Any) -> dict[str, Any]:
    """The result document of a training on these rows."""
    ended = place.work(place.enter(place.plan(place.register(rows), **asked)))
    assert ended.result is not None, ended.error
    return place.read(ended.result)


def test_a_constant_series_is_forecast_exactly_in_trust_and_gate_alike(place: Place) -> None:
    rows = [{"ds": on(day), "y": 42.0} for day in range(200)]
    usual, strict = (trained(place, rows, governance=name) for name in ("default", "strict"))
    assert usual["trust"]["reasons"][0] == "every tested value was forecast exactly"
    assert usual["gate"]["decision"] == "PASS"
    lines = {line["rule"]: line for line in strict["gate"]["rules"]}
    assert (lines["skill_low"]["measured"], lines["skill_low"]["passed"]) == (0.0, False)
    assert "there is nothing to save" in strict["gate"]["refinement"]["change"]
    assert "next_call" not in strict["gate"]["refinement"]


def test_the_lookback_that_is_told_is_that_of_the_inputs(place: Place) -> None:
    serving = trained(place, passing())["serving"]
    target = next(tensor for tensor in serving["input_spec"]["tensors"] if tensor["name"] == "target")
    assert serving["lookback"] == target["shape"][1]


def test_a_guard_without_anything_to_look_at_says_so(place: Place) -> None:
    guards = place.read(trained(place, passing())["refs"]["leakage"])["guards"]
    told = {guard["name"]: guard["status"] for guard in guards}
    assert told["labels"] == "nothing to check"
    assert (told["windows"], told["blind"]) == ("passed", "passed")


def test_few_windows_lead_by_the_next_call_to_a_run_that_has_enough(place: Place) -> None:
    rows = passing(60)
    refinement = trained(place, rows, horizon=14)["gate"]["refinement"]
    assert refinement["because"] == "units"
    change = {name: refinement["next_call"]["arguments"][name] for name in ("horizon", "test_windows")}
    again = {line["rule"]: line for line in trained(place, rows, **change)["gate"]["rules"]}
    assert again["units"]["passed"]


def test_a_label_asof_after_the_last_observed_time_is_remarked_upon(place: Place) -> None:
    dataset = place.register(revised_rows(), series=["store"], observed="seen")
    late, usual = (place.plan(dataset, label_asof=asof, season_length=7) for asof in ("2099-01-01", ASOF))
    assert any("2099-01-01T00:00:00Z is after the last observed time" in told for told in late.warnings)
    assert not any("after the last observed" in told for told in usual.warnings)


@pytest.mark.parametrize(("rows", "horizon"), [(6, 2), (10, 2), (8, 1)])
def test_the_rows_that_are_missing_are_one_number_and_enough(rows: int, horizon: int) -> None:
    need = rows_needed(horizon, 7)
    with pytest.raises(HistoryTooShort, match=f"needs {need}") as refused:
        plan_for(panel_of([np.arange(float(rows))], season_length=7), horizon)
    assert refused.value.allowed["rows"] == f"at least {need}"
    assert f"send at least {need} rows" in refused.value.next_step or f"send {need} rows" in refused.value.next_step
    assert plan_for(panel_of([np.arange(float(need))], season_length=7), horizon).test_windows
