"""What a backtest keeps so that another run can be compared with it: losses per window (or series) and their truth."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.evaluation.metrics import Scored, quantile_losses, scaled_losses
from mcp_forecast_engine.evaluation.resampling import Unit, unit_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
METRICS: Final = ("MASE", "WQL", "MAE")
DEFINITIONS: Final = {
    "MASE": "mean |y - median| of a forecast, divided by the series' seasonal change before the first test origin",
    "WQL": "pinball losses at the levels 0.1, 0.2 .. 0.9",
    "MAE": "|y - median|",
}
_HEX: Final = 16  # 64 bits tell two truths apart


@dataclass(frozen=True)
class Losses:
    """Sums of losses by unit, for the arms that other runs are compared with.

    unit: what a group is, "window" (named by the time of its last known step, the latest of its series) or "series".
    groups: G names, windows in order of time. truth: (G), digests of the series, times and observed values scored.
    steps: (G), observed steps. scaled: (G), forecasts that have a MASE. scale: digest of MASE's scale of every series.
    series: digest of the names of the series tested. samples, seed: of the bootstrap.
    arms: name of the arm to name of the metric to (G) sums.
    """

    unit: Unit
    groups: tuple[str, ...]
    truth: tuple[str, ...]
    steps: tuple[int, ...]
    scaled: tuple[int, ...]
    scale: str
    series: str
    samples: int
    seed: int
    arms: Mapping[str, Mapping[str, tuple[float, ...]]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "unit": self.unit,
            "groups": list(self.groups),
            "truth": list(self.truth),
            "steps": list(self.steps),
            "scaled": list(self.scaled),
            "scale": self.scale,
            "series": self.series,
            "samples": self.samples,
            "seed": self.seed,
            "arms": {arm: {name: list(sums) for name, sums in found.items()} for arm, found in self.arms.items()},
            "definitions": dict(DEFINITIONS),
        }


def read_losses(plain: Mapping[str, Any]) -> Losses:
    """The losses that `to_dict` wrote."""
    return Losses(
        unit=plain["unit"],
        groups=tuple(plain["groups"]),
        truth=tuple(plain["truth"]),
        steps=tuple(plain["steps"]),
        scaled=tuple(plain["scaled"]),
        scale=plain["scale"],
        series=plain["series"],
        samples=plain["samples"],
        seed=plain["seed"],
        arms={arm: {name: tuple(sums) for name, sums in found.items()} for arm, found in plain["arms"].items()},
    )


def losses_of(
    arms: Mapping[str, Scored],
    panel: Panel,
    *,
    origins: Sequence[Integers],
    ds: Integers,
    samples: int,
    seed: int,
) -> Losses:
    """The losses of these arms, which were scored on the same rows.

    origins: of the test windows, (S) each, as in `origins_of`. ds: (R, horizon), the times of the rows of `Scored`.
    """
    first = next(iter(arms.values()))
    windows, by_window = np.unique(first.window, return_inverse=True)
    tested, by_series = np.unique(first.series, return_inverse=True)
    unit = unit_of(len(windows), len(tested))
    group = (by_series if unit == "series" else by_window).astype(np.int64)
    names = [panel.unique_id[i] for i in tested]
    return Losses(
        unit=unit,
        groups=tuple(names) if unit == "series" else tuple(_cutoff(panel, origin) for origin in origins),
        truth=_truths(first, panel, ds, group),
        steps=tuple(int(n) for n in np.bincount(group, weights=first.observed.sum(axis=1))),
        scaled=tuple(int(n) for n in np.bincount(group, weights=np.isfinite(scaled_losses(first)))),
        scale=_digest(first.season_length, *names, first.scale[tested]),
        series=_digest(*names),
        samples=samples,
        seed=seed,
        arms={name: _sums(scored, group) for name, scored in arms.items()},
    )


def _sums(scored: Scored, group: Integers) -> dict[str, tuple[float, ...]]:
    rows = {
        "MASE": scaled_losses(scored),
        "WQL": quantile_losses(scored),
        "MAE": np.abs(scored.errors).sum(axis=1, where=scored.observed),
    }
    found = {name: np.bincount(group, weights=np.nan_to_num(losses)) for name, losses in rows.items()}
    return {name: tuple(float(value) for value in sums) for name, sums in found.items()}


def _cutoff(panel: Panel, origin: Integers) -> str:
    """The time of the last known step of a window, the latest of its series; later windows have later ones."""
    here = np.flatnonzero(origin >= 0)
    return time_text(int(panel.ds[panel.offsets[here] + origin[here] - 1].max()), panel.axis)


def _truths(scored: Scored, panel: Panel, ds: Integers, group: Integers) -> tuple[str, ...]:
    """What was scored, by group: series, times and values; what was filled in is left out."""
    y = np.where(scored.observed, scored.y, 0.0) + 0.0  # no negative zero
    rows: list[list[str]] = [[] for _ in range(int(group.max()) + 1)]
    for at, place in enumerate(group):
        seen = scored.observed[at]
        if seen.any():
            rows[place].append(_digest(panel.unique_id[scored.series[at]], ds[at][seen], y[at][seen]))
    return tuple(_digest(*found) for found in rows)


def _digest(*parts: str | int | Integers | Floats) -> str:
    """A short digest of names and numbers, the same on every machine."""
    made = hashlib.sha256()
    for part in parts:
        data = (
            part.astype(part.dtype.newbyteorder("<")).tobytes() if isinstance(part, np.ndarray) else str(part).encode()
        )
        made.update(len(data).to_bytes(8, "little") + data)
    return made.hexdigest()[:_HEX]
