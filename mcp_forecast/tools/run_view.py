"""How a run looks to a caller: its row, its result cut to a page, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mcp_forecast.errors import run_error
from mcp_forecast.tools.brief import MOST, brief
from mcp_forecast.tools.cursor import make_cursor
from mcp_forecast.tools.length import ROOM, fitted, length
from mcp_forecast.tools.links import artifact_uri, time_text
from mcp_forecast_contracts.schema import ResponseFormat
from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.registry.scope import without_scope
from mcp_forecast_engine.runtime.run import Run

if TYPE_CHECKING:
    from mcp_forecast.app import App


@dataclass(frozen=True)
class OfCall:
    """What a call of a run tool asked for, and how the model of its forecast was found; None: it names a run."""

    asked: Mapping[str, Any]
    served_by: Mapping[str, Any] | None = None


Page = tuple[int, int | None]  # first row of a forecast, and how many rows; None: as many as fit
FIRST_PAGE: Final[Page] = (0, None)
# What is left for rows of a forecast, of 8,000 and of 100,000 characters.
FORECAST_CHARACTERS: Final[dict[ResponseFormat, int]] = {"concise": 5_500, "detailed": 80_000}
LINE_CHARACTERS: Final = 4_000  # of one run in a detailed list
POLL_AFTER_S: Final = 1.0
_SHOWN_FILES: Final = ("preprocessing.json", "evaluation.json")
_WAIT: Final = "call get_run_status with this run_id and wait_s=25 until it ends"
_NEXT: Final = {
    "QUEUED": _WAIT,
    "RUNNING": _WAIT,
    "EVAL_READY": _WAIT,
    "FAILED": "read error.next_step",
    "CANCELLED": "make the same call again to start a new attempt",
    "PASS": "read result.trust; then run_inference with this run_id, or publish_bundle to let it answer for a scope",
    "FAIL": "read result.gate: the rules that failed and, in its refinement, what to try; never publish or rely on it",
    "PUBLISH_PENDING": "read error.next_step: the publication is tried again, nothing is trained again",
    "PUBLISHED": "promote_bundle with its bundle_id (list_bundles with run_id), or run_inference with this run_id",
}
_NO_WORKERS: Final = (
    "this server starts no workers (MCP_FORECAST_WORKERS=0): the run waits until another server of this home takes it; "
    "then get_run_status with this run_id and wait_s=25"
)
_CANCELLING: Final = "the cancel is accepted; the process is gone within 5 seconds, then the state is CANCELLED"
_LONG: Final = (
    ". This is a page of {rows} rows: get_run_status with next_cursor and limit=5000 goes on, {uri} is all of it"
)
_AFTER_SUCCESS: Final = {
    "training": "read result.trust; if you go on, call run_inference with this run_id",
    "inference": "report the forecast with its intervals and result.trust; never invent numbers",
}


def run_answer(
    app: App,
    run: Run,
    page: Page,
    how: ResponseFormat = "concise",
    *,
    with_paths: bool = False,
    of_call: OfCall | None = None,
) -> dict[str, Any]:
    """The answer of every run tool. page: first row and number of rows of a forecast; how: all that is stored?

    with_paths: in detail, also where each artifact lies. of_call: what this call asked for; None: it names the run.
    """
    of_call = of_call or OfCall(run.plan["asked"])
    answer: dict[str, Any] = {
        "run_id": run.run_id,
        "kind": run.kind,
        "state": run.state,
        "attempt": run.attempt,
        "progress": {"done": run.progress_done, "total": run.progress_total, "text": run.progress_text},
        "created_at": time_text(run.created_at),
        "request": asked(run, of_call),
        "next_step": _CANCELLING if run.cancel_requested and not run.ended else _next_step(app, run),
    }
    for name, at in (("started_at", run.started_at), ("ended_at", run.ended_at)):
        if at is not None:
            answer[name] = time_text(at)
    if run.finished:
        room = ROOM[how] - length(answer)
        document = _served(_linked(app, run, how, with_paths=with_paths), run, of_call.served_by)
        answer["result"] = _paged(document, page, how, room=room)
        if answer["result"].get("has_more"):
            answer["next_step"] += _LONG.format(rows=answer["result"]["rows_total"], uri=artifact_uri(str(run.result)))
    if run.error is not None:
        answer["error"] = run_error(run.error)
    if not run.ended:
        answer["poll_after_s"] = POLL_AFTER_S
    return answer


def _next_step(app: App, run: Run) -> str:
    if run.state == "QUEUED" and app.settings.workers == 0:
        return _NO_WORKERS
    return _NEXT.get(run.state, _AFTER_SUCCESS[run.kind])


def run_line(app: App, run: Run, how: ResponseFormat = "concise") -> dict[str, Any]:
    """One run in a list."""
    line: dict[str, Any] = {
        "run_id": run.run_id,
        "kind": run.kind,
        "state": run.state,
        "created_at": time_text(run.created_at),
        "request": asked(run, OfCall(run.plan["asked"]), most=2),
    }
    if run.ended_at is not None:
        line["ended_at"] = time_text(run.ended_at)
    document: dict[str, Any] = {}
    if run.kind == "training" and run.finished:
        with suppress(ArtifactCorrupt):  # one damaged result must not hide the other runs; get_run_status names it
            document = app.engine.documents.of(run)
            line["verdict"] = document["trust"]["verdict"]
    if how == "detailed":
        line["details"] = _line_details(run, document)
    return line


def _line_details(run: Run, document: dict[str, Any]) -> dict[str, Any]:
    """What the row and the result say beyond a line; get_run_status has the rest."""
    details: dict[str, Any] = {
        "attempt": run.attempt,
        "progress": {"done": run.progress_done, "total": run.progress_total, "text": run.progress_text},
        "caller": run.caller,
        "run_key": run.run_key,
        "plan": {**run.plan, **_everybodys(run)},
        **{name: document[name] for name in ("trust", "chosen", "choice", "tried") if name in document},
    }
    if run.result is not None:
        details["result"] = {"digest": run.result, "uri": artifact_uri(run.result)}
    if run.error is not None:
        details["error"] = run_error(run.error)
    return fitted(details, "detailed", room=LINE_CHARACTERS)


def asked(run: Run, of_call: OfCall, *, most: int = MOST) -> dict[str, Any]:
    """What the caller asked for, without the digests that the engine pinned; long lists are cut.

    Of a training also the ACTIVE bundle that it is measured against, which is a part of its evidence; of a forecast
    that is not there yet, how its model was found.
    """
    told, champion = dict(of_call.asked), run.plan.get("request", {}).get("champion")
    if run.kind == "inference" and of_call.served_by is None:
        told = without_scope(told)
    elif run.kind == "inference" and not run.finished:
        told["served_by"] = dict(of_call.served_by or {})
    return brief({**told, **({"measured_against": champion} if champion else {})}, most=most)


def _everybodys(run: Run) -> dict[str, Any]:
    """The parts of a forecast's plan that are told to whoever names its run: a row of an older release has a scope."""
    if run.kind != "inference":
        return {}
    found = dict(run.plan.get("served_by", {"by": "run"}))
    if found["by"] == "registry":
        found = {"by": "bundle", **{name: found[name] for name in ("bundle_id", "version")}}
    return {"asked": without_scope(run.plan["asked"]), "served_by": found}


