"""A model answers for the columns it was trained on: target, wide targets, series columns, kind of time axis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mcp_forecast_engine.data.frame import TimeAxis
from mcp_forecast_engine.data.schema import DatasetSchema
from mcp_forecast_engine.errors import DataInvalid
from mcp_forecast_engine.serving.request import require_same_columns

WIDE = tuple(f"meter{n:02d}" for n in range(25))
TRAINED = DatasetSchema("ds", "", (), WIDE, TimeAxis("calendar", "D"), (), ())
SERVING: dict[str, Any] = {"target": ", ".join(WIDE[:20]), "wide": list(WIDE), "series": [], "axis": "calendar"}


def test_the_same_columns_are_accepted() -> None:
    require_same_columns(SERVING, TRAINED)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"wide": (*WIDE[:24], "gas")}, "wide targets"),  # beyond what a summary names
        ({"wide": (), "target": "y"}, "'y'"),
        ({"series": ("site",)}, "series columns none; the dataset has 'site'"),
        ({"axis": TimeAxis("integer", "1")}, "kind 'calendar'; the dataset has 'integer'"),
    ],
)
def test_other_columns_are_refused_naming_both(change: dict[str, Any], told: str) -> None:
    with pytest.raises(DataInvalid, match=told) as refusal:
        require_same_columns(SERVING, replace(TRAINED, **change))
    assert refusal.value.field == "dataset_id"
    assert refusal.value.next_step
