"""An optional covariate that is missing has a stand-in by a named policy, and that is said; a required one has none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import panel_of

from mcp_forecast_engine.data.fallback import Optional, optional_covariates, usual_value, with_fallbacks
from mcp_forecast_engine.data.frame import Panel

HEAT = Optional("heat", "known_future", 15.0)


def panel(count: int = 70) -> Panel:
    heat, load = np.arange(count, dtype=float), np.arange(count) * 2.0
    made = panel_of([np.ones(count)], season_length=7, known_future={"heat": [heat], "load": [load]})
    return replace(made, future={"heat": np.zeros((1, 0)), "load": np.zeros((1, 10))})


def test_a_missing_future_is_the_value_one_season_earlier_again_and_again() -> None:
    found, warnings = with_fallbacks(panel(), [HEAT], 10)
    assert found.future["heat"].tolist() == [[63, 64, 65, 66, 67, 68, 69, 63, 64, 65]]
    assert len(warnings) == 1
    assert all(part in warnings[0] for part in ("'heat'", "10 of 10 future steps", "last_season", "season earlier"))


def test_what_is_given_is_kept_and_holes_stand_on_it() -> None:
    given = np.array([[100.0, np.nan, 102.0]])
    found, warnings = with_fallbacks(replace(panel(), future={"heat": given}), [HEAT], 10)
    assert found.future["heat"].tolist() == [[100, 64, 102, 66, 67, 68, 69, 100, 64, 102]]
    assert "8 of 10 future steps" in warnings[0]
    whole = replace(panel(), future={"heat": np.ones((1, 12))})
    assert with_fallbacks(whole, [HEAT], 10) == (whole, ())


def test_a_history_shorter_than_a_season_stands_on_its_last_value() -> None:
    found, _ = with_fallbacks(replace(panel(5), future={}), [HEAT], 4)
    assert found.future["heat"].tolist() == [[4, 4, 0, 1]]


def test_a_column_that_the_data_lacks_has_its_usual_value_of_training() -> None:
    made = replace(panel(), covariates={"load": panel().covariates["load"]}, roles={"load": "known_future"}, future={})
    sky = Optional("sky", "historical", "rain")
    found, warnings = with_fallbacks(made, [HEAT, sky], 10)
    assert set(found.covariates["heat"]) == {15.0}
    assert found.future["heat"].tolist() == [[15.0] * 10]
    assert found.categories["sky"] == ("rain",)
    assert "sky" not in found.future
    assert all("usual_value" in warning and "not in the data" in warning for warning in warnings)
    assert "'heat'" in warnings[0]


def test_what_no_policy_names_is_left_missing() -> None:
    found, warnings = with_fallbacks(panel(), [], 10)
    assert (found.future["heat"].shape[1], warnings) == (0, ())


def test_the_usual_value_is_a_median_or_the_most_frequent_one() -> None:
    made = panel_of(
        [np.ones(6)], season_length=1, known_future={"heat": [np.array([1, 2, 3, 4, 9, 90.0])],
        "flag": [np.array([0, 1, 1, 1, 0, 1.0])], "sky": [np.array([0, 1, 2, 2, 1, 2.0])]},
        categories={"sky": ("fog", "rain", "sun")},
    )  # fmt: skip
    assert [usual_value(made, name) for name in ("heat", "flag", "sky")] == [3.5, 1.0, "sun"]


@pytest.mark.parametrize("fallback", [{}, {"fallback": {"policy": "last_season", "usual": 15.0}}])
def test_only_nullable_covariates_with_a_policy_are_optional(fallback: dict[str, object]) -> None:
    line = {"name": "heat", "type": "numeric", "role": "known_future"}
    assert optional_covariates({"covariates": [line, {**line, "nullable": False, **fallback}]}) == ()
    found = optional_covariates({"covariates": [{**line, "nullable": True, **fallback}]})
    assert found == ((HEAT,) if fallback else ())
