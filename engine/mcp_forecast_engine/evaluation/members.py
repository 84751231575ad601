"""One model walks through the windows: fitted before them, on schedule, its paths kept in the series' units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.parallel import each
from mcp_forecast_engine.evaluation.progress import Progress
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.models.combination import Combination, Rule
from mcp_forecast_engine.models.features import Inputs, Layout, inputs_at, joined, phase_of
from mcp_forecast_engine.models.forecaster import FittedModel, Recalibrated, Settings
from mcp_forecast_engine.models.spec import ForecastSpec, never_negative
from mcp_forecast_engine.models.table import MODELS, PHASED

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Told = Callable[[int], None]

_ROWS = 4_096


@dataclass(frozen=True)
class Member:
    """A model with its settings. refits: how many fits the test windows are shared among; 0: the fit from before the
    validation windows answers them too."""

    name: str
    family: str
    settings: Settings
    refits: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"name": self.name, "family": self.family, "settings": dict(self.settings), "refits": self.refits}


@dataclass(frozen=True)
class ArmModel:
    """An arm's question and the members that answer it: their weights add up to 1, the rule makes their paths one.

    lookback: steps that are read.
    """

    name: str
    spec: ForecastSpec
    members: tuple[Member, ...]
    weights: tuple[float, ...]
    rule: Rule
    lookback: int


@dataclass(frozen=True)
class Walked:
    """A member's paths. paths: per window, (S', horizon), S' the series of the window. lookback: steps it read."""

    paths: tuple[Floats, ...]
    lookback: int


def walk(
    panel: Panel,
    member: Member,
    spec: ForecastSpec,
    origins: Sequence[Integers],
    *,
    starts: Sequence[int],
    follow: bool = False,
    told: Told = lambda windows: None,
) -> Walked:
    """Forecast every window from a model fitted on what lies before the first window of its group.

    origins: int64 (S) per window, -1 for series that take no part. starts: places of the windows at which the member is
    fitted again, the first is 0. follow: a family that recalibrates does so at every window instead. told: windows
    done so far.
    """
    paths: list[Floats] = []
    lookback = 1
    for path, read in walking(panel, member, spec, origins, starts=starts, follow=follow):
        paths.append(path)
        lookback = read
        told(len(paths))
    return Walked(tuple(paths), lookback)


def walking(
    panel: Panel,
    member: Member,
    spec: ForecastSpec,
    origins: Sequence[Integers],
    *,
    starts: Sequence[int],
    follow: bool = False,
    fitted: FittedModel | None = None,
) -> Iterator[tuple[Floats, int]]:
    """As `walk`, one window after the other: its path, and the steps that were read. A fit is made when it is due.

    fitted: the fit of all groups, where it has been made already.
    """
    family = MODELS[member.family]
    if follow and isinstance(family, Recalibrated):
        models = _renewed(family, panel, spec, member.settings, origins)
        for origin, model in zip(origins, models, strict=True):
            for path in _paths(panel, model, [origin]):
                yield path, model.layout.lookback
        return
    for start, end in zip(starts, (*starts[1:], len(origins)), strict=True):
        group = origins[start:end]
        model = fitted or fit_before(panel, member, spec, group)
        for path in _paths(panel, model, group):
            yield path, model.layout.lookback


def fit_before(panel: Panel, member: Member, spec: ForecastSpec, group: Sequence[Integers]) -> FittedModel:
    """A member fitted on what lies before the first window of a group, for the phases that its windows ask for."""
    history = history_before(panel, group[0], spec.horizon)
    # A fit knows what lies before it, and no more: whether the target has ever been below zero, too.
    known = replace(spec, nonnegative=never_negative(history))
    return MODELS[member.family].fit(history, known, member.settings, phases=_phases(panel, group, spec))


def history_before(panel: Panel, origin: Integers, horizon: int) -> Panel:
    """What a fit at a window gets to see: the series that take part, up to their origin (S)."""
    return window_at(panel, origin, horizon).history


def fit_members(
    panel: Panel,
    spec: ForecastSpec,
    members: Sequence[Member],
    weights: Sequence[float],
    rule: Rule,
    *,
    phases: Integers | None = None,
    cores: int = 1,
) -> FittedModel:
    """Every member fitted on the whole panel, as one model. phases: what families that learn some phases only learn."""

    def fit(member: Member, _: Progress) -> FittedModel:
        asked = phases if member.family in PHASED else None
        return MODELS[member.family].fit(panel, spec, member.settings, phases=asked)

    fitted = tuple(each(fit, members, Progress(0), cores=cores))
    return fitted[0] if len(fitted) == 1 else Combination(fitted, tuple(weights), rule)


def group_starts(windows: int, refits: int) -> tuple[int, ...]:
    """At which of the windows a member is fitted again, evenly spaced; the first is always one."""
    count = min(max(refits, 1), windows)
    return tuple(i * windows // count for i in range(count))


def _paths(panel: Panel, model: FittedModel, group: Sequence[Integers]) -> Iterator[Floats]:
    """The paths of a group of windows, many windows at a time but few enough for memory."""
    sizes = [int((origin >= 0).sum()) for origin in group]
    per_call = max(_ROWS // max(*sizes, 1), 1)
    for start in range(0, len(group), per_call):
        part = slice(start, start + per_call)
        found = model.point(_inputs(panel, model.layout, group[part]))
        yield from np.split(found, np.cumsum(sizes[part])[:-1])


def _inputs(panel: Panel, layout: Layout, group: Sequence[Integers]) -> Inputs:
    """What the forecasts of some windows read, one window after the other; of revised data what was known at each."""
    series = [np.flatnonzero(origin >= 0) for origin in group]
    at = [origin[some] for origin, some in zip(group, series, strict=True)]
    if panel.vintages is None:
        return inputs_at(panel, layout, np.concatenate(series), np.concatenate(at))
    return joined(
        [inputs_at(panel.as_known(o), layout, some, there) for o, some, there in zip(group, series, at, strict=True)]
    )


def _renewed(
    family: type[Recalibrated], panel: Panel, spec: ForecastSpec, settings: Settings, origins: Sequence[Integers]
) -> Iterator[FittedModel]:
    """A model for every window, that moves on with them; where data are revised each is learned from what was known."""
    if panel.vintages is None:
        yield from family.recalibrate(panel, spec, settings, origins)
        return
    for origin in origins:
        yield from family.recalibrate(panel.as_known(origin), spec, settings, [origin])


def _phases(panel: Panel, group: Sequence[Integers], spec: ForecastSpec) -> Integers:
    """The phases that a group of windows will ask for."""
    stamps = [panel.ds[(panel.offsets[:-1] + origin)[origin >= 0]] for origin in group]
    return np.unique(phase_of(np.concatenate(stamps), panel.axis, spec.season_length))
