"""An explanation adds up and names what moved the forecast."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
from explain_toys import ROLES, ahead, at_the_end, contribution, driven_panel, median_with, session_of
from forecast_toys import panel_of

from mcp_forecast_engine.data.frame import Panel, TimeAxis
from mcp_forecast_engine.models.features import layout_for, tail_inputs
from mcp_forecast_engine.models.spec import spec_for
from mcp_forecast_engine.serving.explain import explain
from mcp_forecast_engine.serving.factors import factors
from mcp_forecast_engine.serving.forecast import forecast
from mcp_forecast_engine.serving.session import ModelSession
from mcp_forecast_engine.serving.usual import REFERENCES, usual_ends, usual_inputs


@pytest.fixture(scope="module")
def panel() -> Panel:
    return driven_panel()


@pytest.fixture(scope="module")
def session(panel: Panel) -> ModelSession:
    return session_of(panel, 24)


def test_base_and_contributions_add_up_to_the_median(panel: Panel, session: ModelSession) -> None:
    found = explain(session, panel)
    median = forecast(session, panel).median
    assert {group.name for group in found.groups} <= {"past", "driver", "kind", "recent history", "calendar"}
    assert {"driver", "recent history", "calendar"} <= {group.name for group in found.groups}
    assert np.abs(found.base + found.contributions.sum(axis=2) - median).max() < 1e-4 * np.abs(median).mean()


def test_a_covariate_as_usual_contributes_nothing_and_is_not_named(panel: Panel, session: ModelSession) -> None:
    still = replace(panel, covariates={**panel.covariates, "driver": np.zeros_like(panel.covariates["driver"])})
    found = explain(session, ahead(still, "driver", 0.0))
    assert "driver" not in [group.name for group in found.groups]


@pytest.mark.parametrize("cut", [0, 7, 23])
def test_a_covariate_that_repeats_its_season_is_as_usual_wherever_the_series_ends(cut: int) -> None:
    n = 24 * 40 - cut
    hour, draw = np.arange(n), np.random.default_rng(0)
    daylight = np.maximum(np.sin(2 * np.pi * hour / 24), 0)
    day = np.floor(hour / 24) % 2  # repeats, but not within the season
    whole = panel_of(
        [daylight + draw.normal(size=n)], season_length=24, known_future={"light": [daylight], "day": [day]}
    )
    panel = at_the_end(whole, 24)
    layout = layout_for(spec_for(panel, 24, roles=ROLES), panel.axis)
    real = tail_inputs(panel, layout)
    usual = usual_inputs(panel, layout, real)[0]
    light = layout.known_future.index("light")
    np.testing.assert_allclose(usual.cov_future[:, :, light], real.cov_future[:, :, light], atol=1e-12)
    place = layout.cov_hist.index("light")
    np.testing.assert_allclose(usual.cov_hist[:, :, place], real.cov_hist[:, :, place], atol=1e-12)
    assert not np.array_equal(usual.cov_future, real.cov_future)


def test_a_change_of_a_covariate_is_attributed_to_it(panel: Panel, session: ModelSession) -> None:
    low, high = ahead(panel, "driver", -1.0), ahead(panel, "driver", 1.0)
    before, after = explain(session, low), explain(session, high)
    moved = contribution(after, "driver") - contribution(before, "driver")
    change = forecast(session, high).median - forecast(session, low).median
    assert 0.5 * 8 < change.mean() < 1.1 * 8  # the data was made with 8; a penalty pulls it towards nothing
    # The model measures in units of the window's spread, so a little of the effect is shared with the history.
    assert np.abs(moved - change).max() < 0.1 * change.min()
    for name in ("recent history", "calendar"):
        assert np.abs(contribution(after, name) - contribution(before, name)).max() < 0.1 * change.min()


def test_values_are_those_of_every_order_of_the_groups_after_the_history(panel: Panel, session: ModelSession) -> None:
    """Against the definition: the mean, over all orders, of what each group adds when its turn comes."""
    found = explain(session, panel)
    names = [group.name for group in found.groups]
    first = "recent history"
    sets = [frozenset(some) for count in range(len(names) + 1) for some in combinations(names, count)]
    median = {some: median_with(session, panel, some) for some in sets if first in some or not some}
    orders = [(first, *order) for order in permutations([name for name in names if name != first])]
    np.testing.assert_allclose(found.base, median[frozenset()], atol=1e-5)
    for place, name in enumerate(names):
        before = [frozenset(order[: order.index(name)]) for order in orders]
        added = np.mean([median[some | {name}] - median[some] for some in before], axis=0)
        np.testing.assert_allclose(found.contributions[:, :, place], added, atol=1e-5)


def test_the_order_of_series_and_batches_change_nothing() -> None:
    draw = np.random.default_rng(1)
    n = 24 * 40
    promotions = [(draw.random(n) < 0.2).astype(float) for _ in range(5)]
    series = [20 + 5 * np.sin(2 * np.pi * np.arange(n) / 24) + 10 * p + draw.normal(size=n) for p in promotions]
    whole = at_the_end(panel_of(series, season_length=24, known_future={"promotion": promotions}), 24)
    one = at_the_end(panel_of(series[:1], season_length=24, known_future={"promotion": promotions[:1]}), 24)
    session = session_of(whole, 24)
    together, alone = explain(session, whole), explain(session, one)
    assert [group.name for group in together.groups] == [group.name for group in alone.groups]
    np.testing.assert_allclose(together.contributions[:1], alone.contributions, atol=1e-4)
    np.testing.assert_allclose(together.base[:1], alone.base, atol=1e-4)


def test_many_covariates_become_eight_groups_and_those_that_matter_keep_their_names() -> None:
    draw = np.random.default_rng(0)
    n = 24 * 40
    columns = {f"x{i:02d}": draw.normal(size=n) for i in range(20)}
    y = 30 + 6 * columns["x17"] + 4 * columns["x03"] + draw.normal(size=n)
    panel = panel_of([y], season_length=24, known_future={name: [values] for name, values in columns.items()})
    panel = at_the_end(panel, 6)
    session = session_of(panel, 6)
    seen: list[tuple[int, int]] = []
    found = explain(session, panel, on_progress=lambda done, total, _text: seen.append((done, total)))
    assert len(found.groups) == 8
    assert {"x17", "x03", "15 other covariates", "recent history", "calendar"} <= {g.name for g in found.groups}
    assert seen[-1][0] == seen[-1][1]
    median = forecast(session, panel).median
    np.testing.assert_allclose(found.base + found.contributions.sum(axis=2), median, atol=1e-3)

    def stop(done: int, total: int, text: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        explain(session, panel, on_progress=stop)


def test_an_unusual_history_is_attributed_to_the_recent_history() -> None:
    """A series that keeps most of yesterday's deviation: where it ended high, the history raises the forecast."""
    draw, n = np.random.default_rng(3), 24 * 70
    noise = np.zeros(n)
    for step, shock in enumerate(draw.normal(size=n)):
        noise[step] = 0.97 * noise[step - 1] + shock
    season = 50 + 5 * np.sin(2 * np.pi * np.arange(n) / 24)
    whole = panel_of([season + noise], season_length=24, known_future={"other": [draw.normal(size=n)]})
    panel = at_the_end(whole, 12)
    session = session_of(panel, 12)
    moved = []
    for end in (-6.0, 6.0):
        y = panel.y.copy()
        y[-8:] += end
        moved.append(contribution(explain(session, replace(panel, y=y)), "recent history")[0, :6].mean())
    assert moved[1] - moved[0] > 2


