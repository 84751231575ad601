"""What an answer costs beside onnxruntime alone, on the same graph and the same numbers; and many series at once.

    python benchmarks/forecasting/serving.py [--calls 2000] [--many 10000]

raw: `InferenceSession.run` on inputs that lie ready. guarded: `ModelSession.run`, from the engine's inputs to checked
quantiles. whole: `forecast`, from a panel: its contract checked, inputs gathered, stamps made. Medians (p50) of wall
time, and of the thread's CPU time, which other work on the machine disturbs less; calls are taken in turn, so that a
busy moment falls on all three. Families: the ridge, and the network where torch is there to fit it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from forecasting.machine import cpu_seconds, machine_text, peak_rss_mb
from mcp_forecast_engine.data.frame import Panel, TimeAxis
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_model
from mcp_forecast_engine.models.features import tail_inputs
from mcp_forecast_engine.models.spec import QUANTILES, spec_for
from mcp_forecast_engine.models.table import MODELS
from mcp_forecast_engine.serving.forecast import forecast
from mcp_forecast_engine.serving.inference import columns_of
from mcp_forecast_engine.serving.session import OnnxSession, load_model
from mcp_forecast_engine.store.identity import canonical_bytes

HORIZON: Final = 24
STEPS: Final = 24 * 21
SIZES: Final = (1, 256)
COVARIATES: Final = ("load", "wind")


def made_panel(series: int, *, seed: int = 7) -> Panel:
    """Hourly series of three weeks that follow two covariates, which are known a day ahead."""
    draw = np.random.default_rng(seed)
    future = {name: draw.normal(0.0, 1.0, (series, HORIZON)) for name in COVARIATES}
    past = {name: draw.normal(0.0, 1.0, (series, STEPS)) for name in COVARIATES}
    day = np.sin(2 * np.pi * np.arange(STEPS) / 24)
    y = 50 + draw.normal(0, 5, (series, 1)) + 10 * day + 3 * past["load"] - past["wind"] + draw.normal(0, 1, day.shape)
    start = np.datetime64("2015-01-01", "s").astype(np.int64)
    return Panel(
        unique_id=tuple(f"s{i:05d}" for i in range(series)),
        offsets=np.arange(series + 1, dtype=np.int64) * STEPS,
        ds=np.tile(start + 3600 * np.arange(STEPS), series),
        y=y.ravel(),
        observed=np.ones(y.size, bool),
        covariates={name: values.ravel() for name, values in past.items()},
        roles=dict.fromkeys(COVARIATES, "known_future"),
        categories={},
        axis=TimeAxis("calendar", "h"),
        season_length=24,
        future=future,
        future_ds=np.tile(start + 3600 * (STEPS + np.arange(HORIZON)), (series, 1)),
    )


def loaded(family: str) -> OnnxSession:
    """A model of a family, fitted on 20 series and exported; intervals as a level's share of the window's spread."""
    panel = made_panel(20)
    spec = spec_for(panel, HORIZON, roles=("known_future",))
    asked = {"visits": 10_000, "bend": "asinh"} if family == "mlp" else {}
    path = MODELS[family].fit(panel, spec, MODELS[family].tune(panel, spec, [], asked))
    offsets = np.tile(np.array(QUANTILES) - 0.5, (HORIZON, 1))
    model = CalibratedModel(path, Calibration(offsets, Unit("identity", "change"), phase=None))
    session = load_model(export_model(model, contract_of(model, panel)))
    assert isinstance(session, OnnxSession)
    return session


def in_turn(calls: int, works: dict[str, Callable[[], Any]], clock: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each work on a clock, taken in turn."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(calls):
        for name, work in works.items():
            begun = clock()
            work()
            spent[name].append(clock() - begun)
    return {name: median(found) for name, found in spent.items()}


def compared(session: OnnxSession, series: int, calls: int) -> str:
    """Medians for so many series, and the ratios."""
    panel = made_panel(series)
    inputs = tail_inputs(panel, session.contract.layout)
    runtime, ready = session.runtime, session.fed(inputs)
    works: dict[str, Callable[[], Any]] = {
        "raw": lambda: runtime.run(["quantiles"], ready),
        "guarded": lambda: session.run(inputs),
        "whole": lambda: forecast(session, panel),
    }
    lines = []
    for name, clock in (("wall", time.perf_counter), ("CPU", time.thread_time)):
        spent = in_turn(max(calls // max(series // 16, 1), 50), works, clock)
        told = ", ".join(
            f"{work} {1e6 * spent[work]:.0f} us ({spent[work] / spent['raw']:.2f} x, "
            f"+ {1e6 * (spent[work] - spent['raw']):.0f} us)"
            for work in ("guarded", "whole")
        )
        lines.append(f"{series} series, p50 {name}: raw {1e6 * spent['raw']:.0f} us, {told}")
    return "\n  ".join(lines)


def many(session: OnnxSession, series: int) -> str:
    """One line: a forecast of many series and its document."""
    panel = made_panel(series)
    cpu, wall = cpu_seconds(), time.perf_counter()
    found = forecast(session, panel)
    between = time.perf_counter()
    document = canonical_bytes(columns_of(found, HORIZON, [80, 95], panel.axis))
    end = time.perf_counter()
    return (
        f"{series} series: forecast {between - wall:.2f} s, document {end - between:.2f} s ({len(document) / 1e6:.1f} "
        f"MB), CPU {cpu_seconds() - cpu:.2f} s, peak {peak_rss_mb():.0f} MB"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--many", type=int, default=10_000)
    asked = parser.parse_args()
    print(machine_text())
    for family in ("direct_ridge", *(["mlp"] if find_spec("torch") else [])):
        session = loaded(family)
        for series in SIZES:
            print(f"{family}, {compared(session, series, asked.calls)}", flush=True)
        print(f"{family}, {many(session, asked.many)}", flush=True)


if __name__ == "__main__":
    main()
