"""A forecast run: panel, future, model session, and the document that callers read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mcp_forecast_engine.data.fallback import optional_covariates, with_fallbacks
from mcp_forecast_engine.data.future import with_future
from mcp_forecast_engine.data.given import UNCOUNTED, frozen_future
from mcp_forecast_engine.data.profile import time_text
from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.evaluation.progress import OnProgress
from mcp_forecast_engine.factory.inputs import Panels
from mcp_forecast_engine.models.features import phase_of, tail_stamps
from mcp_forecast_engine.serving.categories import recoded, require_seen, unseen_past
from mcp_forecast_engine.serving.explain import explain
from mcp_forecast_engine.serving.factors import MEANING, factors
from mcp_forecast_engine.serving.forecast import BATCH, Forecast, forecast
from mcp_forecast_engine.serving.request import require_inputs, require_levels, require_same_columns
from mcp_forecast_engine.serving.rounding import rounded
from mcp_forecast_engine.serving.served import gate_told
from mcp_forecast_engine.serving.session import ModelSession, ModelSessions
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes

if TYPE_CHECKING:
    from mcp_forecast_engine.data.dataset import Dataset
    from mcp_forecast_engine.data.frame import Panel, TimeAxis
    from mcp_forecast_engine.models.contract import Contract
    from mcp_forecast_engine.models.features import Layout
    from mcp_forecast_engine.runtime.job import Job


class _OutOfTime(Exception):
    """The caller will not wait longer: the same plan is queued for a worker instead."""


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
        panel, report, dataset, _ = self._panels.get(plan, self._artifacts)
        on_progress(0, 0, "the data is read")
        trained = json.loads(self._artifacts.get(plan["training_document"]))
        session = self._session(plan)
        panel, warnings = self._read(plan, panel, dataset, session.contract, trained["serving"])
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
                "model": {
                    "run_id": plan["model_run_id"],
                    "chosen": trained["chosen"],
                    "digest": plan["model_digest"],
                    **({"bundle": plan["bundle"]} if "bundle" in plan else {}),
                    **gate_told(trained),
                },
                "dataset_id": plan["dataset_id"],
                "horizon": plan["horizon"],
                "levels": plan["levels"],
                "trust": trained["trust"],
                "series": series,
                **meaning,
                "warnings": [*plan["warnings"], *report.warnings, *warnings],
            }
        )

    def document_in_time(self, plan: dict[str, Any], should_stop: Callable[[], bool]) -> bytes | None:
        """The same while a caller waits; None where that lasts too long, or where only a worker runs the model.

        Raises what `document` does.
        """

        def told(done: int, total: int, text: str) -> None:
            if should_stop():
                raise _OutOfTime

        if not self._session(plan).inline:
            return None
        try:
            return self.document(plan, told)
        except _OutOfTime:
            return None

    def infer(self, job: Job) -> bytes:
        """The same, as the work of a queued run."""

        def told(done: int, total: int, text: str) -> None:
            job.progress(done, total, text)
            job.check()

        return self.document(job.run.plan, told)

    def _read(
        self, plan: dict[str, Any], panel: Panel, dataset: Dataset, contract: Contract, serving: dict[str, Any]
    ) -> tuple[Panel, list[str]]:
        """The panel as the model reads it, in its codes and with its future, and what a reader has to know of it.

        Raises CovariatesMismatch and DataInvalid where it is not what the model was trained on.
        """
        layout = contract.layout
        require_same_columns(serving, dataset.schema)
        require_inputs(serving, layout)
        require_levels(plan["levels"], contract.levels)
        told = [*_short_past(panel, layout), *_strange(panel, contract)]
        read, warnings = self._with_future(plan, recoded(panel, contract.categories), dataset, layout, serving)
        require_seen(read, panel, contract.categories, layout.horizon)
        return read, [*told, *warnings]

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
        sent = [name for name in layout.known_future if name in panel.future and name not in serving.get("derived", ())]
        strange = [*warnings, *frozen_future(panel, sent, layout.horizon)]
        return panel, [*told, *strange, *([UNCOUNTED] if strange else [])]

    def _session(self, plan: dict[str, Any]) -> ModelSession:
        """The model of a plan. Raises ArtifactCorrupt by the name of its file."""
        digest = plan["model_digest"]
        try:
            return self._sessions.find(digest) or self._sessions.get(digest, self._artifacts.get(digest))
        except ArtifactCorrupt as error:
            files = json.loads(self._artifacts.get(plan["training_document"]))["artifacts"]
            name = next((file["name"] for file in files if file["digest"] == digest), "the model")
            raise ArtifactCorrupt(
                f"{name} of {plan['model_run_id']}: {error.message}", next_step=error.next_step
            ) from error


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
        told = _named(contract.phases)
        found.append(
            f"{len(odd)} forecasts start at place {odd[0]} of the season ({layout.season_length} steps), the networks "
            f"of the model learned starts at {told}: they are left out, and the model is not tested there"
        )
    untested = [int(at) for at in place if contract.tested and int(at) not in (*contract.tested, *odd)]
    if untested:
        found.append(
            f"{len(untested)} forecasts start at place {untested[0]} of the season ({layout.season_length} steps), the "
            f"intervals were measured on forecasts from {_named(contract.tested)}: how often they hold here is unknown"
        )
    strangers = sorted(set(panel.unique_id) - set(layout.series)) if layout.series else []
    if strangers:
        named = ", ".join(strangers[:5])
        found.append(f"{len(strangers)} series were not in the training data ({named}): they get what all share")
    return [*found, *unseen_past(panel, contract.categories, layout.lookback)]


def _named(phases: Sequence[int]) -> str:
    shown = [str(phase) for phase in phases[:4]]
    return " and ".join(shown) + (f" and {len(phases) - 4} more" if len(phases) > 4 else "")


def columns_of(made: Forecast, horizon: int, levels: list[int], axis: TimeAxis) -> list[dict[str, Any]]:
    """The first `horizon` steps of a forecast as a document's columns, per series; levels: intervals in per cent.

    A mean stands beside medians that are mostly zero.
    """
    bounds: dict[str, Any] = {"mean": made.mean} if made.mostly_silent else {}
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
