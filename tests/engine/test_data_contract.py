"""Covariates and future rows from a caller's side: what does not fit has its code, what does fit loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_toys import SERVING, Row, built, daily, refused, stamp, zoned

from mcp_forecast_engine.data.columns import Correction
from mcp_forecast_engine.data.future import with_future
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.data.registration import DatasetRequest, from_rows
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.serving.plan import InferencePlan
from mcp_forecast_engine.serving.request import require_same_columns, resolve
from mcp_forecast_engine.store.artifacts import ArtifactStore

# --- covariates of another dataset than that of training


def summary_of(rows: list[Row], tmp_path: Path, *corrections: Row) -> dict[str, Any]:
    asked = DatasetRequest(columns={"target": "y"}, covariates=corrections)
    return from_rows(rows, asked, ArtifactStore(tmp_path)).summary


ROLES = ({"name": "heat", "role": "known_future"}, {"name": "plan", "role": "known_future"})


def planned(summary: dict[str, Any], tmp_path: Path, **asked: Any) -> InferencePlan:
    plan = {"dataset_id": "ds_trained", "season_length": 7, "preprocessing": [], "covariates": ["heat", "plan"]}
    run = Run(
        run_id="run_0", run_key="k", kind="training", state="SUCCEEDED", plan=plan, caller="c", created_at=0.0,
        started_at=0.0, ended_at=1.0, attempt=1, losses=0, epoch=1, lease_owner=None, lease_until=None,
        worker_pid=None, worker_started=None, cancel_requested=False, wall_limit_s=60.0, progress_done=1,
        progress_total=1, progress_text="", result="sha256:11", error=None,
    )  # fmt: skip
    whole: Row = {"run_id": "run_0", "dataset_id": None, "horizon": None, "future": None, "levels": (80,), **asked}
    return resolve(run, {"serving": SERVING}, summary, ArtifactStore(tmp_path), **whole)


def test_extra_and_reordered_columns_are_the_same_request_to_the_model(tmp_path: Path) -> None:
    rows = daily()
    turned = [dict(reversed(row.items())) for row in rows]
    more = [{**row, "noise": i % 13} for i, row in enumerate(rows)]
    plain, reordered, extra = (planned(summary_of(made, tmp_path, *ROLES), tmp_path) for made in (rows, turned, more))
    assert plain.run_key == reordered.run_key
    assert extra.body["covariates"] == plain.body["covariates"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"heat": None}, "'heat' as numeric known_future; in the dataset it is absent"),
        ({"heat": lambda i: ("hot", "cold")[i % 2]}, "in the dataset it is categorical known_future"),
        ({"heat": lambda i: None if i == 3 else float(i)}, "'heat' is required, and was complete in training"),
    ],
    ids=["missing", "retyped", "absent values"],
)
def test_a_required_covariate_that_does_not_fit_fails_before_any_work(change: Row, told: str, tmp_path: Path) -> None:
    columns = {name: make for name, make in change.items() if make is not None}
    rows = [{name: value for name, value in row.items() if change.get(name, 0) is not None} for row in daily(**columns)]
    corrections = [one for one in ROLES if one["name"] in rows[0]]
    summary = summary_of(rows, tmp_path, *corrections)
    body = refused(lambda: planned(summary, tmp_path))
    assert (body["code"], body["field"]) == ("COVARIATES_MISMATCH", "dataset_id")
    assert told in body["message"]


def test_an_optional_covariate_may_be_absent_and_flags_serve_as_numbers(tmp_path: Path) -> None:
    rows = [{name: value for name, value in row.items() if name != "plan"} for row in daily()]
    assert planned(summary_of(rows, tmp_path, ROLES[0]), tmp_path).body["covariates"] == ["heat", "plan"]
    flags = daily(heat=lambda i: i * 7 % 3 % 2)
    assert planned(summary_of(flags, tmp_path, *ROLES), tmp_path).series_count == 1


def test_a_wrong_horizon_step_or_target_has_its_code(tmp_path: Path) -> None:
    summary = summary_of(daily(), tmp_path, *ROLES)
    assert refused(lambda: planned(summary, tmp_path, horizon=8))["field"] == "horizon"
    hours = [{**row, "ds": stamp("2025-01-01T00:00", i, "h")} for i, row in enumerate(daily())]
    other = summary_of(hours, tmp_path, *ROLES)
    assert refused(lambda: planned(other, tmp_path))["code"] == "COVARIATES_MISMATCH"
    assert refused(lambda: planned({**summary, "target": "z"}, tmp_path))["code"] == "DATA_INVALID"


def test_data_on_another_clock_is_refused() -> None:
    berlin = built(zoned(48, "2024-10-20T22:00"), time_zone="Europe/Berlin").schema
    serving = {"target": "y", "wide": [], "series": [], "axis": "calendar", "zone": "Europe/Berlin"}
    require_same_columns(serving, berlin)
    utc = built([{**row, "ds": row["ds"][:19] + "Z"} for row in zoned(48, "2024-10-20T22:00")]).schema
    body = refused(lambda: require_same_columns(serving, utc))
    assert "the wall clock of zone 'Europe/Berlin'; the dataset has 'UTC'" in body["message"]


# --- future rows


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({"heat": None}, "COVARIATES_MISMATCH", "lack heat"),
        ({"heat": float("nan")}, "COVARIATES_MISMATCH", "lack heat"),
        ({"heat": float("inf")}, "DATA_INVALID", "'heat' is inf"),
        ({"heat": "hot"}, "DATA_INVALID", "not numeric"),
        ({"flag": 7}, "DATA_INVALID", "not boolean"),
        ({"wind": 3}, "DATA_INVALID", "'wind', which the dataset does not have"),
        ({"ds": "2025-03-03T12:00:00"}, "DATA_INVALID", "between the steps"),
        ({"ds": 3}, "DATA_INVALID", "holds step numbers"),
    ],
)
def test_a_future_row_that_does_not_fit_has_its_code(change: Row, code: str, told: str) -> None:
    asked = (Correction("heat", role="known_future"), Correction("flag", role="known_future"))
    data = built(daily(flag=lambda i: i * 5 % 3 % 2), target="y", covariates=asked)
    panel, _ = to_panel(data.frame)
    rows: list[Row] = [{"ds": stamp("2025-03-02", i, "D"), "heat": 3.0, "flag": 1} for i in range(3)]
    changed = (
        [{**row, **change} for row in rows] if change.get("ds") == 3 else [rows[0], {**rows[1], **change}, rows[2]]
    )
    body = refused(lambda: with_future(panel, data.schema, changed, 3, ["heat", "flag"]))
    assert (body["code"], body["field"]) == (code, "future")
    assert told in body["message"]


def test_future_rows_share_their_columns_but_do_not_contradict_each_other() -> None:
    asked = (Correction("heat", role="known_future"), Correction("plan", role="known_future"))
    data = built(daily(), target="y", covariates=asked)
    panel, _ = to_panel(data.frame)
    days = [stamp("2025-03-02", i, "D") for i in range(2)]
    parts = [{"ds": at, name: value} for at in days for name, value in (("heat", 3.0), ("plan", 1.0))]
    found, _ = with_future(panel, data.schema, parts, 2, ["heat", "plan"])
    assert (found.future["heat"].tolist(), found.future["plan"].tolist()) == ([[3, 3]], [[1, 1]])
    body = refused(lambda: with_future(panel, data.schema, [*parts, {"ds": days[1], "heat": 4.0}], 2, ["heat", "plan"]))
    assert "two future rows give 'heat' of 'y' at 2025-03-03" in body["message"]


def test_an_optional_column_may_be_missing_from_future_rows_and_derived_ones_stay() -> None:
    data = built(daily(), target="y", covariates=(Correction("heat", role="known_future"),))
    panel, _ = to_panel(data.frame)
    rows = [{"ds": stamp("2025-03-02", i, "D"), "heat": 3.0} for i in range(2)]
    panel = type(panel)(**{**vars(panel), "future": {"holiday_US": np.ones((1, 2))}})
    found, _ = with_future(panel, data.schema, rows, 2, ["heat", "plan"], optional=["plan"])
    assert np.isnan(found.future["plan"]).all()
    assert found.future["holiday_US"].tolist() == [[1, 1]]


def test_each_known_column_has_the_future_it_was_given() -> None:
    rows = [*daily(40), *({"ds": stamp("2025-02-10", i, "D"), "heat": 9.0, "plan": 1.0 if i < 2 else None}
                          for i in range(5))]  # fmt: skip
    asked = tuple(Correction(name, role="known_future") for name in ("heat", "plan"))
    data = built(rows, target="y", covariates=asked)
    assert {c.name: c.nullable for c in data.schema.covariates} == {"heat": False, "plan": False}
    panel, _ = to_panel(data.frame)
    assert {name: values.shape for name, values in panel.future.items()} == {"heat": (1, 5), "plan": (1, 2)}
    assert panel.future_ds.shape == (1, 2)


def test_a_hole_in_the_future_of_the_data_is_not_filled_in_silence() -> None:
    rows = [*daily(40), *({"ds": stamp("2025-02-10", i, "D"), "heat": None if i == 2 else 9.0} for i in range(5))]
    data = built(rows, target="y", covariates=(Correction("heat", role="known_future"),))
    panel, _ = to_panel(data.frame)
    assert panel.future["heat"].tolist() == [[9, 9]]
