"""A data scientist's check: whoever has the stored predictions computes the report's numbers with a public library."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace

import numpy as np
import pyarrow.parquet as parquet
import pytest
from forecast_toys import REFERENCES_ONLY, hourly, panel_of

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.evaluation import predictions
from mcp_forecast_engine.evaluation.backtest import Backtest, backtest
from mcp_forecast_engine.evaluation.breakdown import PartScores
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.evaluation.predictions import COLUMNS, LEVEL_NAMES, kept_arms, read_predictions
from mcp_forecast_engine.models.spec import QUANTILES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandas as pd
    from utilsforecast import losses

DECILES = [level for level in QUANTILES if 0.1 <= level <= 0.9]


def gappy_series(series: int = 11) -> Panel:
    """Integer time, lengths and levels apart, a fifth of the last part filled in, one series that never changes.

    They come from two countries, one of them unknown, and from shops of all sizes.
    """
    draw = np.random.default_rng(3)
    made = [
        (i + 1) * (12 + 3 * np.sin(np.arange(n) * 2 * np.pi / 12) + draw.normal(size=n))
        for i, n in enumerate(draw.integers(84, 110, size=series))
    ]
    panel = panel_of(
        [*made, np.full(90, 5.0)],
        season_length=12,
        freq="1",
        static={
            "country": [-1.0, *(float(i % 2) for i in range(series))],
            "size": [3.0, 3.0, *(float(11 - i) for i in range(series - 1))],
        },
        categories={"country": ("AT", "DE")},
    )
    return replace(panel, observed=draw.random(len(panel.y)) > 0.2)


def made(panel: Panel, horizon: int) -> tuple[Panel, Backtest, bytes]:
    found = backtest(panel, plan_for(panel, horizon), REFERENCES_ONLY)
    return panel, found, found.predictions(panel)


@pytest.fixture(scope="module", params=["calendar time, one series", "integer time, many series with gaps"])
def run(request: pytest.FixtureRequest) -> tuple[Panel, Backtest, bytes]:
    return made(hourly(40), 24) if "one series" in request.param else made(gappy_series(), 6)


def scores(frame: pd.DataFrame) -> dict[str, float]:
    """The report's figures by utilsforecast, from one arm's rows alone."""
    frame = frame[frame["observed"]].rename(columns={"q0.5": "m"}).drop(columns="cutoff")  # else it is grouped by
    frame = frame.assign(ds=np.arange(len(frame)), **{"m-lo-80": frame["q0.1"], "m-hi-80": frame["q0.9"]})
    frame = frame.assign(**{"m-lo-95": frame["q0.025"], "m-hi-95": frame["q0.975"], "q0.5": frame["m"]})
    whole = frame.assign(unique_id="all")  # pooled over the series
    deciles = {"m": [f"q{level:g}" for level in DECILES]}
    levels = {"m": list(LEVEL_NAMES)}
    by_series = losses.mae(frame, ["m"]).set_index("unique_id")["m"]
    scale = frame.groupby("unique_id")["scale"].first()
    return {
        "MASE": (by_series / scale)[scale > 0].mean(),
        "WQL": 2 * losses.mqloss(whole, deciles, np.array(DECILES))["m"].iloc[0] / np.abs(whole["y"]).mean(),
        "sMAPE": 200 * losses.smape(whole, ["m"])["m"].iloc[0],
        "MAE": losses.mae(whole, ["m"])["m"].iloc[0],
        "RMSE": losses.rmse(whole, ["m"])["m"].iloc[0],
        "coverage_80": losses.coverage(whole, ["m"], 80)["m"].iloc[0],
        "coverage_95": losses.coverage(whole, ["m"], 95)["m"].iloc[0],
        "pinball": losses.mqloss(whole, levels, np.array(QUANTILES))["m"].iloc[0],
    }


def test_every_number_of_every_arm_is_computed_again_by_a_public_library(run: tuple[Panel, Backtest, bytes]) -> None:
    _, found, data = run
    frame = parquet.read_table(io.BytesIO(data)).to_pandas()
    assert set(frame["arm"]) == {arm.name for arm in found.report.arms}
    for arm in found.report.arms:
        theirs = scores(frame[frame["arm"] == arm.name])
        for metric in arm.metrics:
            assert metric.value == pytest.approx(theirs[metric.name], rel=1e-9, abs=1e-12), (arm.name, metric.name)


def within(frame: pd.DataFrame, panel: Panel, part: PartScores) -> pd.DataFrame:
    """The stored rows of a part of the test, found by what its label says."""
    if part.by == "horizon":
        steps = [int(step) for step in part.label.split("-")]
        return frame[frame["step"].between(steps[0], steps[-1])]
    codes = panel.covariates[part.by][panel.offsets[:-1]]
    if part.by == "size":
        sizes = [float(number) for number in part.label.split(" to ")]
        of = [name for name, size in zip(panel.unique_id, codes, strict=True) if sizes[0] <= size <= sizes[-1]]
    else:
        words = ["(all others)" if code < 0 else panel.categories[part.by][int(code)] for code in codes]
        of = [name for name, word in zip(panel.unique_id, words, strict=True) if word == part.label]
    return frame[frame["unique_id"].isin(of)]


def scaled_error(frame: pd.DataFrame) -> float:
    """Of one arm's rows, the mean of |y - median| / scale, pooled."""
    frame = frame[frame["observed"] & (frame["scale"] > 0)].drop(columns="cutoff")
    whole = frame.assign(unique_id="all", y=frame["y"] / frame["scale"], m=frame["q0.5"] / frame["scale"])
    return float(losses.mae(whole, ["m"])["m"].iloc[0])


