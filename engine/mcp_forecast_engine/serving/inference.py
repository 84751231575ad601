"""A forecast run: panel, future, model session, and the document that callers read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mcp_forecast_engine.data.future import with_future
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.evaluation.progress import OnProgress
from mcp_forecast_engine.factory.inputs import Panels
from mcp_forecast_engine.serving.forecast import BATCH, Forecast, forecast
from mcp_forecast_engine.serving.request import require_same_columns
from mcp_forecast_engine.serving.session import ModelSession, ModelSessions
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes

if TYPE_CHECKING:
    from mcp_forecast_engine.data.dataset import Dataset
    from mcp_forecast_engine.data.frame import Panel
    from mcp_forecast_engine.models.features import Layout
    from mcp_forecast_engine.runtime.job import Job


class Serving:
    """Answers forecast plans; keeps the models and panels it used last."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._sessions, self._panels = ModelSessions(), Panels()

    def document(self, plan: dict[str, Any], on_progress: OnProgress) -> bytes:
        """The forecast of a plan as canonical JSON. `on_progress` may raise to stop it: once the data is read, between
        batches, and before the document is written.

        Raises CovariatesMismatch, DataInvalid, ArtifactCorrupt.
        """
        panel, report, dataset = self._panels.get(plan, self._artifacts)
        on_progress(0, 0, "the data is read")
        trained = json.loads(self._artifacts.get(plan["training_document"]))
        require_same_columns(trained["serving"], dataset.schema)
        session = self._session(plan["model_digest"])
        panel, warnings = self._with_future(plan, panel, dataset, session.contract.layout)
        made = forecast(session, panel, on_progress=on_progress)
        batches = -(-len(made.unique_id) // BATCH)
        on_progress(batches, batches, "writing the forecast")
        series = _columns(made, plan["horizon"], plan["levels"], panel.axis)
        return canonical_bytes(
            {
                "kind": "inference",
                "model": {"run_id": plan["model_run_id"], "chosen": trained["chosen"], "digest": plan["model_digest"]},
                "dataset_id": plan["dataset_id"],
                "horizon": plan["horizon"],
                "levels": plan["levels"],
                "trust": trained["trust"],
                "series": series,
                "warnings": [
                    *plan["warnings"], *report.warnings, *_short_past(panel, session.contract.layout), *warnings,
                ],
            }
        )  # fmt: skip

    def infer(self, job: Job) -> bytes:
        """The same, as the work of a queued run."""

        def told(done: int, total: int, text: str) -> None:
            job.progress(done, total, text)
            job.check()

        return self.document(job.run.plan, told)

    def _with_future(
        self, plan: dict[str, Any], panel: Panel, dataset: Dataset, layout: Layout
    ) -> tuple[Panel, list[str]]:
        if not plan["future"]:
            return panel, []
        rows = json.loads(self._artifacts.get(plan["future"]))
        panel, left = with_future(panel, dataset.schema, rows, layout.horizon, layout.known_future)
        told = f"{left} of {len(rows)} future rows lie outside the {layout.horizon} steps after the data; not used"
        return panel, [told] if left else []

    def _session(self, digest: str) -> ModelSession:
        return self._sessions.find(digest) or self._sessions.get(digest, self._artifacts.get(digest))


def _short_past(panel: Panel, layout: Layout) -> list[str]:
    """What a reader has to know where a series is shorter than what the model reads."""
    shortest = int(panel.lengths.min())
    if shortest >= layout.lookback:
        return []
    which = "the series has" if len(panel.unique_id) == 1 else "the shortest series has"
    return [
        f"{which} {shortest} steps, the model reads {layout.lookback}: where a series is shorter, the missing past was "
        "continued backwards by its own first season"
    ]


_DIGITS: Final = 7  # what float32 carries


def _columns(made: Forecast, horizon: int, levels: list[int], axis: Any) -> list[dict[str, Any]]:
    bounds: dict[str, Any] = {}
    for level in levels:
        low = round((100 - level) / 200, 4)
        bounds |= {f"lo-{level}": made.at(low), f"hi-{level}": made.at(round(1 - low, 4))}
    return [
        {
            "unique_id": name,
            "ds": [time_text(int(at), axis) for at in made.ds[i, :horizon]],
            "median": _rounded(made.median[i, :horizon]),
            **{column: _rounded(values[i, :horizon]) for column, values in bounds.items()},
        }
        for i, name in enumerate(made.unique_id)
    ]


def _rounded(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in values.tolist()]
