"""How a run looks to a caller: its row, its result cut to a page, and what to do next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mcp_forecast_engine.runtime.run import Run

from mcp_forecast.errors import run_error
from mcp_forecast.tools.cursor import make_cursor

if TYPE_CHECKING:
    from mcp_forecast.app import App

FIRST_PAGE: Final = (0, 72)  # (first row, rows): 72 rows of a forecast stay below 8,000 characters
POLL_AFTER_S: Final = 1.0
_NEXT: Final = {
    "QUEUED": "call get_run_status with this run_id and wait_s=25 until it ends",
    "RUNNING": "call get_run_status with this run_id and wait_s=25 until it ends",
    "FAILED": "read error.next_step",
    "CANCELLED": "make the same call again to start a new attempt",
}
_AFTER_SUCCESS: Final = {
    "training": "read result.trust; if you go on, call run_inference with this run_id",
    "inference": "report the forecast with its intervals and result.trust; never invent numbers",
}


def run_answer(app: App, run: Run, page: tuple[int, int]) -> dict[str, Any]:
    """The answer of every run tool. page: first row and number of rows of a forecast."""
    answer: dict[str, Any] = {
        "run_id": run.run_id,
        "kind": run.kind,
        "state": run.state,
        "attempt": run.attempt,
        "progress": {"done": run.progress_done, "total": run.progress_total, "text": run.progress_text},
        "created_at": _iso(run.created_at),
        "request": asked(run),
        "next_step": _NEXT.get(run.state, _AFTER_SUCCESS[run.kind]),
    }
    for name, at in (("started_at", run.started_at), ("ended_at", run.ended_at)):
        if at is not None:
            answer[name] = _iso(at)
    if run.state == "SUCCEEDED":
        answer["result"] = _paged(_linked(app, run), page)
    if run.error is not None:
        answer["error"] = run_error(run.error)
    if not run.ended:
        answer["poll_after_s"] = POLL_AFTER_S
    return answer


def run_line(app: App, run: Run) -> dict[str, Any]:
    """One run in a list."""
    line: dict[str, Any] = {
        "run_id": run.run_id,
        "kind": run.kind,
        "state": run.state,
        "created_at": _iso(run.created_at),
        "request": asked(run),
    }
    if run.ended_at is not None:
        line["ended_at"] = _iso(run.ended_at)
    if run.kind == "training" and run.state == "SUCCEEDED":
        line["verdict"] = app.engine.document(run)["trust"]["verdict"]
    return line


def asked(run: Run) -> dict[str, Any]:
    """What the caller asked for, without the digests that the engine pinned."""
    return dict(run.plan["asked"])


def _linked(app: App, run: Run) -> dict[str, Any]:
    """The result with where each of its artifacts lies; the paths are this home's, so they are not in the document."""
    document = app.engine.document(run)
    whole = {"name": "forecast.json", "digest": run.result, "media_type": "application/json"}
    artifacts = [{**a, "uri": app.engine.artifacts.uri(a["digest"])} for a in document.get("artifacts", [whole])]
    return {**document, "artifacts": artifacts}


def _paged(document: dict[str, Any], page: tuple[int, int]) -> dict[str, Any]:
    """A forecast's rows from `first` on, series by series; other documents as they are."""
    if "series" not in document:
        return document
    first, wanted = page
    shown, row = [], 0
    for series in document["series"]:
        steps = len(series["ds"])
        low, high = max(first - row, 0), min(first + wanted - row, steps)
        if low < high:
            shown.append({n: v[low:high] if isinstance(v, list) else v for n, v in series.items()})
        row += steps
    cut: dict[str, Any] = {**document, "series": shown, "rows_total": row, "has_more": first + wanted < row}
    if cut["has_more"]:
        cut["next_cursor"] = make_cursor("forecast", first + wanted)
    return cut


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
