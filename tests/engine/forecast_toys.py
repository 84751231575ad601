"""Small made panels for the tests of models, evaluation and serving."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel, TimeAxis
from mcp_forecast_engine.evaluation.budget import Budget

# Room for the baseline and the reference model of every arm, and for nothing that costs more.
REFERENCES_ONLY = Budget("small", 0.0)
HOUR = 3_600
MONDAY = 1_325_462_400  # 2012-01-02T00:00


def panel_of(
    series: list[NDArray[np.float64]],
    *,
    season_length: int,
    freq: str = "h",
    known_future: dict[str, list[NDArray[np.float64]]] | None = None,
    historical: dict[str, list[NDArray[np.float64]]] | None = None,
    static: dict[str, list[float]] | None = None,
    categories: dict[str, tuple[str, ...]] | None = None,
) -> Panel:
    """A panel of given series; freq "h" starts on a Monday, "1" counts steps."""
    lengths = [len(y) for y in series]
    axis = TimeAxis("integer", "1") if freq == "1" else TimeAxis("calendar", freq)
    ds = [np.arange(n) + 1 if freq == "1" else MONDAY + HOUR * np.arange(n) for n in lengths]
    covariates = {name: np.concatenate(parts) for name, parts in {**(known_future or {}), **(historical or {})}.items()}
    covariates |= {name: np.repeat(np.array(v, float), lengths) for name, v in (static or {}).items()}
    roles = dict.fromkeys(known_future or {}, "known_future") | dict.fromkeys(historical or {}, "historical")
    return Panel(
        unique_id=tuple(f"s{i:04d}" for i in range(len(series))),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        ds=np.concatenate(ds).astype(np.int64),
        y=np.concatenate(series).astype(np.float64),
        observed=np.ones(sum(lengths), bool),
        covariates=covariates,
        roles=roles | dict.fromkeys(static or {}, "static"),
        categories=categories or {},
        axis=axis,
        season_length=season_length,
        future={},
        future_ds=np.zeros((len(series), 0), np.int64),
    )


def hourly(days: int, *, seed: int = 0, effect: float = 4.0, level: float = 50.0) -> Panel:
    """One hourly series: a day profile, a driver whose effect is known, an indifferent past column, noise."""
    draw = np.random.default_rng(seed)
    hour = np.arange(24 * days)
    driver = np.cumsum(draw.normal(size=len(hour))) * 0.2
    driver -= driver.mean()
    y = level + 20 * np.sin(2 * np.pi * hour / 24) + effect * driver + draw.normal(size=len(hour))
    kind = (hour // 24 % 3).astype(float)
    return panel_of(
        [y],
        season_length=24,
        known_future={"driver": [driver], "kind": [kind]},
        historical={"past": [draw.normal(size=len(hour))]},
        categories={"kind": ("a", "b", "c")},
    )
