"""Windows that settings are chosen on, levels of columns, shapes of groups: the parts that several families share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from forecast_toys import panel_of

from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.models.features import layout_for, tail_inputs
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.group_shapes import group_shapes, shape_tables, write_group_shapes
from mcp_forecast_engine.models.levels import half_gap, levels_of
from mcp_forecast_engine.models.spec import spec_for
from mcp_forecast_engine.models.static_groups import grouping_by
from mcp_forecast_engine.models.table import MODELS
from mcp_forecast_engine.models.validation import validation_windows
from mcp_forecast_engine.models.windows import usual_change


def test_errors_are_counted_on_observed_steps_in_units_of_the_usual_change_before_the_first_window() -> None:
    rise, saw = np.arange(12.0), np.tile([0.0, 4.0], 6)
    panel = panel_of([rise, saw], season_length=1, freq="1")
    panel = replace(panel, observed=np.arange(24) != 11)  # the last step of the first series
    spec = spec_for(panel, 2)
    last_value = MODELS["seasonal_naive"].fit(panel, spec, {"period": 1})
    windows = validation_windows(panel, spec, [np.array([-1, 8]), np.array([10, 10])])
    assert windows.until.tolist() == [10, 8]
    assert list(zip(windows.series.tolist(), windows.origin.tolist(), strict=True)) == [(1, 8), (0, 10), (1, 10)]
    # Rises by 1 a step: wrong by 1, the second step is not observed. The saw jumps by 4: wrong by 4, then by 0.
    assert windows.loss(last_value) == pytest.approx((1 / 1 + 0) / 5 + 2 * (4 / 4 + 0) / 5)


def test_many_windows_are_thinned_evenly() -> None:
    panel = panel_of([np.arange(60.0)] * 7, season_length=1, freq="1")
    origins = [np.full(7, step) for step in range(40, 50)]
    found = validation_windows(panel, spec_for(panel, 2), origins, most=30)
    assert len(found.series) == 24
    assert set(found.series.tolist()) == set(range(7))
    assert {found.origin.min(), found.origin.max()} == {40, 49}


def test_a_series_that_never_changed_takes_the_usual_change_of_the_others() -> None:
    flat, slow, fast = np.full(10, 7.0), np.arange(10.0), 3 * np.arange(10.0)
    panel = panel_of([flat, slow, fast], season_length=1, freq="1")
    assert usual_change(panel, 1, panel.lengths).tolist() == [1.0, 1.0, 3.0]
    alone = panel_of([flat], season_length=1, freq="1")
    assert usual_change(alone, 1, alone.lengths).tolist() == [1.0]


@pytest.mark.parametrize(
    ("values", "categorical", "levels", "gap"),
    [
        ([0.0, 1.0, 1.0], False, [1.0], 0.5),
        ([0.25, 0.5], False, [0.5], 0.125),
        ([3.0, 1.0, 2.0, 1.0], False, [1.0, 2.0, 3.0], 0.5),
        ([5.0, 5.0], False, [5.0], 0.5),
        ([0.5, 1.5, 2.25], False, None, 0.0),
        (list(range(9)), False, None, 0.0),
        ([*range(70), *range(6, 70)], True, list(range(6, 70)), 0.5),
    ],
)
def test_few_whole_numbers_and_categories_are_levels_and_all_else_is_a_measure(
    values: list[float], categorical: bool, levels: list[float] | None, gap: float
) -> None:
    found = levels_of(np.array(values, np.float64), categorical=categorical)
    assert (found is None) == (levels is None)
    if found is not None:
        assert (found[0].tolist(), found[1]) == (levels, gap)


def test_half_a_gap_keeps_neighbouring_levels_apart() -> None:
    levels = np.array([1.0, 1.5, 4.0])
    assert half_gap(levels) == 0.25
    near = np.abs(levels[:, None] - levels) < half_gap(levels)
    assert near.tolist() == np.eye(3, dtype=bool).tolist()


def test_groups_share_their_mean_shape_by_phase_and_the_graph_looks_up_the_same() -> None:
    panel = panel_of(
        [np.arange(6.0) + i for i in range(4)], season_length=3, freq="1", static={"kind": [0.0, 0.0, 1.0, 1.0]}
    )
    inputs = tail_inputs(panel, layout_for(spec_for(panel, 3, roles=("static",)), panel.axis))
    own = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0], [10.0, 10.0, 10.0], [20.0, 20.0, 20.0]])
    groupings = (grouping_by([0], inputs.static), grouping_by([], inputs.static))
    tables = shape_tables(own, inputs, groupings)
    kinds, everybody = group_shapes(inputs, groupings, tables, 3)
    assert kinds.tolist() == [[2.0, 3.0, 4.0]] * 2 + [[15.0] * 3] * 2
    assert everybody.tolist() == [[8.5, 9.0, 9.5]] * 4
    stranger = replace(inputs, static=np.full_like(inputs.static, 9.0))
    assert group_shapes(stranger, groupings, tables, 3)[0].tolist() == everybody.tolist()
    graph = Graph()
    ports = Ports("", static=graph.input("static", ("batch", 1)), phase=graph.input("phase", ("batch",), 7))
    kinds_node, _ = write_group_shapes(graph, ports, groupings, tables, 3)
    graph.output("quantiles", graph.cast(kinds_node, 1), ("batch", 3))
    session = onnxruntime.InferenceSession(graph.model("shapes", {}), providers=["CPUExecutionProvider"])
    feed = {"static": inputs.static.astype(np.float32), "phase": inputs.phase}
    np.testing.assert_array_equal(session.run(None, feed)[0], kinds)


def test_a_history_without_a_training_window_is_refused_with_the_rows_that_are_enough() -> None:
    ridge = MODELS["direct_ridge"]

    def fitted(rows: int) -> int:
        panel = panel_of([np.sin(np.arange(rows))], season_length=7, freq="1")
        spec = spec_for(panel, 9)
        model = ridge.fit(panel, spec, ridge.tune(panel, spec, [], {}))
        return len(model.point(tail_inputs(panel, model.layout)))

    with pytest.raises(HistoryTooShort, match="longest series has 9 rows") as refusal:
        fitted(9)
    assert fitted(refusal.value.allowed["rows"]) == 1
