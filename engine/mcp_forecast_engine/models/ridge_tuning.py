"""Settings of the direct ridge, chosen on windows that lie before the test part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.design import design_for
from mcp_forecast_engine.models.features import Inputs, inputs_at, layout_for
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.gathering import POOLED, Gathered, gather
from mcp_forecast_engine.models.regression import Ridge
from mcp_forecast_engine.models.scaling import TRANSFORMS, LocalScale, Transform, local_scale
from mcp_forecast_engine.models.seasonal_naive import naive_periods, repeated_lags
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.windows import seasonal_change, training_windows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Member = tuple[float, float]

PENALTIES = (0.0001, 0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0)
# Calibration windows: all of the history, and its most recent parts.
RECENT = (1.0, 0.5, 0.25, 0.0625)
# Parts of seasonal naive mixed in: 0 unless it helps on validation.
SHARES = (0.0, 0.25, 0.5)
# Parts of the penalty that columns of future covariates carry. Noisy lags want a strong one, under which the effect of
# a rare promotion shrinks: on made daily series with promotions on a tenth of the days, 0.1 saves a quarter of the MAE.
FUTURE_PENALTIES = (1.0, 0.1)
FEWEST_PER_SLOT = 20
MOST_WEIGHTS = 8_000_000
MOST_COVARIATE_COLUMNS = 1_000


def choose_settings(panel: Panel, spec: ForecastSpec, origins: Sequence[Integers]) -> Settings | None:
    """Alignment by the target alone; then transform, members and share of naive with every column; None: no window."""
    aligned = _choose_alignment(panel, spec, origins)
    transforms = TRANSFORMS if spec.nonnegative else TRANSFORMS[:1]
    trials = [_trial(panel, spec, origins, transform=transform, aligned=aligned) for transform in transforms]
    found = [trial for trial in trials if trial is not None]
    return min(found, key=lambda trial: trial.loss).settings if found else None


@dataclass(frozen=True)
class _Trial:
    settings: Settings
    loss: float


def _choose_alignment(panel: Panel, spec: ForecastSpec, origins: Sequence[Integers]) -> bool:
    """One set of weights per phase pays where phases differ and there are windows enough."""
    columns = spec.lookback + (MOST_COVARIATE_COLUMNS if spec.covariates else 0)
    if spec.season_length < 2 or spec.season_length * columns * spec.horizon > MOST_WEIGHTS:
        return False
    plain = replace(spec, known_future=(), historical=(), static=())
    apart, pooled = (_trial(panel, plain, origins, transform="identity", aligned=a) for a in (True, False))
    return apart is not None and (pooled is None or apart.loss < pooled.loss)


def _trial(
    panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], *, transform: Transform, aligned: bool
) -> _Trial | None:
    """Fit once before the first validation origin, score every penalty and recent part, and average the good ones."""
    table = np.stack(origins)
    start = np.where((table >= 0).any(axis=0), np.where(table >= 0, table, table.max()).min(axis=0), panel.lengths)
    windows = training_windows(panel, spec, until=start, by_season=aligned)
    layout = layout_for(spec, panel.axis)
    window, series = np.nonzero(table >= 0)
    origin = table[window, series]
    inputs = inputs_at(panel, layout, series, origin)
    slots = np.unique(inputs.phase) if aligned else np.array([POOLED], np.int64)
    fewest = min((int((windows.phase == s).sum()) for s in slots), default=0) if aligned else len(windows)
    if fewest < (FEWEST_PER_SLOT if aligned else 2):
        return None
    design = design_for(panel, layout)
    gathered = gather(panel, windows, layout, design, transform=transform, slots=slots, recent=RECENT)
    scale = local_scale(inputs.target, transform)
    rows = design.rows(inputs, scale, layout)
    truth = _Truth.at(panel, series, origin, spec, start, scale)
    trials = []
    for future in FUTURE_PENALTIES if spec.known_future else FUTURE_PENALTIES[:1]:
        paths = _paths(gathered, inputs, rows, slots, design.penalty_shares(layout, future))
        settings = {"transform": transform, "aligned": aligned, "future_penalty": future}
        trials.append(_best(paths, truth, inputs, spec, settings))
    return min((t for t in trials if t is not None), key=lambda t: t.loss, default=None)


@dataclass(frozen=True)
class _Truth:
    """What validation windows turned out to be, divided by each series' seasonal change; unobserved steps weigh 0."""

    y: Floats
    weight: Floats
    scale: LocalScale
    floor: float

    @classmethod
    def at(
        cls,
        panel: Panel,
        series: Integers,
        origin: Integers,
        spec: ForecastSpec,
        until: Integers,
        scale: LocalScale,
    ) -> _Truth:
        place = (panel.offsets[series] + origin)[:, None] + np.arange(spec.horizon)
        change = seasonal_change(panel, spec.season_length, until)
        usual = np.nanmedian(change) if np.isfinite(change).any() else 1.0
        change = np.where(np.nan_to_num(change) > 0, change, usual or 1.0)
        weight = panel.observed[place] / change[series][:, None]
        return cls(y=panel.y[place], weight=weight, scale=scale, floor=0.0 if spec.nonnegative else -np.inf)

    def loss(self, z: Floats) -> float:
        """Mean scaled absolute error of a path in the windows' units."""
        path = np.maximum(self.scale.inverse(z), self.floor)
        return float((np.abs(path - self.y) * self.weight).sum() / max(int((self.weight > 0).sum()), 1))


def _paths(gathered: Gathered, inputs: Inputs, rows: Floats, slots: Integers, shares: Floats) -> dict[Member, Floats]:
    """The forecast of every (recent part, penalty) in the windows' units, where each slot has windows enough."""
    paths: dict[Member, Floats] = {}
    for part in RECENT:
        if any(part not in m or (part < 1 and m[part].count < FEWEST_PER_SLOT) for m in gathered.moments):
            continue
        z = {penalty: np.empty((len(inputs), len(gathered.low))) for penalty in PENALTIES}
        for place, slot in enumerate(slots):
            of_slot = inputs.phase == slot if slot != POOLED else np.ones(len(inputs), bool)
            ridge = Ridge(gathered.moments[place][part], shares)
            for penalty in PENALTIES:
                weights, bias = ridge.solve(penalty)
                z[penalty][of_slot] = rows[of_slot] @ weights + bias
        paths |= {(part, penalty): np.clip(path, gathered.low, gathered.high) for penalty, path in z.items()}
    return paths


def _best(
    paths: dict[Member, Floats], truth: _Truth, inputs: Inputs, spec: ForecastSpec, settings: Settings
) -> _Trial | None:
    """The best penalty of each recent part; the best of them or of their means; then the best share of naive."""
    if not paths:
        return None
    of_part = [[key for key in paths if key[0] == part] for part in RECENT]
    kept = [min(keys, key=lambda key: truth.loss(paths[key])) for keys in of_part if keys]
    options = [tuple(kept[:n]) for n in range(1, len(kept) + 1)] + [(key,) for key in kept[1:]]
    means = {option: np.mean([paths[key] for key in option], axis=0) for option in options}
    best = min(options, key=lambda option: truth.loss(means[option]))
    lags = truth.scale.forward(inputs.target)
    mixed = {
        (period, share): truth.loss((1 - share) * means[best] + share * lags[:, repeated_lags(spec, period)])
        for period, share in product(naive_periods(spec), SHARES)
    }
    period, share = min(mixed, key=lambda mix: mixed[mix])
    members = [[part, penalty] for part, penalty in best]
    found = {**settings, "members": members, "naive_period": period, "naive_share": share}
    return _Trial(found, mixed[period, share])