def _linked(app: App, run: Run, how: ResponseFormat, *, with_paths: bool) -> dict[str, Any]:
    """The result with where each artifact is read; paths are this home's, so they are not in the document."""
    found = app.engine.documents.details(run) if how == "detailed" else app.engine.documents.of(run)
    whole = {"name": "forecast.json", "digest": run.result, "media_type": "application/json"}
    artifacts = [{**a, "uri": artifact_uri(a["digest"])} for a in found.get("artifacts", [whole])]
    if how == "detailed" and with_paths:
        artifacts = [{**a, "path": str(app.engine.artifacts.path(a["digest"]).absolute())} for a in artifacts]
    elif how == "concise":
        artifacts = [a for a in artifacts if a["name"] in _SHOWN_FILES or not _is_evidence(a["name"])]
    shown = found if how == "detailed" else _concise(found)
    if run.kind == "training":
        shown = _with_costs(shown, app.engine.costs(run))
    return {**shown, "run_id": run.run_id, "artifacts": artifacts}


def _served(document: dict[str, Any], run: Run, served_by: Mapping[str, Any] | None) -> dict[str, Any]:
    """A forecast with how its model was found, which is no part of its bytes; other documents as they are."""
    if run.kind != "inference":
        return document
    found = served_by or _everybodys(run)["served_by"]
    return {**document, "model": {**document["model"], "served_by": dict(found)}}


