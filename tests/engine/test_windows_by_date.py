"""Series that end at different dates are tested at the same dates, so that no fit has seen another one's future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import HOUR, REFERENCES_ONLY, panel_of

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.backtest import backtest
from mcp_forecast_engine.evaluation.plan import counts_own_ends, origins_of, plan_for
from mcp_forecast_engine.evaluation.windows import truth_at, window_at


def ending(lengths: list[int], *, freq: str = "h", apart: int = 0) -> Panel:
    """Series of these lengths that start together; apart: seconds by which every other one starts later."""
    draw = np.random.default_rng(0)
    made = [20 + 5 * np.sin(np.arange(n) * np.pi / 12) + draw.normal(size=n) for n in lengths]
    panel = panel_of(made, season_length=24, freq=freq)
    return replace(panel, ds=panel.ds + np.repeat(np.arange(len(lengths)) % 2 * apart, lengths))


@pytest.mark.parametrize("apart", [0, HOUR // 2, HOUR // 2 + 1])
def test_no_window_has_seen_a_later_date_of_any_series(apart: int) -> None:
    panel = ending([200] * 12 + [400] * 12, apart=apart)
    plan = plan_for(panel, 12)
    origins = origins_of(panel, plan)
    assert not counts_own_ends(panel, plan)
    for window, origin in enumerate(origins):
        history, truth = window_at(panel, origin, 12).history, truth_at(panel, origin, 12)
        assert history.ds.max() < truth.ds.min() + apart
        assert history.ds.max() <= panel.ds.max() - plan.back(window) * HOUR
    assert (origins[-1] >= 0).tolist() == [False] * 12 + [True] * 12


def test_a_series_is_tested_in_the_windows_whose_whole_horizon_it_holds() -> None:
    panel = ending([400] * 20 + [390] * 3 + [30])
    plan = replace(plan_for(panel, 12), ahead=0)
    origins = np.stack(origins_of(panel, plan))
    backs = np.array([plan.back(window) for window in range(plan.windows)])
    assert np.array_equal(origins[:, 0], 400 - backs)
    assert np.array_equal(origins[:, 20], np.where(backs >= 22, 400 - backs, -1))
    assert origins[:, 23].max() == -1


def test_where_most_series_end_too_early_each_counts_its_own_steps_and_that_is_said() -> None:
    panel = ending([200] * 12 + [400] * 6)
    plan = plan_for(panel, 12)
    assert counts_own_ends(panel, plan)
    for window, origin in enumerate(origins_of(panel, plan)):
        assert np.array_equal(origin, panel.lengths - plan.back(window))
    report = backtest(panel, plan, REFERENCES_ONLY).report
    assert any("end at different dates" in warning for warning in report.warnings)


def test_where_all_end_together_or_time_is_counted_nothing_is_cut_by_date() -> None:
    counted = ending([200] * 12 + [400] * 12, freq="1")
    lengths = [300, 400, 400]
    together = ending(lengths)
    late = np.repeat([100, 0, 0], lengths) * HOUR
    for panel in (counted, replace(together, ds=together.ds + late)):
        plan = plan_for(panel, 12)
        assert not counts_own_ends(panel, plan)
        for window, origin in enumerate(origins_of(panel, plan)):
            assert np.array_equal(origin, panel.lengths - plan.back(window))


@pytest.mark.parametrize("lengths", [[390, 400, 400], [200] * 12 + [400] * 12, [395] * 6 + [400] * 30])
def test_series_that_leave_during_the_test_part_spoil_nothing(lengths: list[int]) -> None:
    panel = ending(lengths)
    found = backtest(panel, plan_for(panel, 12), REFERENCES_ONLY)
    assert not any("end at different dates" in warning for warning in found.report.warnings)
    for arm in found.report.arms:
        assert np.isfinite(found.run(arm.name).issued.together).all()
        assert np.isfinite(arm.metric("MASE"))
    assert found.report.arm("target_only").metric("MASE") < found.report.arm("seasonal_naive").metric("MASE")
