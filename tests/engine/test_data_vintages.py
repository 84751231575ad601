"""What a window of a backtest reads of revised data: what was known when it was forecast, and nothing newer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_toys import Rows, plan_of, registered, row

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.steps import DEFAULT_STEPS, Resample, step_to_dict
from mcp_forecast_engine.evaluation.plan import origins_of
from mcp_forecast_engine.evaluation.windows import truth_at, window_at
from mcp_forecast_engine.factory.prepared import Prepared, prepare
from mcp_forecast_engine.store.artifacts import ArtifactStore

DAYS, HORIZON = 60, 7
END = "2024-06-01T00:00:00Z"


def prepared(rows: Rows, folder: Path, **changed: Any) -> Prepared:
    artifacts = ArtifactStore(folder)
    asked = {"horizon": HORIZON, "label_asof": END, "holidays": None, **changed}
    return prepare(plan_of(registered(rows, artifacts), **asked), artifacts)


def days(store: str = "north", *, seen: float = 1, of: int = DAYS) -> Rows:
    """Day by day, each seen so many days later."""
    return [row(day, store, 100.0 + day, seen=seen, stock=float(day % 5)) for day in range(of)]


def revised(first: float, after: float, **more: Any) -> Rows:
    """Each value first that part of what it is, and what it is so many days later."""
    told = days(**more)
    late = [row(at, told[0]["store"], 100.0 + at, seen=after, stock=float(at % 5)) for at in range(len(told))]
    return [{**one, "y": first * one["y"]} for one in told] + late


def known_at_last(made: Prepared) -> tuple[Panel, np.ndarray[Any, Any]]:
    origin = origins_of(made.panel, made.windows)[-1]
    return made.panel.as_known(origin), origin


def test_a_window_reads_first_values_where_they_were_not_revised_yet_and_is_scored_by_the_last(tmp_path: Path) -> None:
    made = prepared(revised(0.8, 10), tmp_path)
    origin = origins_of(made.panel, made.windows)[-1]
    history, day = window_at(made.panel, origin, HORIZON).history, np.arange(origin[0])
    # Forecast the day after the last one: of the days up to nine days before that the revision had come.
    assert history.y == pytest.approx((100.0 + day) * np.where(day <= origin[0] - 10, 1.0, 0.8))
    assert truth_at(made.panel, origin, HORIZON).y[0] == pytest.approx(100.0 + origin[0] + np.arange(HORIZON))
    assert made.panel.y == pytest.approx(100.0 + np.arange(DAYS))


def test_each_series_is_asked_when_its_own_last_value_became_known(tmp_path: Path) -> None:
    made = prepared(revised(0.5, 3) + revised(0.5, 3, store="south", seen=2), tmp_path)
    known, origin = known_at_last(made)
    start = known.offsets[:-1] + origin
    halves = [known.y[at - 4 : at] / made.panel.y[at - 4 : at] for at in start]
    assert halves[0] == pytest.approx([1, 1, 0.5, 0.5])  # seen a day later, revised after three
    assert halves[1] == pytest.approx([1, 1, 1, 0.5])


def test_what_nobody_had_observed_yet_was_a_gap(tmp_path: Path) -> None:
    rows = days()
    rows[47] = row(47, "north", 147.0, seen=20, stock=2.0)
    made = prepared(rows, tmp_path)
    origins = [o for o in origins_of(made.panel, made.windows) if o[0] > 48]
    for origin in origins:
        known = made.panel.as_known(origin)
        late = bool(origin[0] < 47 + 20)
        assert bool(known.observed[47]) is not late
        assert (known.y[47] == 147.0) is not late  # filled from the days before, as the run fills its gaps
    assert origins
    assert made.panel.observed.all()


def test_covariates_are_read_as_they_were_and_ahead_as_they_had_been_sent(tmp_path: Path) -> None:
    rows = days()
    told = [{**row(day, "north", None, seen=-8), "promo": 9.0} for day in range(DAYS)]
    late = [{**one, "seen": other["seen"], "stock": 50.0} for one, other in zip(rows, days(seen=9), strict=True)]
    made = prepared(told + rows + late, tmp_path)
    known, origin = known_at_last(made)
    end = int(origin[0])
    assert known.covariates["stock"][end - 9 : end] != pytest.approx(50.0)
    assert known.covariates["stock"][end - 12 : end - 9] == pytest.approx(50.0)
    assert made.panel.roles["promo"] == "known_future"
    assert known.covariates["promo"][end : end + HORIZON] == pytest.approx(9.0)
    assert made.panel.covariates["promo"][end : end + HORIZON] != pytest.approx(9.0)


def test_a_beginning_that_was_not_known_repeats_its_first_value_and_counts_as_unmeasured(tmp_path: Path) -> None:
    rows = days()
    for day in range(5):
        rows[day] = row(day, "north", 100.0 + day, seen=200, stock=0.0)
    known, _ = known_at_last(prepared(rows, tmp_path, label_asof="2024-12-01T00:00:00Z"))
    assert known.y[:6].tolist() == [105.0] * 6
    assert known.observed[:6].tolist() == [False] * 5 + [True]


def test_longer_steps_are_made_of_what_was_known_of_their_days(tmp_path: Path) -> None:
    weekly = [step_to_dict(one) for one in (*DEFAULT_STEPS, Resample(freq="W-SUN", target="sum"))]
    made = prepared(
        revised(0.5, 10, of=20 * 7), tmp_path, horizon=2, season_length=1, preprocessing=weekly,
        label_asof="2024-12-01T00:00:00Z",
    )  # fmt: skip
    known, origin = known_at_last(made)
    share = known.y[: origin[0]] / made.panel.y[: origin[0]]
    # Asked on the Monday after: the last week had not been revised, of the one before it five days had.
    assert share[-3] == pytest.approx(1.0)
    assert 0.5 < share[-2] < 1.0
    assert share[-1] == pytest.approx(0.5)


@pytest.mark.parametrize("rows", [days(seen=4), revised(1.0, 10)], ids=["published late", "revised to the same"])
def test_where_no_value_changed_there_are_no_vintages(rows: Rows, tmp_path: Path) -> None:
    made = prepared(rows, tmp_path)
    assert made.panel.vintages is None
    assert not any("read as it was known then" in text for text in made.report.warnings)


def test_a_result_says_how_much_was_read_before_it_was_revised(tmp_path: Path) -> None:
    made = prepared(revised(0.8, 10), tmp_path)
    told = [text for text in made.report.warnings if "read as it was known then" in text]
    assert len(told) == 1
    count, read = int(told[0].split()[0]), int(told[0].split()[2])
    assert read == max(int(origin[0]) for origin in origins_of(made.panel, made.windows))
    assert 9 <= count < read


def test_a_value_that_came_after_the_truth_is_a_gap_and_nobody_waits_for_it(tmp_path: Path) -> None:
    rows, last = revised(0.5, 40), DAYS - HORIZON - 1  # the day before the origin of the last window
    late = [one for one in rows if one["ds"] != row(last, "north", None, seen=1)["ds"]]
    made = prepared([*late, row(last, "north", 100.0 + last, seen=45)], tmp_path, label_asof="2024-12-01T00:00:00Z")
    known, origin = known_at_last(made)
    assert origin[0] == last + 1
    assert known.y[last - 12 : last] / made.panel.y[last - 12 : last] == pytest.approx(0.5)
    assert not known.observed[last]
    assert made.panel.observed[last]


def test_history_that_was_loaded_at_once_is_read_whole(tmp_path: Path) -> None:
    made = prepared([row(day, "north", 100.0 + day, seen=90 - day) for day in range(DAYS)], tmp_path)
    assert made.panel.vintages is None


def test_where_the_newest_was_loaded_first_no_history_is_made_of_the_truth(tmp_path: Path) -> None:
    rows = [row(day, "north", 100.0 + day, seen=90 - 1.01 * day) for day in range(DAYS)]
    known, origin = known_at_last(prepared(rows, tmp_path))
    assert known.y[: origin[0]] == pytest.approx(100.0 + origin[0] - 1)


def test_windows_read_no_value_that_is_too_young(tmp_path: Path) -> None:
    made = prepared(revised(0.5, 10), tmp_path, label_asof="2024-12-01T00:00:00Z", maturity_days=12)
    assert made.panel.vintages is None  # whoever waits twelve days reads each value as it was revised after ten
    early, origin = known_at_last(prepared(revised(0.5, 10), tmp_path, maturity_days=6))
    assert early.y[origin[0] - 5 : origin[0]] / (100.0 + np.arange(origin[0] - 5, origin[0])) == pytest.approx(
        [1, 0.5, 0.5, 0.5, 0.5]
    )


def test_a_covariate_that_was_never_sent_ahead_is_said_to_flatter_the_tests(tmp_path: Path) -> None:
    ahead = [{**row(DAYS + day, "north", None, seen=-day - 1), "promo": float(day == 2)} for day in range(HORIZON)]
    made = prepared(days() + ahead, tmp_path)
    said = [text for text in made.cautions if "promo" in text]
    count = HORIZON * len(origins_of(made.panel, made.windows))
    assert made.panel.vintages is None
    assert made.panel.roles["promo"] == "known_future"
    assert said[0].startswith(f"{count} of {count} values of promo over the horizons were not known yet")
    assert said[0] in made.report.warnings


def test_a_covariate_that_was_sent_ahead_flatters_nothing(tmp_path: Path) -> None:
    told = [row(day, "north", None, seen=-8) for day in range(DAYS + HORIZON)]
    made = prepared(told + days(), tmp_path)
    assert made.panel.roles["promo"] == "known_future"
    assert not any("not known yet when" in text for text in (*made.cautions, *made.report.warnings))


def test_a_window_that_nobody_looked_up_cannot_be_read(tmp_path: Path) -> None:
    made = prepared(revised(0.8, 10), tmp_path)
    with pytest.raises(KeyError):
        window_at(made.panel, np.array([17]), HORIZON)
