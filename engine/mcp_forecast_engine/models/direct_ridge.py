"""Direct ridge: all horizon steps at once from lags, covariates and calendar, in closed form, pooled over series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.models.design import design_for
from mcp_forecast_engine.models.features import layout_for
from mcp_forecast_engine.models.forecaster import FittedPath, Settings
from mcp_forecast_engine.models.gathering import POOLED, Gathered, gather
from mcp_forecast_engine.models.regression import Ridge, one_thread
from mcp_forecast_engine.models.ridge_tuning import choose_settings
from mcp_forecast_engine.models.seasonal_naive import repeated_lags
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.windows import TrainingWindows, training_windows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Where no window is left to validate on: one strong penalty for all windows.
_DEFAULT: dict[str, Any] = {"transform": "identity", "aligned": False, "members": [[1.0, 1.0]]}


class DirectRidge:
    """Ridge regression on windows in their own units, penalty and calibration windows chosen on validation.

    Settings: transform; aligned (one set of weights per phase of the season, or one for all); members, a list of
    (recent part of the history, penalty) whose weights are averaged; future_penalty, the part of the penalty that
    columns of future covariates carry; naive_share, how much of a seasonal naive with
    naive_period is mixed in.
    """

    family: ClassVar[str] = "direct_ridge"

    @classmethod
    def tune(cls, panel: Panel, spec: ForecastSpec, origins: Sequence[Integers]) -> Settings:
        """Choose alignment, transform, penalties, calibration windows and the share of naive; see `choose_settings`."""
        with one_thread():
            found = choose_settings(panel, spec, origins) if origins else None
        return found or _DEFAULT

    @classmethod
    def fit(cls, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None = None) -> FittedPath:
        """Fit the chosen settings on the whole panel; raises HistoryTooShort where no window fits."""
        transform, aligned, members = settings["transform"], settings["aligned"], settings["members"]
        layout = layout_for(spec, panel.axis)
        design = design_for(panel, layout)
        windows = training_windows(panel, spec, until=panel.lengths, by_season=aligned)
        wanted = _slots(windows, aligned=aligned, phases=phases)
        recent = tuple(sorted({part for part, _ in members}, reverse=True))
        shares = design.penalty_shares(layout, settings.get("future_penalty", 1.0))
        with one_thread():
            gathered = gather(panel, windows, layout, design, transform=transform, slots=wanted, recent=recent)
            solved = [_mixed(_average(gathered, slot, members, shares), spec, settings) for slot in range(len(wanted))]
        slot = np.zeros(max(spec.season_length, 1), np.int64)
        if aligned:
            slot = np.full(max(spec.season_length, 1), -1, np.int64)
            slot[wanted] = np.arange(len(wanted))
        return FittedPath(
            family=cls.family,
            spec=spec,
            settings=settings,
            layout=layout,
            design=design,
            transform=transform,
            weights=np.stack([weights for weights, _ in solved]),
            bias=np.stack([bias for _, bias in solved]),
            slot=slot,
            low=gathered.low,
            high=gathered.high,
        )


def _slots(windows: TrainingWindows, *, aligned: bool, phases: Integers | None) -> Integers:
    """The phases to fit; a single pooled slot, marked -1, where phases share their weights."""
    if not len(windows):
        raise HistoryTooShort(
            "no training window fits into the history; lookback and horizon are too long for it",
            field="horizon",
            next_step="send more rows, or shorten the horizon",
        )
    if not aligned:
        return np.array([POOLED], np.int64)
    return np.unique(windows.phase if phases is None else phases)


def _average(
    gathered: Gathered, slot: int, members: Sequence[Sequence[float]], shares: Floats
) -> tuple[Floats, Floats]:
    """Mean of the members' weights; a recent part without windows in this slot falls back to all of them."""
    moments = gathered.moments[slot]
    if not moments:
        raise HistoryTooShort("a phase of the season has no training window", field="horizon")
    solved = [Ridge(moments.get(part, moments[max(moments)]), shares).solve(penalty) for part, penalty in members]
    weights, bias = zip(*solved, strict=True)
    return np.mean(weights, axis=0), np.mean(bias, axis=0)


def _mixed(solved: tuple[Floats, Floats], spec: ForecastSpec, settings: Settings) -> tuple[Floats, Floats]:
    """Mix seasonal naive into the weights: the lags come first among the regressors."""
    (weights, bias), share = solved, settings.get("naive_share", 0.0)
    if not share:
        return solved
    weights = (1 - share) * weights
    weights[repeated_lags(spec, settings["naive_period"]), np.arange(spec.horizon)] += share
    return weights, (1 - share) * bias
