"""A training on revised data is measured by what its forecasts could read: its error is that of the model served."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forecast_toys import REFERENCES_ONLY
from label_toys import built, plan_of, registered
from leaking_runs import Ended, Work, trained
from numpy.typing import NDArray

from mcp_forecast_engine.data.columns import ColumnRoles
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.evaluation.adaptive import issue
from mcp_forecast_engine.evaluation.backtest import backtest
from mcp_forecast_engine.evaluation.plan import origins_of
from mcp_forecast_engine.evaluation.predictions import Stored, read_predictions
from mcp_forecast_engine.evaluation.rolling import _outcomes
from mcp_forecast_engine.factory.prepared import Prepared, prepare
from mcp_forecast_engine.models.features import tail_inputs
from mcp_forecast_engine.serving.session import load_model
from mcp_forecast_engine.store.artifacts import ArtifactStore

Rows = list[dict[str, Any]]
FIRST, DAYS, SEASON = date(2022, 1, 1), 200, 7
STORES = ("east", "north", "south")


def told(part: float, *, after: int, days: int = DAYS, stores: tuple[str, ...] = STORES) -> Rows:
    """Each day's value of each store times a part, as it was told so many days later."""
    draw, found = np.random.default_rng(5), []
    for store in stores:
        level = 100 + np.cumsum(2 * draw.normal(size=days))
        values = level + 20 * np.sin(2 * np.pi * np.arange(days) / SEASON) + draw.normal(size=days)
        for at, value in enumerate(values.tolist()):
            day = FIRST + timedelta(days=at)
            seen = (day + timedelta(days=after)).isoformat()
            found.append({"ds": day.isoformat(), "store": store, "y": round(part * value, 3), "seen": seen})
    return found


def work_on(rows: Rows) -> Work:
    asked = {"horizon": SEASON, "label_asof": max(one["seen"] for one in rows)}
    return Work(lambda: rows, asked, {"observed": "seen", "series": ["store"]})


def plain(rows: Rows) -> Work:
    """The same without saying when it became known."""
    bare = [{name: one[name] for name in ("ds", "store", "y")} for one in rows]
    return Work(lambda: bare, {"horizon": SEASON}, {"series": ["store"]})


def kept(ended: Ended, step: str) -> bytes:
    return ended.home.artifacts.get(ended.home.steps(ended.run.run_id)[step])


def evaluation(ended: Ended) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kept(ended, "evaluate"))
    return found


def mase_of(found: dict[str, Any], name: str) -> float:
    arm = next(arm for arm in found["arms"] if arm["name"] == name)
    return float(next(metric["value"] for metric in arm["metrics"] if metric["name"] == "MASE"))


def known(rows: Rows, cutoff: str) -> dict[tuple[str, str], float]:
    """What stood the day after a day, by hand."""
    asked = (date.fromisoformat(cutoff) + timedelta(days=1)).isoformat()
    found = {}
    for one in sorted(rows, key=lambda one: str(one["seen"])):
        if one["ds"] <= cutoff and one["seen"] <= asked:
            found[one["store"], one["ds"]] = float(one["y"])
    return found


def error(stored: Stored, medians: dict[tuple[str, str], NDArray[np.float64]]) -> float:
    """MASE of medians by store and cutoff: a mean per store, then over stores."""
    by_store: dict[str, list[float]] = {}
    for at, (store, cutoff) in enumerate(zip(stored.unique_id, stored.cutoff, strict=True)):
        missed = np.abs(stored.y[at] - medians[store, cutoff[:10]]).mean() / stored.scale[at]
        by_store.setdefault(store, []).append(float(missed))
    return float(np.mean([np.mean(errors) for errors in by_store.values()]))


def test_the_error_is_that_of_the_served_model_on_what_was_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = told(0.8, after=1) + told(1.0, after=10)
    ended = trained(work_on(rows), tmp_path, monkeypatch)
    assert ended.alarms == []
    found = evaluation(ended)
    stored, session = read_predictions(kept(ended, "predict")), load_model(kept(ended, "train"))
    arm, median = stored[found["chosen"]], session.contract.levels.index(0.5)
    served, repeated = {}, {}
    for cutoff in sorted({text[:10] for text in arm.cutoff}):
        then = known(rows, cutoff)
        table = [{"ds": ds, "store": store, "y": y} for (store, ds), y in then.items()]
        panel, _ = to_panel(built(table, ColumnRoles(series=("store",))).frame, season_length=SEASON)
        answer = session.run(tail_inputs(panel, session.contract.layout))[:, :, median]
        for store, path, end in zip(panel.unique_id, answer, panel.offsets[1:], strict=True):
            served[store, cutoff] = path
            repeated[store, cutoff] = panel.y[end - SEASON : end]
    # The served model was fitted later than those of the windows: the same but for a few days more to learn from.
    assert mase_of(found, found["chosen"]) == pytest.approx(error(arm, served), rel=0.02)
    assert mase_of(found, "seasonal_naive") == pytest.approx(error(stored["seasonal_naive"], repeated), rel=1e-9)
    assert mase_of(found, "seasonal_naive") > 3  # a fifth off: what the newest revisions would never show


def late_month(folder: Path) -> Prepared:
    """One store whose values are a fifth too low for a month."""
    artifacts = ArtifactStore(folder)
    rows = told(0.8, after=1, stores=("east",)) + told(1.0, after=30, stores=("east",))
    end = max(str(one["seen"]) for one in rows)
    return prepare(plan_of(registered(rows, artifacts), horizon=SEASON, covariates=[], label_asof=end), artifacts)


def test_what_serves_today_reads_what_was_known_too(tmp_path: Path) -> None:
    made = late_month(tmp_path)
    first = backtest(made.panel, made.windows, REFERENCES_ONLY)
    again = backtest(made.panel, made.windows, REFERENCES_ONLY, active=first.report.arm("target_only"))
    assert np.array_equal(again.run("active").issued.together, first.run("target_only").issued.together)


def test_bands_are_learned_from_outcomes_as_they_were_known(tmp_path: Path) -> None:
    made = late_month(tmp_path)
    run = backtest(made.panel, made.windows, REFERENCES_ONLY).run("target_only")
    origins = origins_of(made.panel, made.windows)
    known = _outcomes(made.panel, origins, [step.truth for step in run.steps], made.windows)
    last = len(origins) - 1
    late = {ended for window, ended in known if window == last}
    assert 10 < len(late) < last  # of windows a day apart those of the last thirty days, but for those not ended yet
    wild = [
        replace(step, truth=replace(step.truth, y=9 * step.truth.y), residual=9 + step.residual) if at in late else step
        for at, step in enumerate(run.steps)
    ]
    settled, moved = (issue(steps, made.windows, plain=run.plain, known=known) for steps in (run.steps, wild))
    assert np.array_equal(settled.quantiles[last], run.issued.quantiles[last])
    assert np.array_equal(moved.quantiles[last], settled.quantiles[last])
    unknown = issue(wild, made.windows, plain=run.plain)
    assert not np.array_equal(unknown.quantiles[last], settled.quantiles[last])


@pytest.mark.parametrize(
    "rows", [told(1.0, after=3), told(1.0, after=1) + told(1.0, after=9)], ids=["late alike", "revised to the same"]
)
def test_where_revisions_change_nothing_the_evaluation_is_that_of_plain_data(
    rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = trained(work_on(rows), tmp_path / "revised", monkeypatch)
    bare = trained(plain(told(1.0, after=1)), tmp_path / "plain", monkeypatch)
    assert ended.alarms == []
    assert evaluation(ended) == evaluation(bare)
    assert kept(ended, "train") == kept(bare, "train")
