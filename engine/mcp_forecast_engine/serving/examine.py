"""What an exported model does when it is run: which factors move its forecasts, and how long one takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Final

import numpy as np

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.factory.examination import Examination, Factor
from mcp_forecast_engine.models.features import tail_inputs
from mcp_forecast_engine.serving.categories import recoded
from mcp_forecast_engine.serving.explain import explain
from mcp_forecast_engine.serving.session import load_model

SERIES: Final = 20  # that are explained: evenly chosen, because each is forecast many times
_TIMES: Final = 20


def examine(model: bytes, panel: Panel, horizon: int) -> Examination:
    """Run a model on the last horizon of some series whose outcome is known. Raises ArtifactCorrupt.

    panel: what it was trained on, in steps; horizon: of the model, in steps.
    """
    session = load_model(model)
    long_enough = np.flatnonzero(panel.lengths > horizon)
    chosen = long_enough[np.linspace(0, len(long_enough) - 1, min(SERIES, len(long_enough))).round().astype(np.int64)]
    origin = np.full(len(panel.lengths), -1)
    origin[chosen] = panel.lengths[chosen] - horizon
    history = window_at(panel.as_settled(), origin, horizon).history
    found = explain(session, history)
    moved = np.abs(found.contributions).mean(axis=(0, 1))
    total = float(moved.sum())
    order = np.argsort(-moved, kind="stable")
    factors = [Factor(found.groups[i].name, found.groups[i].kind, _share(float(moved[i]), total)) for i in order]
    one = tail_inputs(recoded(history, session.contract.categories), session.contract.layout).take(slice(0, 1))
    return Examination(tuple(factors), len(chosen), _median_ms(lambda: session.run(one)))


def _share(moved: float, total: float) -> float:
    return 0.0 if total == 0 else float(f"{moved / total:.4g}")


def _median_ms(run: Callable[[], object]) -> float:
    taken = []
    for _ in range(_TIMES):
        begun = time.perf_counter()
        run()
        taken.append(1e3 * (time.perf_counter() - begun))
    return median(taken)
