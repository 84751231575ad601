"""A forecast run: panel, future, model session, and the document that callers read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mcp_forecast_engine.data.fallback import optional_covariates, with_fallbacks
from mcp_forecast_engine.data.future import with_future
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.evaluation.progress import OnProgress
from mcp_forecast_engine.factory.inputs import Panels
from mcp_forecast_engine.models.features import phase_of, tail_stamps
from mcp_forecast_engine.serving.explain import explain
from mcp_forecast_engine.serving.factors import MEANING, factors
from mcp_forecast_engine.serving.forecast import BATCH, Forecast, forecast
from mcp_forecast_engine.serving.request import require_inputs, require_levels, require_same_columns
from mcp_forecast_engine.serving.rounding import rounded
from mcp_forecast_engine.serving.session import ModelSession, ModelSessions
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes

if TYPE_CHECKING:
    from mcp_forecast_engine.data.dataset import Dataset
    from mcp_forecast_engine.data.frame import Panel, TimeAxis
    from mcp_forecast_engine.models.contract import Contract
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
        require_inputs(trained["serving"], session.contract.layout)
        require_levels(plan["levels"], session.contract.levels)
        panel, warnings = self._with_future(plan, panel, dataset, session.contract.layout, trained["serving"])
        made = forecast(session, panel, on_progress=on_progress)
        series = columns_of(made, plan["horizon"], plan["levels"], panel.axis)
        meaning = {}
        if plan.get("explain"):
            why = explain(session, panel, on_progress=on_progress)
            series = [{**one, "explanation": factors(why, i, plan["horizon"])} for i, one in enumerate(series)]
            meaning = {"explained": MEANING}
        batches = -(-len(made.unique_id) // BATCH)
        on_progress(batches, batches, "writing the forecast")
        return canonical_bytes(
            {
                "kind": "inference",
                "model": {"run_id": plan["model_run_id"], "chosen": trained["chosen"], "digest": plan["model_digest"]},
                "dataset_id": plan["dataset_id"],
                "horizon": plan["horizon"],
                "levels": plan["levels"],
                "trust": trained["trust"],
                "series": series,
                **meaning,
                "warnings": [
                    *plan["warnings"], *report.warnings, *_short_past(panel, session.contract.layout),
                    *_strange(panel, session.contract), *warnings,
                ],
            }
        )  # fmt: skip

    def inline(self, plan: dict[str, Any]) -> bool:
        """Whether the model of a plan may answer here; else only a worker runs it. Raises ArtifactCorrupt."""
        return self._session(plan["model_digest"]).inline

    def infer(self, job: Job) -> bytes:
        """The same, as the work of a queued run."""

        def told(done: int, total: int, text: str) -> None:
            job.progress(done, total, text)
            job.check()

        return self.document(job.run.plan, told)

    def _with_future(
        self, plan: dict[str, Any], panel: Panel, dataset: Dataset, layout: Layout, serving: dict[str, Any]
    ) -> tuple[Panel, list[str]]:
        """The panel with its future, of rows sent or of the data's own; what is optional and missing falls back."""
        optional, told = optional_covariates(serving), []
        if plan["future"]:
            rows = json.loads(self._artifacts.get(plan["future"]))
            names = [name for name in layout.known_future if name not in serving.get("derived", ())]
            panel, left = with_future(
                panel, dataset.schema, rows, layout.horizon, names, optional=[one.name for one in optional]
            )
            if left:
                told.append(f"{left} of {len(rows)} future rows lie outside the {layout.horizon} steps after the data; "
                            "not used")  # fmt: skip
        panel, warnings = with_fallbacks(panel, optional, layout.horizon)
        return panel, [*told, *warnings]

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


def _strange(panel: Panel, contract: Contract) -> list[str]:
    """What a reader has to know where the data differ from what the model was tested on."""
    found, layout = [], contract.layout
    place = phase_of(tail_stamps(panel, 1)[:, 0], layout.axis, layout.season_length)
    odd = [int(at) for at in place if contract.phases and int(at) not in contract.phases]
    if odd:
        told = " and ".join(str(phase) for phase in contract.phases[:4])
        found.append(
            f"{len(odd)} forecasts start at place {odd[0]} of the season ({layout.season_length} steps), the networks "
            f"of the model learned starts at {told}: they are left out, and the model is not tested there"
        )
    strangers = sorted(set(panel.unique_id) - set(layout.series)) if layout.series else []
    if strangers:
        named = ", ".join(strangers[:5])
        found.append(f"{len(strangers)} series were not in the training data ({named}): they get what all share")
    return found


def columns_of(made: Forecast, horizon: int, levels: list[int], axis: TimeAxis) -> list[dict[str, Any]]:
    """The first `horizon` steps of a forecast as a document's columns, per series; levels: intervals in per cent."""
    bounds: dict[str, Any] = {}
    for level in levels:
        low = round((100 - level) / 200, 4)
        bounds |= {f"lo-{level}": made.at(low), f"hi-{level}": made.at(round(1 - low, 4))}
    return [
        {
            "unique_id": name,
            "ds": [time_text(int(at), axis) for at in made.ds[i, :horizon]],
            "median": rounded(made.median[i, :horizon]),
            **{column: rounded(values[i, :horizon]) for column, values in bounds.items()},
        }
        for i, name in enumerate(made.unique_id)
    ]