def test_every_number_by_steps_ahead_and_by_group_is_computed_again_too(run: tuple[Panel, Backtest, bytes]) -> None:
    panel, found, data = run
    frame = parquet.read_table(io.BytesIO(data)).to_pandas()
    parts = [part for part in found.report.part_scores if part.by != "season"]
    assert {part.by for part in parts} == {"horizon"} | ({"country", "size"} if len(panel.unique_id) > 1 else set())
    pair = (found.report.chosen, "seasonal_naive")
    skills = {(part.by, part.label): part for part in found.report.parts if (part.arm, part.against) == pair}
    for part in parts:
        rows = {arm: within(frame[frame["arm"] == arm], panel, part) for arm in part.scores}
        for arm, told in part.scores.items():
            theirs = scores(rows[arm])
            assert part.steps == rows[arm]["observed"].sum()
            assert part.series == rows[arm][rows[arm]["observed"]]["unique_id"].nunique()
            for name, value in told.items():
                assert value == pytest.approx(theirs[name], rel=1e-9, abs=1e-12, nan_ok=True), (part, arm, name)
        mine, naive = (scaled_error(rows[arm]) for arm in pair)
        skill = skills[part.by, part.label]
        assert skill.skill == pytest.approx(1 - mine / naive, rel=1e-9, abs=1e-12)
        assert skill.value_added == pytest.approx(naive - mine, rel=1e-9, abs=1e-12)


def test_the_stored_scale_is_the_seasonal_change_before_the_first_test_window() -> None:
    panel, found, data = made(hourly(40), 24)
    stored = read_predictions(data)["target_only"]
    train = panel.y[
        : np.searchsorted(panel.ds, np.datetime64(stored.cutoff[0]).astype("datetime64[s]").astype(int)) + 1
    ]
    assert stored.scale[0] == pytest.approx(np.abs(train[24:] - train[:-24]).mean(), rel=1e-12)
    frame = parquet.read_table(io.BytesIO(data)).to_pandas()
    frame = (
        frame[frame["arm"] == "target_only"].drop(columns="cutoff").assign(unique_id="s", m=lambda rows: rows["q0.5"])
    )
    theirs = losses.mase(frame, ["m"], 24, pd.DataFrame({"unique_id": "s", "ds": np.arange(len(train)), "y": train}))
    assert found.report.arm("target_only").metric("MASE") == pytest.approx(theirs["m"].iloc[0], rel=1e-9)


def test_the_file_holds_every_column_every_window_and_the_truth_of_the_panel(
    run: tuple[Panel, Backtest, bytes],
) -> None:
    panel, found, data = run
    table, plan = parquet.read_table(io.BytesIO(data)), found.report.plan
    assert tuple(table.column_names) == COLUMNS
    stored = read_predictions(data)[found.report.chosen]
    assert stored.observed.sum() == found.report.scored_steps
    assert len(set(zip(stored.unique_id, stored.cutoff, strict=True))) == len(stored.y)
    assert stored.y.shape[1] == stored.path.shape[1] == stored.quantiles.shape[1] == plan.horizon
    assert (np.diff(stored.quantiles, axis=2) >= 0).all()
    clock = [str(at) if panel.axis.kind == "integer" else str(np.datetime64(int(at), "s")) for at in panel.ds]
    names = np.repeat(panel.unique_id, panel.lengths)
    at = {key: row for row, key in enumerate(zip(names, clock, strict=True))}
    rows = np.array([[at[name, ds] for ds in line] for name, line in zip(stored.unique_id, stored.ds, strict=True)])
    assert np.array_equal(panel.y[rows], stored.y)
    assert np.array_equal(panel.observed[rows], stored.observed)
    cutoffs = np.array([at[key] for key in zip(stored.unique_id, stored.cutoff, strict=True)])
    assert np.array_equal(rows[:, 0], cutoffs + 1)  # the first step ahead follows the last known one


def test_equal_runs_store_equal_bytes(run: tuple[Panel, Backtest, bytes]) -> None:
    panel, found, data = run
    assert found.predictions(panel) == data
    again = backtest(panel, found.report.plan, REFERENCES_ONLY)
    assert again.report.to_dict() == found.report.to_dict()
    assert again.predictions(panel) == data


def test_of_too_many_rows_only_the_arms_that_decide_are_kept(
    run: tuple[Panel, Backtest, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    deciding = ("chosen", "seasonal_naive", "active")
    rows = {"seasonal_naive": 500_000, "target_only": 500_000, "chosen": 500_000, "other": 500_000}
    assert kept_arms(rows, deciding) == tuple(rows)
    assert kept_arms({**rows, "active": 1}, deciding) == ("seasonal_naive", "chosen", "active")
    panel, found, _ = run
    monkeypatch.setattr(predictions, "MOST_ROWS", 10)
    assert set(read_predictions(found.predictions(panel))) == {"seasonal_naive", found.report.chosen}


def test_bytes_that_are_no_predictions_are_refused() -> None:
    with pytest.raises(ArtifactCorrupt, match="no predictions"):
        read_predictions(b"PAR1 and nothing else PAR1")
