"""Each way to let the future into windows, fits, choice, intervals and figures is put into the real code, as a bug
would be, and the guard that is named for it finds it; the undisturbed run beside it passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_mutants import CASES, MUTANTS, Patch
from leakage_toys import (
    CHOICE,
    DAYS,
    GAPS,
    HOURS,
    MONTHS,
    RENEWED,
    STORES,
    Case,
    drawn,
    gaps,
    history_matters,
)
from leaking_runs import IN_SUITE, LISTED

from mcp_forecast_engine.data.columns import ColumnRoles
from mcp_forecast_engine.data.dataset import build_dataset
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.data.reading import read_file
from mcp_forecast_engine.data.steps import (
    DEFAULT_STEPS,
    FillGaps,
)
from mcp_forecast_engine.evaluation.budget import BUDGETS
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.factory.guard import GuardResult
from mcp_forecast_engine.factory.leakage import Checked

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
GUARDS = ("windows", "blind", "evidence")
# Those that no whole run of the suite is put through.
ALONE = [mutant for mutant, guard in LISTED.items() if guard in GUARDS and mutant not in IN_SUITE]


def by_name(checked: Checked) -> dict[str, GuardResult]:
    return {guard.name: guard for guard in checked.guards}


@pytest.mark.parametrize("mutant", ALONE)
def test_a_leak_in_the_real_code_is_found_by_the_guard_that_is_named_for_it(mutant: str, monkeypatch: Patch) -> None:
    put_in, case = MUTANTS[mutant]
    put_in(monkeypatch)
    guards = by_name(CASES[case].checked())
    assert guards[LISTED[mutant]].status == "violated", guards


@pytest.mark.parametrize(
    "case", [STORES, replace(STORES, budget=BUDGETS["small"]), DAYS], ids=["stores", "mix", "days"]
)
def test_no_guard_cries_over_honest_data_of_many_shapes(case: Case) -> None:
    found = case.checked()
    assert [(guard.name, guard.status) for guard in found.guards] == [(name, "passed") for name in GUARDS], found
    assert found.replay_difference == 0.0


@pytest.mark.parametrize(
    "case",
    [HOURS, RENEWED, replace(CHOICE, refits=0), MONTHS, GAPS, replace(HOURS, frame=history_matters())],
    ids=["refitted twice", "renewed at every window", "never refitted", "a mix of models", "gaps", "history matters"],
)
def test_an_undisturbed_run_passes_and_its_replay_differs_by_nothing(case: Case) -> None:
    found = case.checked()
    assert [(guard.name, guard.status) for guard in found.guards] == [(name, "passed") for name in GUARDS]
    assert all(guard.checked > 0 and guard.detail for guard in found.guards)
    assert found.replay_difference == 0.0


@pytest.mark.skipif(not SHARED.exists(), reason="the public series lie beside the checkout only")
def test_public_hours_with_their_weather_pass_every_guard() -> None:
    frame = build_dataset(
        read_file((SHARED / "bike_sharing_hourly.parquet").read_bytes(), "parquet"), ColumnRoles()
    ).frame
    last = drawn(frame, np.arange(len(frame.y) - 24 * 24, len(frame.y)))
    found = Case(last).checked()
    assert [(guard.name, guard.status) for guard in found.guards] == [(name, "passed") for name in GUARDS], found


def test_interpolation_that_the_request_accepted_is_accepted_and_said() -> None:
    steps = tuple(
        FillGaps(target="interpolate", causal=False) if isinstance(step, FillGaps) else step for step in DEFAULT_STEPS
    )
    frame = gaps()
    # One gap lies across the first test cutoff.
    panel, _ = to_panel(frame, steps, 24)
    plan = plan_for(panel, 24)
    cut = panel.ds[len(panel.ds) - plan.back(plan.validation_windows)]
    cut_out = drawn(frame, np.flatnonzero(np.abs(frame.ds - cut) > 4 * 3_600))
    guards = by_name(Case(cut_out, steps=steps, refits=1).checked())
    assert guards["blind"].status == "accepted"
    assert "causal=false" in guards["blind"].detail
    assert guards["evidence"].status == "passed"
    assert by_name(Case(cut_out, refits=1).checked())["blind"].status == "passed"
