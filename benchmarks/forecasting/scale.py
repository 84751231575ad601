"""What a training and its forecasts cost as the series become many: CPU, time, peak memory, and the slope.

    python benchmarks/forecasting/scale.py [--panel daily|monthly|hourly] [--series 100,1000,10000]
                                           [--budget small|large] [--cores 1]

Panels are made here, from a seed: level, trend, season and noise per series. Every size runs in a process of its own,
so that its peak memory is its own. Slope: of log CPU over log series, between neighbouring sizes.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from forecasting.machine import cpu_seconds, machine_text, peak_rss_mb
from mcp_forecast_engine.data.frame import Panel, TimeAxis
from mcp_forecast_engine.evaluation.backtest import backtest, fit_arm
from mcp_forecast_engine.evaluation.budget import BUDGETS
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_model
from mcp_forecast_engine.serving.forecast import forecast
from mcp_forecast_engine.serving.inference import columns_of
from mcp_forecast_engine.serving.session import load_model
from mcp_forecast_engine.store.identity import canonical_bytes

# kind: frequency, season, steps per series, horizon.
PANELS: Final = {"daily": ("D", 7, 200, 14), "monthly": ("MS", 12, 120, 12), "hourly": ("h", 24, 600, 48)}
_SECONDS: Final = {"D": 86_400, "h": 3_600}
T = TypeVar("T")


def made_panel(kind: str, series: int, *, seed: int = 7) -> Panel:
    """`series` positive series of a kind, each with its own level, trend, seasonal profile and noise."""
    freq, season, steps, _ = PANELS[kind]
    draw = np.random.default_rng(seed)
    level = np.exp(draw.normal(4.0, 1.0, (series, 1)))
    profile = draw.normal(0.0, 0.2, (series, season))
    trend = draw.normal(0.0, 0.15, (series, 1)) * np.linspace(-1, 1, steps)
    noise = draw.normal(0.0, 0.1, (series, steps))
    y = level * np.exp(trend + np.tile(profile, -(-steps // season))[:, :steps] + noise)
    return Panel(
        unique_id=tuple(f"s{i:05d}" for i in range(series)),
        offsets=np.arange(series + 1, dtype=np.int64) * steps,
        ds=np.tile(_stamps(freq, steps), series),
        y=y.ravel(),
        observed=np.ones(series * steps, bool),
        covariates={},
        roles={},
        categories={},
        axis=TimeAxis("calendar", freq),
        season_length=season,
        future={},
        future_ds=np.zeros((series, 0), np.int64),
    )


def measured(kind: str, series: int, budget: str, cores: int) -> dict[str, Any]:
    """CPU and wall seconds of each stage, of everything, and peak memory of this process."""
    stages: dict[str, tuple[float, float]] = {}
    timed = partial(_timed, stages)
    panel, horizon = made_panel(kind, series), PANELS[kind][3]
    plan = plan_for(panel, horizon)
    made = timed("backtest", lambda: backtest(panel, plan, BUDGETS[budget], cpu_clock=time.thread_time, cores=cores))
    found, costs = made.report, {name: round(spent, 2) for name, spent in made.costs.items()}
    del made  # as a training, which keeps the report alone
    chosen = found.arm(found.chosen)
    names = tuple(f"{line.name} {line.weight:.2g}" for line in found.tried)
    report = timed("report", lambda: canonical_bytes(found.to_dict()))
    model = timed("fit", lambda: fit_arm(panel, chosen))
    content = timed("export", lambda: export_model(model, contract_of(model, panel)))
    session = timed("load", lambda: load_model(content))
    ahead = timed("forecast", lambda: forecast(session, panel))
    document = timed("document", lambda: canonical_bytes(columns_of(ahead, horizon, [80, 95], panel.axis)))
    return {
        "panel": kind, "series": series, "windows": plan.windows, "models": names, "costs": costs, "stages": stages,
        "cpu_s": sum(cpu for cpu, _ in stages.values()), "wall_s": sum(wall for _, wall in stages.values()),
        "peak_rss_mb": peak_rss_mb(), "report_mb": len(report) / 1e6, "model_mb": len(content) / 1e6,
        "document_mb": len(document) / 1e6,
    }  # fmt: skip


def _timed(stages: dict[str, tuple[float, float]], name: str, work: Callable[[], T]) -> T:
    """What the work returns; its CPU and wall seconds go into `stages`."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    found = work()
    stages[name] = (cpu_seconds() - cpu, time.perf_counter() - wall)
    return found


def _stamps(freq: str, steps: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Hours, midnights, or first days of months, from 2015-01-01, seconds."""
    if freq in _SECONDS:
        return np.datetime64("2015-01-01", "s").astype(np.int64) + _SECONDS[freq] * np.arange(steps)
    return (np.datetime64("2015-01", "M") + np.arange(steps)).astype("datetime64[s]").astype(np.int64)


def main() -> None:
    """Measure what the command line names, one process per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panel", choices=tuple(PANELS), default="daily")
    parser.add_argument("--series", default="100,1000,10000")
    parser.add_argument("--budget", choices=tuple(BUDGETS), default="small")
    parser.add_argument("--cores", type=int, default=1, help="threads of the backtest")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        print(json.dumps(measured(asked.panel, asked.one, asked.budget, asked.cores)))
        return
    print(machine_text(), flush=True)
    before: dict[str, Any] | None = None
    for size in (int(text) for text in asked.series.split(",")):
        command = [sys.executable, __file__, "--panel", asked.panel, "--budget", asked.budget]
        command += ["--cores", str(asked.cores), "--one", str(size)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(told(found, before), flush=True)
        before = found


def told(found: dict[str, Any], before: dict[str, Any] | None) -> str:
    """A measured size in three lines."""
    stages = ", ".join(f"{name} {cpu:.2f} ({wall:.2f})" for name, (cpu, wall) in found["stages"].items())
    slope = ""
    if before is not None:
        rise = math.log(found["cpu_s"] / before["cpu_s"]) / math.log(found["series"] / before["series"])
        slope = f", slope {rise:.2f}"
    sizes = ", ".join(f"{name} {found[f'{name}_mb']:.1f} MB" for name in ("report", "model", "document"))
    return (
        f"{found['panel']} {found['series']}: CPU {found['cpu_s']:.1f} s, wall {found['wall_s']:.1f} s, "
        f"peak {found['peak_rss_mb']:.0f} MB{slope}; {found['windows']} windows\n  CPU (wall) s: {stages}; {sizes}\n  "
        f"{', '.join(found['models'])}; {found['costs']}"
    )


if __name__ == "__main__":
    main()
