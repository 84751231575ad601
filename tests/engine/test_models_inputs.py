from __future__ import annotations

from dataclasses import fields

import numpy as np
from forecast_toys import hourly

from mcp_forecast_engine.models.features import Inputs, inputs_at, layout_for
from mcp_forecast_engine.models.spec import spec_for


def test_windows_gathered_together_are_those_gathered_one_by_one() -> None:
    panel = hourly(20)
    layout = layout_for(spec_for(panel, 24, roles=("known_future", "historical")), panel.axis)
    origins = np.arange(layout.lookback, layout.lookback + 40, dtype=np.int64)
    series = np.zeros(len(origins), np.int64)
    together = inputs_at(panel, layout, series, origins)
    alone = [inputs_at(panel, layout, series[:1], origins[i : i + 1]) for i in range(len(origins))]
    for field in fields(Inputs):
        rows = np.concatenate([getattr(one, field.name) for one in alone])
        np.testing.assert_array_equal(getattr(together, field.name), rows, err_msg=field.name)


def test_gathered_inputs_are_copies_that_no_one_else_sees() -> None:
    panel = hourly(20)
    layout = layout_for(spec_for(panel, 24), panel.axis)
    origins = np.full(20, 200, np.int64)
    found, before = inputs_at(panel, layout, np.zeros(20, np.int64), origins), panel.y.copy()
    found.target[:] = 0.0
    np.testing.assert_array_equal(panel.y, before)
