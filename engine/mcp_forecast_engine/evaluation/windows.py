"""Windows that cannot see the future: inputs are cut out of the panel, the truth stays with the scorer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """What a model gets to see at one origin.

    history: a panel that ends at the origin; its `future` holds the horizon of the known-future covariates and of
    nothing else. series: int64 (S'), places of its series in the whole panel.
    """

    history: Panel
    series: Integers


@dataclass(frozen=True)
class Truth:
    """What a window turned out to be: y (S', horizon) and which steps were observed; models never receive it."""

    y: Floats
    observed: NDArray[np.bool_]
    ds: Integers


def window_at(panel: Panel, origin: Integers, horizon: int) -> Window:
    """Cut the panel at `origin` (S) steps of history, -1 for series that take no part.

    The history is a copy: no view through which a later value could be reached. Of revised data it holds what was known
    when the window was forecast.
    """
    panel = panel.as_known(origin)
    series = np.flatnonzero(origin >= 0).astype(np.int64)
    keep = np.flatnonzero(panel.steps < np.repeat(origin, panel.lengths))
    ahead = (panel.offsets[series] + origin[series])[:, None] + np.arange(horizon)
    known = [name for name, role in panel.roles.items() if role == "known_future"]
    history = Panel(
        unique_id=tuple(panel.unique_id[i] for i in series),
        offsets=np.concatenate([[0], np.cumsum(origin[series])]).astype(np.int64),
        ds=panel.ds[keep],
        y=panel.y[keep],
        observed=panel.observed[keep],
        covariates={name: values[keep] for name, values in panel.covariates.items()},
        roles=panel.roles,
        categories=panel.categories,
        axis=panel.axis,
        season_length=panel.season_length,
        future={name: panel.covariates[name][ahead] for name in known},
        future_ds=panel.ds[ahead],
    )
    return Window(history=history, series=series)


def truth_at(panel: Panel, origin: Integers, horizon: int) -> Truth:
    """The horizon that a window was not shown; only the scorer asks for it."""
    panel, series = panel.as_settled(), np.flatnonzero(origin >= 0)
    ahead = (panel.offsets[series] + origin[series])[:, None] + np.arange(horizon)
    return Truth(y=panel.y[ahead], observed=panel.observed[ahead], ds=panel.ds[ahead])
