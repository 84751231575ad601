"""Peers in an environment of their own: a task handed over as arrays, forecasts handed back, scored as ours are."""

from __future__ import annotations

import json
import subprocess
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from forecasting.tasks import Forecasts, Task
from mcp_forecast_engine.data.frame import Panel

HERE = Path(__file__).parent
HOME = HERE / ".peers"
PYTHON = HOME / "bin" / "python"


class PeersAbsent(Exception):
    """There is no environment for the peers yet."""


def install() -> None:
    """Make the environment and install what `peers.txt` names: the one step here that fetches anything."""
    venv.create(HOME, with_pip=True, clear=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "-r", HERE / "peers.txt"], check=True)


def peer(name: str) -> Callable[[Panel, Task], Forecasts]:
    """A peer as a forecaster: one process per task. Raises PeersAbsent, and CalledProcessError where it fails."""
    if not PYTHON.exists():
        raise PeersAbsent("the peers are not installed: run benchmarks/forecasting/run.py --install-peers once")

    def forecaster(panel: Panel, task: Task) -> Forecasts:
        with tempfile.TemporaryDirectory() as folder:
            given, found = Path(folder) / "given.npz", Path(folder) / "found.npz"
            _hand_over(panel, task, given)
            subprocess.run([PYTHON, "-P", HERE / "peers.py", name, given, found], check=True, cwd=folder)
            with np.load(found, allow_pickle=False) as arrays:
                cost = json.loads(str(arrays["meta"]))
                return Forecasts(
                    arrays["median"], cpu_s=cost["cpu_s"], peak_rss_mb=cost["peak_rss_mb"], notes=(cost["versions"],)
                )

    return forecaster


def _hand_over(panel: Panel, task: Task, path: Path) -> None:
    """The task as arrays: what a peer gets is what ours get, the truth included, which cross-validation cuts off."""
    known, static = (
        sorted(name for name, role in panel.roles.items() if role == wanted) for wanted in ("known_future", "static")
    )
    meta = {
        "horizon": task.horizon,
        "season_length": task.season_length,
        "stride": task.stride,
        "test_windows": task.test_windows,
        "choose_rows": task.choose_rows,
        "fit_rows": task.fit_rows,
        "calendar": panel.axis.kind == "calendar",
        "freq": panel.axis.freq,
        "known": known,
        "static": static,
    }
    arrays: dict[str, Any] = {f"x_{name}": panel.covariates[name] for name in (*known, *static)}
    np.savez(path, meta=json.dumps(meta), offsets=panel.offsets, ds=panel.ds, y=panel.y, **arrays)
