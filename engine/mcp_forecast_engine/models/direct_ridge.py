"""Direct ridge: all horizon steps at once from lags, covariates and calendar, in closed form, pooled over series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.examples import POOLED, Examples, gather, phases_after
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.linear_path import LinearPath
from mcp_forecast_engine.models.ranges import have_left
from mcp_forecast_engine.models.regression import one_thread
from mcp_forecast_engine.models.ridge_recipe import Recipe
from mcp_forecast_engine.models.ridge_tuning import choose_recipe
from mcp_forecast_engine.models.ridge_weights import Renewal, Solved, averaged, mean_of, own_weights, with_naive
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.windows import no_window

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class DirectRidge:
    """Ridge regression on windows in their own units; units, penalties and calibration windows chosen on validation.

    Settings: the fields of `Recipe`.
    """

    family: ClassVar[str] = "direct_ridge"

    @classmethod
    def tune(cls, panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], asked: Settings) -> Settings:
        """Choose what `asked` leaves open; see `choose_recipe`. Without a window to validate on: the defaults."""
        with one_thread():
            found = choose_recipe(panel, spec, origins, asked) if origins else None
        return found.settings() if found is not None else Recipe.of(asked).settings()

    @classmethod
    def fit(cls, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None = None) -> LinearPath:
        """Fit the chosen settings on the whole panel; raises HistoryTooShort where no window fits."""
        recipe, end = Recipe.of(settings), panel.lengths
        with one_thread():
            examples = gather(panel, spec, recipe, learn=end, until=end, phases=phases)
            if not len(examples.rows):
                raise no_window(spec, end)
            slots = _slots(examples, recipe, phases)
            solved = [] if recipe.local is not None else [averaged(examples, recipe, end, slot) for slot in slots]
            return _path(cls.family, examples, recipe, spec, end, slots, solved)

    @classmethod
    def recalibrate(
        cls, panel: Panel, spec: ForecastSpec, settings: Settings, origins: Sequence[Integers]
    ) -> Iterator[LinearPath]:
        """One model per window (ascending origins) for the phases asked there; raises HistoryTooShort.

        Windows are added to and taken from sums of products, and a calibration window is solved again once 1 % of its
        windows are new. Bases, ranges and constant units are learned again where covariates have left them; see
        `_spans`.
        """
        recipe, every = Recipe.of(settings), np.stack(origins)
        window, series = np.nonzero(every >= 1)
        phases, until = phases_after(panel, spec, series, every[window, series]), every.max(axis=0)
        # A series that takes part later teaches bases and units nothing from behind its own first origin.
        entered = every[(every >= 0).argmax(axis=0), np.arange(every.shape[1])]
        for start, end in _spans(panel, spec, origins):
            first = origins[start]
            with one_thread():
                learn = np.where(first >= 0, first, np.maximum(entered, 0))
                examples = gather(panel, spec, recipe, learn=learn, until=until, phases=phases)
                if not len(examples.rows):
                    raise no_window(spec, until)
            yield from _renewed(cls.family, examples, recipe, spec, origins[start:end], phases)


def _renewed(
    family: str,
    examples: Examples,
    recipe: Recipe,
    spec: ForecastSpec,
    origins: Sequence[Integers],
    phases: Integers,
) -> Iterator[LinearPath]:
    """One model per window from the same bases."""
    slots = [int(phase) for phase in phases] if recipe.aligned else [POOLED]
    with one_thread():
        renewals = [_renewals(examples, recipe, origins[0], slot) for slot in slots]
    path: LinearPath | None = None
    last: list[int] = []
    for origin in origins:
        with one_thread():
            found = [[one.at(origin) for one in of_slot] for of_slot in renewals]
            renewed = [id(one) for of_slot in found for one in of_slot] != last
            if path is None or renewed:
                solved = [mean_of(of_slot) for of_slot in found]
                path = _path(family, examples, recipe, spec, origin, slots, solved)
                last = [id(one) for of_slot in found for one in of_slot]
        yield path


def _spans(panel: Panel, spec: ForecastSpec, origins: Sequence[Integers]) -> list[tuple[int, int]]:
    """Windows (start, end) that share their bases: learned again where covariates have left the range that is known."""
    names, starts = (*spec.known_future, *spec.historical), [0]
    for place in range(1, len(origins)):
        if have_left(panel, names, origins[starts[-1]], origins[place]):
            starts.append(place)
    return list(zip(starts, [*starts[1:], len(origins)], strict=True))


def _renewals(examples: Examples, recipe: Recipe, first: Integers, slot: int) -> list[Renewal]:
    shares = examples.design.penalty_shares(examples.layout, recipe.future_penalty)
    seen = examples.rows[examples.at(first, 1.0, slot)]
    spread = seen.std(axis=0) if len(seen) else np.zeros(len(shares))
    return [Renewal(examples, recipe, member, slot, shares, spread) for member in recipe.members]


def _path(
    family: str,
    examples: Examples,
    recipe: Recipe,
    spec: ForecastSpec,
    origin: Integers,
    slots: Sequence[int],
    solved: Sequence[Solved],
) -> LinearPath:
    if recipe.local is not None:
        weights, bias = own_weights(examples, recipe, origin)
    else:
        weights, bias = np.stack([w for w, _ in solved]), np.stack([b for _, b in solved])
    weights, bias = with_naive((weights, bias), examples, recipe, spec)
    slot = np.zeros(spec.season, np.int64)
    if recipe.aligned:
        slot = np.full(spec.season, -1, np.int64)
        slot[list(slots)] = np.arange(len(slots))
    low, high = examples.bounds(origin)
    return LinearPath(
        family=family,
        layout=examples.layout,
        design=examples.design,
        transform=recipe.transform,
        weights=weights,
        bias=bias,
        slot=slot,
        low=low,
        high=high,
        yard=examples.yard,
        by="series" if recipe.local is not None else "phase",
        reach=examples.reach(origin),
    )


def _slots(examples: Examples, recipe: Recipe, phases: Integers | None) -> list[int]:
    """The phases to fit; a single pooled slot where phases share their weights."""
    if not recipe.aligned:
        return [POOLED]
    return [int(phase) for phase in np.unique(examples.phase if phases is None else phases)]