def test_a_usual_history_did_happen_whole_seasons_earlier_at_the_usual_level_and_spread() -> None:
    draw, m = np.random.default_rng(4), 12
    y = 100 + 20 * np.sin(2 * np.pi * np.arange(m * 12) / m) + draw.normal(size=m * 12)
    y[m * 3 : m * 5] += 500  # years out of the usual
    layout = layout_for(spec_for(panel_of([y], season_length=m), 6), TimeAxis("calendar", "h"))
    one_season = replace(layout, lookback=m)
    ends = usual_ends(y, one_season)
    assert len(ends) == REFERENCES == len(set(ends.tolist()))
    assert np.all((len(y) - ends) % m == 0)
    assert np.all(ends < len(y))
    for end in ends:
        window = y[end - m : end]
        assert abs(window.mean() - 100) < 5
        assert window.std() == pytest.approx(20 / np.sqrt(2), rel=0.2)
    assert np.array_equal(usual_ends(y[:m], one_season), np.full(REFERENCES, m))  # never had an earlier end
    assert set(usual_ends(y[: 2 * m], one_season).tolist()) == {m}


def test_a_category_is_usual_where_it_is_the_most_frequent_and_static_facts_are_compared_between_series() -> None:
    draw = np.random.default_rng(2)
    n = 24 * 30
    size = [1.0, 1.0, 5.0]
    kinds = [np.zeros(n) for _ in size]
    kinds[0][-24:] = 2
    series = [10 * s + draw.normal(size=n) for s in size]
    panel = panel_of(
        series, season_length=24, known_future={"kind": kinds}, static={"size": size},
        categories={"kind": ("calm", "rare", "storm")},
    )  # fmt: skip
    panel = at_the_end(panel, 24)
    found = explain(session_of(panel, 24), panel)
    assert np.isnan(found.read).all()  # a category and a static fact have no mean over the horizon
    assert np.abs(contribution(found, "size")[:2]).max() < 1e-6
    assert np.abs(contribution(found, "kind")[1:]).max() < 1e-6


def test_an_explanation_reads_as_sentences_in_order_of_weight(panel: Panel, session: ModelSession) -> None:
    found = explain(session, ahead(panel, "driver", 2.5))
    told = factors(found, 0, 12)
    weights = [np.abs(factor["by_step"]).mean() for factor in told["factors"]]
    assert weights == sorted(weights, reverse=True)
    assert all(len(factor["by_step"]) == 12 for factor in told["factors"])
    first = told["factors"][0]
    assert (first["name"], first["kind"], first["value"]) == ("driver", "covariate", 2.5)
    assert first["told"].startswith("driver (mean 2.5, usually ")
    assert "raises the forecast by" in first["told"]
    assert told["summary"].startswith("the forecast averages ")
    total = told["base"] + sum(factor["contribution"] for factor in told["factors"])
    assert total == pytest.approx(forecast(session, ahead(panel, "driver", 2.5)).median[0, :12].mean(), rel=1e-4)


def test_with_nothing_to_read_but_a_short_target_the_history_is_all_there_is() -> None:
    panel = panel_of([np.random.default_rng(0).normal(size=90)], season_length=1, freq="1")
    session = session_of(panel, 4)
    found = explain(session, panel)
    assert [group.name for group in found.groups] == ["recent history"]
    np.testing.assert_allclose(found.base + found.contributions[:, :, 0], forecast(session, panel).median, atol=1e-5)
    flat = replace(panel, y=np.ones(90))
    found = explain(session, flat)
    assert found.groups == ()
    assert factors(found, 0, 4)["summary"].endswith("nothing out of the usual")
