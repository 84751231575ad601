"""Settings of networks: what a rule gives, what a candidate fixes, what short fits choose on validation windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.forecaster import FittedModel, Settings
from mcp_forecast_engine.models.network_training import TrainingSettings
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.validation import validation_windows

Integers = NDArray[np.int64]

# Windows fitted at one phase of the season are few and overfit soon; windows at every origin are many.
_ALIGNED: dict[str, Any] = {
    "visits": 40_000,
    "batch": 64,
    "rate": 3e-3,
    "dropout": 0.25,
    "penalty": 100.0,
    "seeds": 4,
    "skip_decay": 10.0,
}
_EVERY: dict[str, Any] = {
    "visits": 150_000,
    "batch": 128,
    "rate": 3e-3,
    "dropout": 0.1,
    "penalty": 10.0,
    "seeds": 4,
    "skip_decay": 1.0,
}
_COMMON: dict[str, Any] = {"hidden": 128, "skip_rate": 0.3, "decay": 0.01, "weigh": 0.5, "seed": 1}
# Many series hardly overfit together.
_MANY: dict[str, Any] = {
    "visits": 200_000,
    "batch": 128,
    "rate": 6e-3,
    "dropout": 0.0,
    "penalty": 1.0,
    "seeds": 4,
    "skip_decay": 0.01,
}
_MANY_SERIES = 20
# Short fits choose: this part of the visits and this many seeds rank settings as long ones do.
_TRIAL = 0.2
_TRIAL_SEEDS = 2
_TRIAL_PASSES = 2
_MOST_SCORED = 4_000
# A small history is not shown more often than this, and not in fewer batches than this per pass.
_MOST_PASSES = 60
_FEWEST_BATCHES = 16
_MOST_PHASES = 4
# Horizons that a lookback spans where no season is known: there may be a long one, such as a year of weeks.
_REACH = 12


class Trainer(Protocol):
    """Fits on windows that end before `until` (S); `fit` of a family is the same for the whole panel."""

    def __call__(
        self, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None, until: Integers
    ) -> FittedModel:
        """A fitted model."""
        ...


def settings_for(panel: Panel, spec: ForecastSpec, asked: Settings) -> dict[str, Any]:
    """Every setting by rule, and what was asked for instead; a list is a choice that is still to be made.

    origins: "aligned" learns from windows at the phases that will be asked for, "every" from all. reach and measured:
    the lookback, and the part of it that the units of a window are measured over, in seasons, or in horizons where
    there is no season; they become lookback and span, in steps. scale, bend: see `Units`. visits: windows shown in
    training. weigh: windows count as their spread to this power: 0 as equals, 1 as in the series' units.
    """
    m, h = spec.season, spec.horizon
    origins = asked.get("origins", "aligned" if m > 1 and len(panel.unique_id) < _MANY_SERIES else "every")
    many = len(panel.unique_id) >= _MANY_SERIES
    rule = {**_COMMON, **(_MANY if many else _ALIGNED if origins == "aligned" else _EVERY), "origins": origins}
    rule["bend"] = ["identity", "asinh", "log"] if spec.nonnegative else ["identity", "asinh"]
    rule["scale"] = "window" if m > 1 else "last"
    unit, reach = m if m > 1 else h, asked.get("reach", _REACH if m == 1 else 0)
    longest = max((int(np.median(panel.lengths)) - h) // 2, min(spec.lookback, m))
    steps = [min(int(r * unit) or spec.lookback, longest) for r in (reach if _open(reach) else [reach])]
    rule["lookback"] = sorted(set(steps)) if len(set(steps)) > 1 else steps[0]
    rule["span"] = int(asked.get("measured", max(2, h / m) if m > 1 else 0) * unit)
    return {**rule, **{key: value for key, value in asked.items() if key not in ("reach", "measured")}}


def chosen(
    panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], settings: dict[str, Any], train: Trainer
) -> dict[str, Any]:
    """Close the open choices, one after the other, by short fits before the first window; the first without windows."""
    found = {key: value[0] if _open(value) else value for key, value in settings.items()}
    if not origins:
        return found
    windows = validation_windows(panel, spec, origins, most=_MOST_SCORED)
    phases = np.unique(windows.phase)
    short = {"visits": int(_TRIAL * found["visits"]), "seeds": min(_TRIAL_SEEDS, found["seeds"])}
    short["most"] = int(short["visits"] / _TRIAL_PASSES)
    for key in sorted(key for key, value in settings.items() if _open(value)):
        losses = []
        for option in settings[key]:
            trial = {**found, **short, key: option}
            losses.append(windows.loss(train(panel, spec, trial, phases=phases, until=windows.until)))
        found[key] = settings[key][int(np.argmin(losses))]
    return found


def training_of(settings: Settings, count: int, phases: int) -> TrainingSettings:
    """How to train on `count` windows of so many phases: small histories are shown less often, in smaller batches."""
    batch = min(int(settings["batch"]), max(count // _FEWEST_BATCHES, 8))
    visits = min(settings["visits"] * min(phases, _MOST_PHASES), _MOST_PASSES * count)
    return TrainingSettings(
        hidden=int(settings["hidden"]),
        seeds=int(settings["seeds"]),
        steps=max(int(visits) // batch, 1),
        batch=batch,
        rate=float(settings["rate"]),
        skip_rate=float(settings["skip_rate"]),
        dropout=float(settings["dropout"]),
        decay=float(settings["decay"]),
        skip_decay=float(settings["skip_decay"]),
        seed=int(settings["seed"]),
    )


def _open(value: Any) -> bool:
    return isinstance(value, list | tuple)
