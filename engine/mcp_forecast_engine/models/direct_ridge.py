"""Direct ridge: all horizon steps at once from lags, covariates and calendar, in closed form, pooled over series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.models.design import Design, design_for
from mcp_forecast_engine.models.features import Inputs, Layout, inputs_at, layout_for
from mcp_forecast_engine.models.forecaster import FittedPath, Settings
from mcp_forecast_engine.models.regression import Moments, Ridge, one_thread
from mcp_forecast_engine.models.scaling import TRANSFORMS, Transform, local_scale
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.windows import TrainingWindows, seasonal_change, training_windows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

PENALTIES = (0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0)
# Calibration windows: all of the history, and its most recent parts.
RECENT = (1.0, 0.5, 0.25, 0.0625)
FEWEST_PER_SLOT = 20
MOST_WEIGHTS = 8_000_000
_CHUNK = 2_048
_FURTHEST = 10.0
_DEFAULT: dict[str, Any] = {"transform": "identity", "aligned": False, "members": [[1.0, 1.0]]}


class DirectRidge:
    """Ridge regression on windows in their own units, penalty and calibration windows chosen on validation.

    Settings: transform; aligned (one set of weights per phase of the season, or one for all); members, a list of
    (recent part of the history, penalty) whose weights are averaged.
    """

    family: ClassVar[str] = "direct_ridge"

    @classmethod
    def tune(cls, panel: Panel, spec: ForecastSpec, origins: Sequence[Integers]) -> Settings:
        """Choose alignment on the target alone, then transform, penalties and calibration windows with all columns."""
        if not origins:
            return _DEFAULT
        with one_thread():
            plain = replace(spec, known_future=(), historical=(), static=())
            aligned = _choose_alignment(panel, plain, origins)
            transforms = TRANSFORMS if spec.nonnegative else TRANSFORMS[:1]
            trials = [_trial(panel, spec, origins, transform=t, aligned=aligned) for t in transforms]
        found = [trial for trial in trials if trial is not None]
        return min(found, key=lambda trial: trial.loss).settings if found else _DEFAULT

    @classmethod
    def fit(cls, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None = None) -> FittedPath:
        """Fit the chosen settings on the whole panel; raises HistoryTooShort where no window fits."""
        transform, aligned, members = settings["transform"], settings["aligned"], settings["members"]
        layout = layout_for(spec, panel.axis)
        design = design_for(panel, layout)
        windows = training_windows(panel, spec, until=panel.lengths, by_season=aligned)
        wanted = _slots(windows, aligned=aligned, phases=phases)
        recent = tuple(sorted({part for part, _ in members}, reverse=True))
        with one_thread():
            gathered = _gather(panel, windows, layout, design, transform=transform, slots=wanted, recent=recent)
            solved = [_average(gathered, slot, members) for slot in range(len(wanted))]
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


@dataclass(frozen=True)
class _Gathered:
    """Moments by slot and by recent part of the history, and the range of the targets with its margin."""

    moments: list[dict[float, Moments]]
    low: Floats
    high: Floats


@dataclass(frozen=True)
class _Trial:
    settings: Settings
    loss: float


def _slots(windows: TrainingWindows, *, aligned: bool, phases: Integers | None) -> Integers:
    """The phases to fit; a single pooled slot, marked -1, where phases share their weights."""
    if not len(windows):
        raise HistoryTooShort(
            "no training window fits into the history; lookback and horizon are too long for it",
            field="horizon",
            next_step="send more rows, or shorten the horizon",
        )
    if not aligned:
        return np.array([-1], np.int64)
    return np.unique(windows.phase if phases is None else phases)


def _gather(
    panel: Panel,
    windows: TrainingWindows,
    layout: Layout,
    design: Design,
    *,
    transform: Transform,
    slots: Integers,
    recent: tuple[float, ...],
) -> _Gathered:
    """Read the windows in chunks; each goes into the moments of its slot and of the smallest recent part it is in."""
    ring = np.searchsorted(np.array(recent[::-1]), windows.age, side="left")
    rings: list[list[Moments | None]] = [[None] * (len(recent) + 1) for _ in slots]
    low, high = np.full(layout.horizon, np.inf), np.full(layout.horizon, -np.inf)
    for place, slot in enumerate(slots):
        of_slot = windows.where(windows.phase == slot) if slot >= 0 else windows
        ring_of = ring[windows.phase == slot] if slot >= 0 else ring
        for start in range(0, len(of_slot), _CHUNK):
            part = slice(start, start + _CHUNK)
            rows, z, usable = _rows(panel, of_slot, part, layout, design, transform)
            low, high = np.minimum(low, z.min(axis=0)), np.maximum(high, z.max(axis=0))
            for r in np.unique(ring_of[part]):
                chosen = usable & (ring_of[part] == r)
                found = rings[place][r] or Moments.empty(rows.shape[1], layout.horizon)
                found.add(rows[chosen], z[chosen])
                rings[place][r] = found
    margin = 0.5 * (high - low) + 0.1
    return _Gathered([_nested(found, recent) for found in rings], low=low - margin, high=high + margin)


def _rows(
    panel: Panel, windows: TrainingWindows, part: slice, layout: Layout, design: Design, transform: Transform
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    series, origin = windows.series[part], windows.origin[part]
    inputs = inputs_at(panel, layout, series, origin)
    scale = local_scale(inputs.target, transform)
    truth = panel.y[(panel.offsets[series] + origin)[:, None] + np.arange(layout.horizon)]
    z = np.clip(scale.forward(truth), -_FURTHEST, _FURTHEST)
    # A flat lookback has no units of its own: it would drown the others. Only a panel of flat windows keeps them.
    usable = ~scale.flat if not scale.flat.all() else np.ones(len(series), bool)
    return design.rows(inputs, scale, layout), z, usable


def _nested(rings: list[Moments | None], recent: tuple[float, ...]) -> dict[float, Moments]:
    """Rings (newest first) add up to the recent parts that contain them."""
    out: dict[float, Moments] = {}
    total: Floats | None = None
    regressors = next((r.regressors for r in rings if r is not None), 0)
    for part, ring in zip((*recent[::-1], 2.0), rings, strict=True):
        if ring is not None:
            total = ring.sums if total is None else total + ring.sums
        if total is not None and part <= 1.0:
            out[part] = Moments(regressors=regressors, sums=total)
    return out


def _average(gathered: _Gathered, slot: int, members: Sequence[Sequence[float]]) -> tuple[Floats, Floats]:
    """Mean of the members' weights; a recent part without windows in this slot falls back to all of them."""
    moments = gathered.moments[slot]
    if not moments:
        raise HistoryTooShort("a phase of the season has no training window", field="horizon")
    solved = [Ridge(moments.get(part, moments[max(moments)])).solve(penalty) for part, penalty in members]
    weights, bias = zip(*solved, strict=True)
    return np.mean(weights, axis=0), np.mean(bias, axis=0)


