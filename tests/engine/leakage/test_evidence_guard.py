"""Every figure of a report is held against its stored predictions, and these against the data."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as parquet
import pytest
from forecast_toys import REFERENCES_ONLY
from leakage_toys import HOURS

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.backtest import backtest
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.factory.leakage_evidence import check_evidence
from mcp_forecast_engine.store.identity import canonical_bytes


@pytest.fixture(scope="module")
def stored() -> tuple[Panel, dict[str, Any], bytes]:
    panel = HOURS.panel()
    made = backtest(panel, plan_for(panel, 24), REFERENCES_ONLY)
    return panel, json.loads(canonical_bytes(made.report.to_dict())), made.predictions(panel)


@pytest.mark.parametrize(
    "place",
    [
        ("arms", 1, "metrics", 0, "value"), ("arms", 2, "coverage_by_step", "80", 5), ("scored_steps",), ("series",),
        ("comparisons", 0, "skill"), ("comparisons", 0, "low"), ("comparisons", -1, "high"),
    ],
    ids=str,
)  # fmt: skip
def test_every_figure_of_the_report_is_held_against_the_predictions(
    stored: tuple[Panel, dict[str, Any], bytes], place: tuple[str | int, ...]
) -> None:
    panel, document, predictions = stored
    assert check_evidence(document, predictions, panel, HOURS.frame).status == "passed"
    changed = json.loads(json.dumps(document))
    *way, last = place
    inner = changed
    for key in way:
        inner = inner[key]
    inner[last] = inner[last] * 1.000001 + 1e-9
    found = check_evidence(changed, predictions, panel, HOURS.frame)
    assert found.status == "violated"
    assert f"is reported as {inner[last]}" in found.detail


def test_other_predictions_and_none_are_violations(stored: tuple[Panel, dict[str, Any], bytes]) -> None:
    panel, document, predictions = stored
    for wrong in (b"", predictions[:-20]):
        assert check_evidence(document, wrong, panel, HOURS.frame).status == "violated"
    later = replace(panel, y=np.append(panel.y[:-1], panel.y[-1] + 1e-9))
    assert "other truth" in check_evidence(document, predictions, later, HOURS.frame).detail
    table = parquet.read_table(io.BytesIO(predictions))
    packed = io.BytesIO()
    parquet.write_table(table.filter(pc.not_equal(table["arm"], "seasonal_naive")), packed)
    found = check_evidence(document, packed.getvalue(), panel, HOURS.frame)
    assert "no predictions of seasonal_naive" in found.detail
