"""What people read: tables, charts and pictures stay true to the numbers and within the terminal."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from mcp_forecast import report
from mcp_forecast.commands.chart import ROWS, legend, terminal_chart
from mcp_forecast.commands.picture import SeriesPicture, picture_of

VALUES = st.floats(-1e9, 1e9, allow_subnormal=False)


def printed(what: RenderableType, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(what)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def picture(history: list[float], median: list[float], spread: float = 1.0) -> SeriesPicture:
    stamps = [(datetime(2025, 1, 1) + timedelta(days=i)).isoformat() for i in range(len(history) + len(median))]
    series = {
        "unique_id": "a",
        "ds": stamps[len(history) :],
        "median": median,
        "lo-80": [y - spread for y in median],
        "hi-80": [y + spread for y in median],
    }
    return picture_of(series, [80], history_ds=stamps[: len(history)], history=history)


@settings(max_examples=40, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=60), st.lists(VALUES, min_size=1, max_size=30), st.integers(30, 140))
def test_a_chart_fits_its_width_whatever_the_values(history: list[float], median: list[float], width: int) -> None:
    lines = terminal_chart(picture(history, median), width=width).plain.split("\n")
    assert len(lines) == ROWS + 2
    assert max(map(len, lines)) <= max(width, 32)


def test_a_chart_shows_a_higher_value_higher_and_shades_the_band() -> None:
    lines = terminal_chart(picture([0.0] * 20, [100.0] * 10, spread=30), width=60).plain.split("\n")
    top, bottom = lines[0], lines[ROWS - 1]
    assert "░" in top
    assert "░" not in bottom
    assert any("\u2800" <= c <= "\u28ff" for c in bottom)
    assert "history" in legend(picture([0.0], [1.0])).plain


def test_what_covariates_are_worth_is_told_of_the_model_that_is_the_same_but_for_them() -> None:
    tried = [
        {"arm": "seasonal_naive", "covariates": [], "MASE": 1.0},
        {"arm": "target_only", "covariates": [], "MASE": 0.8},
        {"arm": "with_covariates", "covariates": ["temp"], "MASE": 0.6},
        {"arm": "combination", "covariates": ["temp"], "MASE": 0.5},
    ]
    uplift = [{"arm": "with_covariates", "against": "target_only", "metric": metric} for metric in ("MASE", "WQL")]
    training = {"tried": tried, "uplift": uplift, "chosen": "combination"}
    told = " (they would make the error 25% smaller: MASE 0.6 instead of 0.8)"
    assert report.covariate_gain(training) == told
    assert report.covariate_gain({**training, "uplift": []}) == ""
    assert report.covariate_gain({**training, "chosen": "target_only"}) == ""


@pytest.mark.parametrize("history", [[math.nan, 1.0, math.nan], [5.0], [0.0, 0.0]])
def test_gaps_single_points_and_flat_series_are_drawn(history: list[float]) -> None:
    assert terminal_chart(picture(history, history[-1:] if history[-1] == history[-1] else [1.0]), width=60).plain


def test_steps_without_dates_are_drawn_by_their_number() -> None:
    series = {"unique_id": "a", "ds": ["11", "12"], "median": [1.0, 2.0]}
    numbered = picture_of(series, [], history_ds=["9", "10"], history=[1.0, 2.0])
    assert terminal_chart(numbered, width=60).plain.rstrip().endswith("12")


def test_a_long_forecast_is_cut_in_the_middle_and_keeps_its_ends() -> None:
    series = {"unique_id": "a", "ds": [str(i) for i in range(100)], "median": [float(i) for i in range(100)],
              "lo-80": [0.0] * 100, "hi-80": [200.0] * 100}  # fmt: skip
    text = printed(report.forecast_report({"series": [series], "levels": [80]}))
    assert "100 rows" in text
    assert "…" in text
    assert text.split()[-5] == "99"
    assert len(text.splitlines()) < 20


def test_names_from_a_file_are_not_markup() -> None:
    error = {"message": "no column [red]x[/]", "allowed": ["[bold]y"], "next_step": "name one"}
    text = printed(report.error_report(error, option="--target"))
    assert "no column [red]x[/]" in text
    assert "allowed: [bold]y" in text


@pytest.mark.parametrize("verdict", ["trust", "caution", "do_not_trust"])
def test_every_verdict_has_plain_words_and_its_reasons(verdict: str) -> None:
    text = printed(report.trust_report({"verdict": verdict, "reasons": ["error 4% below seasonal naive"], "notes": []}))
    assert "Trust: " in text
    assert "Error 4% below seasonal naive" in text


def test_the_gate_says_pass_or_each_rule_that_was_broken_and_what_to_try() -> None:
    passed = {"decision": "PASS", "profile": "default", "rules": [], "rules_kept": 11}
    assert " ".join(printed(report.gate_report(passed)).split()) == (
        "Gate: PASS It keeps every rule of the profile 'default': it may be published as a bundle, and answer for "
        "others."
    )
    rule = {"rule": "skill_low", "passed": False, "measured": -0.2, "limit": {"min": 0.0}, "means": "lower end"}
    failed = {**passed, "decision": "FAIL", "rules": [rule], "refinement": {"change": "try more models"}}
    text = printed(report.gate_report(failed))
    for part in (
        "Gate: FAIL",
        "never published",
        "Rule skill_low (lower end) is -0.2, allowed: at least 0",
        "try more",
    ):
        assert part in text


def test_a_mean_stands_beside_medians_of_zero() -> None:
    series = {"unique_id": "a", "ds": ["1", "2"], "median": [0.0, 0.0], "mean": [0.41, 0.43],
              "lo-80": [0.0] * 2, "hi-80": [3.0] * 2}  # fmt: skip
    document = {"series": [series], "levels": [80]}
    assert [row["mean"] for row in report.forecast_rows(document)] == [0.41, 0.43]
    text = printed(report.forecast_report(document))
    assert "mean" in text
    assert "0.41" in text
