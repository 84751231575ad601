"""An explanation adds up and names what moved the forecast; a what-if moves it in the direction the data support."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from forecast_toys import hourly, panel_of

from mcp_forecast_engine.data.columns import ColumnRoles, Correction
from mcp_forecast_engine.data.dataset import build_dataset
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.data.reading import read_file
from mcp_forecast_engine.errors import EngineError
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.models.features import layout_for, tail_inputs
from mcp_forecast_engine.models.spec import MEDIAN, QUANTILES, spec_for
from mcp_forecast_engine.models.table import MODELS
from mcp_forecast_engine.serving.explain import Explanation, explain
from mcp_forecast_engine.serving.factors import factors
from mcp_forecast_engine.serving.forecast import forecast
from mcp_forecast_engine.serving.session import ModelSession, load_model
from mcp_forecast_engine.serving.usual import usual_inputs, usual_target

BIKES = Path(__file__).parents[2] / "examples" / "data" / "bike_sharing_hourly.csv.gz"
ROLES = ("known_future", "historical", "static")


def at_the_end(panel: Panel, horizon: int) -> Panel:
    """The panel without its last steps, whose covariates are known ahead."""
    return window_at(panel, panel.lengths - horizon, horizon).history


def session_of(panel: Panel, horizon: int, *, windows: int = 0) -> ModelSession:
    """A ridge, tuned on the last windows of the panel, as it is served."""
    spec, ridge = spec_for(panel, horizon, roles=ROLES), MODELS["direct_ridge"]
    origins = [panel.lengths - horizon * (back + 1) for back in reversed(range(windows))]
    path = ridge.fit(panel, spec, ridge.tune(panel, spec, origins, {}))
    offsets = np.tile(np.linspace(-1, 1, len(QUANTILES)), (horizon, 1))
    model = CalibratedModel(path, Calibration(offsets, Unit("identity", "level"), None))
    return load_model(export_onnx(model, contract_of(model, panel)))


@pytest.fixture(scope="module")
def panel() -> Panel:
    """A day profile, and a driver drawn anew each hour that moves the target by four per unit."""
    whole, draw = hourly(70, effect=0.0), np.random.default_rng(5)
    driver = draw.uniform(-3, 3, size=len(whole.y))
    return at_the_end(replace(whole, y=whole.y + 4 * driver, covariates={**whole.covariates, "driver": driver}), 24)


@pytest.fixture(scope="module")
def session(panel: Panel) -> ModelSession:
    return session_of(panel, 24)


def ahead(panel: Panel, name: str, values: float | np.ndarray) -> Panel:
    """The panel with other values of a covariate over the horizon."""
    return replace(panel, future={**panel.future, name: np.broadcast_to(values, panel.future[name].shape)})


def contribution(found: Explanation, name: str) -> np.ndarray:
    return found.contributions[:, :, [group.name for group in found.groups].index(name)]


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
    usual = usual_inputs(panel, layout, real)
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


def median_with(session: ModelSession, panel: Panel, real: frozenset[str]) -> np.ndarray:
    """The median where only these groups are as they are, made by hand."""
    layout = session.contract.layout
    here = tail_inputs(panel, layout)
    usual = usual_inputs(panel, layout, here)
    hist, ahead = usual.cov_hist.copy(), usual.cov_future.copy()
    for name in real & {*layout.cov_hist}:
        hist[:, :, layout.cov_hist.index(name)] = here.cov_hist[:, :, layout.cov_hist.index(name)]
    for name in real & {*layout.known_future}:
        ahead[:, :, layout.known_future.index(name)] = here.cov_future[:, :, layout.known_future.index(name)]
    mixed = replace(
        usual, cov_hist=hist, cov_future=ahead,
        target=(here if "recent history" in real else usual).target,
        calendar=(here if "calendar" in real else usual).calendar,
    )  # fmt: skip
    return session.run(mixed)[:, :, MEDIAN]


def test_values_are_those_of_every_order_of_the_groups(panel: Panel, session: ModelSession) -> None:
    """Against the definition: the mean, over all orders, of what each group adds when its turn comes."""
    found = explain(session, panel)
    names = [group.name for group in found.groups]
    sets = [frozenset(some) for count in range(len(names) + 1) for some in combinations(names, count)]
    median = {some: median_with(session, panel, some) for some in sets}
    np.testing.assert_allclose(found.base, median[frozenset()], atol=1e-5)
    for place, name in enumerate(names):
        before = [frozenset(order[: order.index(name)]) for order in permutations(names)]
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


def test_a_usual_history_is_the_mean_season_at_its_level() -> None:
    season = np.array([1.0, 2.0, 6.0])
    target = np.concatenate([season + 1, season - 1, season])[None]
    np.testing.assert_array_equal(usual_target(target, 3)[0], np.tile(season, 3))
    np.testing.assert_array_equal(usual_target(target[:, :4], 3)[0], np.full(4, target[0, :4].mean()))
    np.testing.assert_array_equal(usual_target(target[:, 1:], 3)[0], np.tile(season - 0.5, 3)[1:])  # of whole ones


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


# Enough to learn the driver from; a network in earnest takes four times as long.
SMALLER: dict[str, dict[str, int]] = {
    "mlp": {"seeds": 1, "visits": 10_000},
    "segment_lstm": {"seeds": 1, "visits": 10_000},
}


@pytest.mark.parametrize("family", [name for name in MODELS if name != "pretrained"])  # it needs files of its own
def test_a_what_if_moves_every_family_that_reads_the_covariate_and_no_other(family: str, panel: Panel) -> None:
    spec, kind = spec_for(panel, 24, roles=ROLES), MODELS[family]
    try:
        path = kind.fit(panel, spec, kind.tune(panel, spec, [], SMALLER.get(family, {})))
    except EngineError as refusal:
        pytest.skip(f"{family} does not fit this panel: {refusal}")
    offsets = np.tile(np.linspace(-1, 1, len(QUANTILES)), (24, 1))
    model = CalibratedModel(path, Calibration(offsets, Unit("identity", "level"), None))
    session = load_model(export_onnx(model, contract_of(model, panel)))
    low, high = ahead(panel, "driver", -1.5), ahead(panel, "driver", 1.5)
    change = forecast(session, high).median - forecast(session, low).median
    names = [group.name for group in explain(session, high).groups]
    if "driver" not in path.layout.known_future:
        np.testing.assert_array_equal(change, 0)
        assert "driver" not in names
        return
    assert change.min() > 0
    moved = contribution(explain(session, high), "driver") - contribution(explain(session, low), "driver")
    assert moved.mean() == pytest.approx(change.mean(), rel=0.2)


def winter_bikes() -> Panel:
    """Two years of the bike data, to the end of a December; weather and working days known ahead."""
    table = read_file(BIKES.read_bytes(), "csv")
    known = ("temp", "hum", "windspeed", "weathersit", "workingday")
    left_out = tuple(name for name in table.columns if name not in ("ds", "y", *known))
    weather = tuple(Correction(name, role="known_future") for name in known)
    panel, _ = to_panel(
        build_dataset(table, ColumnRoles(time="ds", target="y", covariates=weather, drop=left_out)).frame
    )
    return at_the_end(panel, 24)


def test_warmer_winter_days_mean_more_rentals_and_the_explanation_says_it_is_the_temperature() -> None:
    panel = winter_bikes()
    session = session_of(panel, 24, windows=7)
    usual = panel.future["temp"]
    warm, cold = (ahead(panel, "temp", usual + step) for step in (0.15, -0.1))  # six degrees more, four less
    change = forecast(session, warm).median - forecast(session, cold).median
    assert change.mean() > 5
    assert (change > 0).mean() > 0.8
    found = [contribution(explain(session, one), "temp") for one in (warm, cold)]
    assert (found[0] - found[1]).mean() == pytest.approx(change.mean(), rel=0.2)
    told = factors(explain(session, warm), 0, 24)
    (temperature,) = [one for one in told["factors"] if one["name"] == "temp"]
    assert "raises the forecast" in temperature["told"]