def _choose_alignment(panel: Panel, spec: ForecastSpec, origins: Sequence[Integers]) -> bool:
    """One set of weights per phase pays where phases differ and there are windows enough; the target alone decides."""
    m = spec.season_length
    if m < 2 or m * spec.lookback * spec.horizon > MOST_WEIGHTS:
        return False
    apart, pooled = (_trial(panel, spec, origins, transform="identity", aligned=a) for a in (True, False))
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
    inputs = inputs_at(panel, layout, series, table[window, series])
    slots = np.unique(inputs.phase) if aligned else np.array([-1], np.int64)
    fewest = min((int((windows.phase == s).sum()) for s in slots), default=0) if aligned else len(windows)
    if fewest < (FEWEST_PER_SLOT if aligned else 2):
        return None
    design = design_for(panel, layout)
    gathered = _gather(panel, windows, layout, design, transform=transform, slots=slots, recent=RECENT)
    truth = _Truth.at(panel, series, table[window, series], spec, start)
    paths = _paths(gathered, inputs, design, layout, slots, transform)
    return _best(paths, truth, spec, transform=transform, aligned=aligned)


@dataclass(frozen=True)
class _Truth:
    """What validation windows turned out to be, divided by each series' seasonal change; unobserved steps weigh 0."""

    y: Floats
    weight: Floats

    @classmethod
    def at(cls, panel: Panel, series: Integers, origin: Integers, spec: ForecastSpec, until: Integers) -> _Truth:
        place = (panel.offsets[series] + origin)[:, None] + np.arange(spec.horizon)
        change = seasonal_change(panel, spec.season_length, until)
        usual = np.nanmedian(change) if np.isfinite(change).any() else 1.0
        change = np.where(np.nan_to_num(change) > 0, change, usual or 1.0)
        return cls(y=panel.y[place], weight=panel.observed[place] / change[series][:, None])

    def loss(self, path: Floats) -> float:
        """Mean scaled absolute error."""
        return float((np.abs(path - self.y) * self.weight).sum() / max(int((self.weight > 0).sum()), 1))


def _paths(
    gathered: _Gathered, inputs: Inputs, design: Design, layout: Layout, slots: Integers, transform: Transform
) -> dict[tuple[float, float], Floats]:
    """The forecast of every (recent part, penalty), in the series' units, where each slot has windows enough."""
    scale = local_scale(inputs.target, transform)
    rows = design.rows(inputs, scale, layout)
    paths: dict[tuple[float, float], Floats] = {}
    for part in RECENT:
        if any(part not in m or (part < 1 and m[part].count < FEWEST_PER_SLOT) for m in gathered.moments):
            continue
        z = {penalty: np.empty((len(inputs), layout.horizon)) for penalty in PENALTIES}
        for place, slot in enumerate(slots):
            of_slot = inputs.phase == slot if slot >= 0 else np.ones(len(inputs), bool)
            ridge = Ridge(gathered.moments[place][part])
            for penalty in PENALTIES:
                weights, bias = ridge.solve(penalty)
                z[penalty][of_slot] = rows[of_slot] @ weights + bias
        for penalty, path in z.items():
            paths[part, penalty] = scale.inverse(np.clip(path, gathered.low, gathered.high))
    return paths


def _best(
    paths: dict[tuple[float, float], Floats], truth: _Truth, spec: ForecastSpec, *, transform: Transform, aligned: bool
) -> _Trial | None:
    if not paths:
        return None
    floor = 0.0 if spec.nonnegative else -np.inf
    kept: list[tuple[float, float]] = []
    for part in RECENT:
        losses = {key: truth.loss(np.maximum(path, floor)) for key, path in paths.items() if key[0] == part}
        if losses:
            kept.append(min(losses, key=lambda key: losses[key]))
    options = [tuple(kept[:n]) for n in range(1, len(kept) + 1)] + [(key,) for key in kept[1:]]
    loss = {o: truth.loss(np.maximum(np.mean([paths[key] for key in o], axis=0), floor)) for o in options}
    best = min(options, key=lambda option: loss[option])
    members = [[part, penalty] for part, penalty in best]
    return _Trial({"transform": transform, "aligned": aligned, "members": members}, loss[best])