def _with_costs(document: dict[str, Any], costs: dict[str, float]) -> dict[str, Any]:
    """A training's result with the CPU seconds it took, in all and by model: measured, so no part of its bytes."""
    if not costs:
        return document
    models = [
        {**line, **({"cpu_s": costs[line["model"]]} if line["model"] in costs else {})}
        for line in document.get("models", ())
    ]
    return {**document, "cpu_s": round(sum(costs.values()), 2), "models": models}


def _is_evidence(name: str) -> bool:
    """Whether a file is for those who check a training; its model is for everybody."""
    return not name.startswith(("model.", "forecast."))


def _concise(document: dict[str, Any]) -> dict[str, Any]:
    """A training's result without what a machine checks and a reader skips: tensors and evidence by digest alone.

    Of the gate the rules that failed; files of the evidence are in list_artifacts, their digests in detail.
    """
    if document["kind"] != "training" or "input_spec" not in document["serving"]:
        return document
    spec = {"digest": document["serving"]["input_spec"]["digest"]}
    short = {**document, "serving": {**document["serving"], "input_spec": spec}}
    if "gate" not in document:  # a training of a release before the gates
        return short
    gate = document["gate"]
    failed = [rule for rule in gate["rules"] if not rule["passed"]]
    open_ = {rule["rule"]: rule["why"] for rule in gate["rules"] if rule.get("compared") is False}
    kept = {
        "profile": gate["profile"]["name"], "rules": failed,
        "rules_kept": len(gate["rules"]) - len(failed) - len(open_), **({"not_compared": open_} if open_ else {}),
    }  # fmt: skip
    shown = {**gate, **kept, "receipt": document["refs"]["gate_receipt"]}
    return {name: value for name, value in {**short, "gate": shown}.items() if name != "refs"}


def _paged(document: dict[str, Any], page: Page, how: ResponseFormat, *, room: int) -> dict[str, Any]:
    """A forecast's rows from `first` on, `limit` of them or as many as fit; other documents cut to what fits."""
    if "series" not in document:
        return fitted(document, how, room=room)
    first, limit = page
    shown: list[dict[str, Any]] = []
    row, end, left = 0, first, float(FORECAST_CHARACTERS[how])
    for series in document["series"]:
        steps = len(series["ds"])
        low = max(first - row, 0)
        if low < steps and end == row + low:
            cost, header = _characters(series, low)
            fits = max(int((left - header) / cost), 0 if shown else 1)
            taken = min(steps - low, fits if limit is None else first + limit - end)
            if taken > 0:
                shown.append(_rows(series, low, taken))
                end, left = end + taken, left - header - taken * cost
        row += steps
    cut: dict[str, Any] = {**document, "series": shown, "rows_total": row, "has_more": end < row}
    if cut["has_more"]:
        cut["next_cursor"] = make_cursor(f"forecast {document['run_id']}", end)
    return cut


def _rows(series: dict[str, Any], low: int, taken: int) -> dict[str, Any]:
    """Some rows of a series: every list of it is a column, and of its explanation the lists called by_step."""
    columns = {n: v[low : low + taken] if isinstance(v, list) else v for n, v in series.items()}
    if "explanation" in series:
        why = series["explanation"]
        parts = [{**factor, "by_step": factor["by_step"][low : low + taken]} for factor in why["factors"]]
        columns["explanation"] = {**why, "by_step": why["by_step"][low : low + taken], "factors": parts}
    return columns


def _characters(series: dict[str, Any], row: int) -> tuple[float, int]:
    """About how many characters a row of this series takes, and its name and column names once."""
    header, one_row = (len(json.dumps(_rows(series, row, rows))) for rows in (0, 1))
    return (one_row - header) * 1.2 + 2, header  # commas between rows
