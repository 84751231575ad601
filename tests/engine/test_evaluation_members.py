"""A model walks through the windows: no family's path moves when what comes after its origin moves."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from forecast_toys import panel_of

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.members import Member, group_starts, walk
from mcp_forecast_engine.models.spec import ForecastSpec, spec_for
from mcp_forecast_engine.models.table import MODELS

HORIZON, M = 6, 12
ORIGINS = [np.array([n, n - 5, n - 9]) for n in (104, 110, 116)]
# The smallest of each family that learns; what a family is not told it chooses.
ASKED: dict[str, dict[str, Any]] = {
    "seasonal_naive": {},
    "direct_ridge": {"members": [[1.0, 0.1], [0.5, 1.0]]},
    "theta": {},
    "ces": {},
    "ets": {},
    "effects": {},
    "seasonal_profiles": {},
    "tabular": {"trees": 10},
    "mlp": {"seeds": 1, "visits": 400, "hidden": 8, "bend": "identity"},
    "segment_lstm": {"seeds": 1, "visits": 400, "hidden": 4, "bend": "identity"},
}
NEEDS = {"tabular": "lightgbm", "mlp": "torch", "segment_lstm": "torch"}
WALKS = [
    (family, follow)
    for family in ASKED
    for follow in (False, True)[: 2 if family in ("direct_ridge", "effects") else 1]
]


@pytest.fixture(scope="module")
def panel() -> Panel:
    draw = np.random.default_rng(8)
    lengths = (124, 119, 115)
    driver = [draw.normal(size=n).cumsum() for n in lengths]
    y = [
        20 + 5 * np.sin(np.arange(n) * 2 * np.pi / M + k) + one + draw.normal(size=n)
        for k, (n, one) in enumerate(zip(lengths, driver, strict=True))
    ]
    return panel_of(
        y,
        season_length=M,
        freq="1",
        known_future={"driver": driver},
        historical={"past": [draw.normal(size=n) for n in lengths]},
        static={"kind": [0.0, 1.0, 1.0]},
        categories={"kind": ("a", "b")},
    )


def spec_of(panel: Panel) -> ForecastSpec:
    return spec_for(panel, HORIZON, roles=("known_future", "historical", "static"), history=100)


def moved_after(panel: Panel, origin: np.ndarray) -> Panel:
    """Everything that a window at `origin` cannot know is another: target, past-only columns, drivers beyond it."""
    step = np.arange(len(panel.y)) - np.repeat(panel.offsets[:-1], panel.lengths)
    after, beyond = (step >= np.repeat(origin + ahead, panel.lengths) for ahead in (0, HORIZON))
    values = panel.covariates
    return replace(
        panel,
        y=np.where(after, 900.0 - 3 * panel.y, panel.y),
        observed=panel.observed & ~(after & (step % 5 == 0)),
        covariates=values
        | {
            "past": np.where(after, 70.0, values["past"]),
            "driver": np.where(beyond, -80.0 + 9 * values["driver"], values["driver"]),
        },
    )


@pytest.mark.parametrize(("family", "follow"), WALKS)
def test_what_comes_after_an_origin_changes_no_path_up_to_it(panel: Panel, family: str, *, follow: bool) -> None:
    if find_spec(NEEDS.get(family, "numpy")) is None:
        pytest.skip(f"SKIPPED: {NEEDS[family]} is not installed")
    spec = spec_of(panel)
    settings = MODELS[family].tune(panel, spec, [], ASKED[family])
    member = Member(family, family, settings, 1)
    # A fit at every window, so that each of them has a future of its own to be kept from.
    usual = walk(panel, member, spec, ORIGINS, starts=range(len(ORIGINS)), follow=follow)
    for place, origin in enumerate(ORIGINS):
        other = walk(moved_after(panel, origin), member, spec, ORIGINS, starts=range(len(ORIGINS)), follow=follow)
        for mine, theirs in zip(usual.paths[: place + 1], other.paths[: place + 1], strict=True):
            assert mine.shape == (3, HORIZON)
            assert np.isfinite(mine).all()
            assert mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize(("family", "follow"), WALKS)
def test_one_fit_answers_later_windows_from_what_lies_before_each_of_them(
    panel: Panel, family: str, *, follow: bool
) -> None:
    if find_spec(NEEDS.get(family, "numpy")) is None:
        pytest.skip(f"SKIPPED: {NEEDS[family]} is not installed")
    spec = spec_of(panel)
    member = Member(family, family, MODELS[family].tune(panel, spec, [], ASKED[family]), 1)
    usual, other = (
        walk(one, member, spec, ORIGINS, starts=(0,), follow=follow) for one in (panel, moved_after(panel, ORIGINS[1]))
    )
    assert [path.tobytes() for path in usual.paths[:2]] == [path.tobytes() for path in other.paths[:2]]
    assert not np.array_equal(usual.paths[2], other.paths[2])  # the last window does read what came before it


def test_every_family_is_walked_here_but_the_one_that_needs_a_folder_of_weights() -> None:
    assert set(MODELS) - set(ASKED) == {"pretrained"}


def test_fits_are_spread_evenly_over_the_windows_and_never_more_than_there_are() -> None:
    assert group_starts(10, 1) == (0,)
    assert group_starts(10, 3) == (0, 3, 6)
    assert group_starts(4, 9) == (0, 1, 2, 3)


def test_series_that_take_no_part_in_a_window_get_no_path(panel: Panel) -> None:
    member = Member("naive", "seasonal_naive", {"period": M}, 1)
    origins = [np.array([104, -1, 95]), np.array([110, -1, -1])]
    found = walk(panel, member, spec_of(panel), origins, starts=(0,))
    assert [path.shape for path in found.paths] == [(2, HORIZON), (1, HORIZON)]
    start = panel.offsets[2] + 95
    np.testing.assert_allclose(found.paths[0][1], panel.y[start - M : start - M + HORIZON], rtol=1e-12)
