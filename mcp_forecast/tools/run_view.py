"""How a run looks to a caller: its row, its result cut to a page, and what to do next."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mcp_forecast.errors import run_error
from mcp_forecast.tools.brief import MOST, brief
from mcp_forecast.tools.cursor import make_cursor
from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.runtime.run import Run

if TYPE_CHECKING:
    from mcp_forecast.app import App

Page = tuple[int, int | None]  # first row of a forecast, and how many rows; None: as many as fit
FIRST_PAGE: Final[Page] = (0, None)
FORECAST_CHARACTERS: Final = 5500  # what is left of 8,000 for rows
POLL_AFTER_S: Final = 1.0
_NEXT: Final = {
    "QUEUED": "call get_run_status with this run_id and wait_s=25 until it ends",
    "RUNNING": "call get_run_status with this run_id and wait_s=25 until it ends",
    "FAILED": "read error.next_step",
    "CANCELLED": "make the same call again to start a new attempt",
}
_CANCELLING: Final = "the cancel is accepted; the process is gone within 5 seconds, then the state is CANCELLED"
_AFTER_SUCCESS: Final = {
    "training": "read result.trust; if you go on, call run_inference with this run_id",
    "inference": "report the forecast with its intervals and result.trust; never invent numbers",
}


def run_answer(app: App, run: Run, page: Page) -> dict[str, Any]:
    """The answer of every run tool. page: first row and number of rows of a forecast."""
    answer: dict[str, Any] = {
        "run_id": run.run_id,
        "kind": run.kind,
        "state": run.state,
        "attempt": run.attempt,
        "progress": {"done": run.progress_done, "total": run.progress_total, "text": run.progress_text},
        "created_at": _iso(run.created_at),
        "request": asked(run),
        "next_step": _CANCELLING if run.cancel_requested and not run.ended else _next_step(run),
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


def _next_step(run: Run) -> str:
    return _NEXT.get(run.state, _AFTER_SUCCESS[run.kind])


def run_line(app: App, run: Run) -> dict[str, Any]:
    """One run in a list."""
    line: dict[str, Any] = {
        "run_id": run.run_id,
        "kind": run.kind,
        "state": run.state,
        "created_at": _iso(run.created_at),
        "request": asked(run, most=2),
    }
    if run.ended_at is not None:
        line["ended_at"] = _iso(run.ended_at)
    if run.kind == "training" and run.state == "SUCCEEDED":
        with suppress(ArtifactCorrupt):  # one damaged result must not hide the other runs; get_run_status names it
            line["verdict"] = app.engine.document(run)["trust"]["verdict"]
    return line


def asked(run: Run, *, most: int = MOST) -> dict[str, Any]:
    """What the caller asked for, without the digests that the engine pinned; long lists are cut."""
    return brief(dict(run.plan["asked"]), most=most)


def _linked(app: App, run: Run) -> dict[str, Any]:
    """The result with where each of its artifacts lies; the paths are this home's, so they are not in the document."""
    document = {**app.engine.document(run), "run_id": run.run_id}
    whole = {"name": "forecast.json", "digest": run.result, "media_type": "application/json"}
    artifacts = [{**a, "uri": app.engine.artifacts.uri(a["digest"])} for a in document.get("artifacts", [whole])]
    return {**document, "artifacts": artifacts}


def _paged(document: dict[str, Any], page: Page) -> dict[str, Any]:
    """A forecast's rows from `first` on, `limit` of them or as many as fit; other documents briefly."""
    if "series" not in document:
        return brief(document)
    first, limit = page
    shown: list[dict[str, Any]] = []
    row, end, room = 0, first, float(FORECAST_CHARACTERS)
    for series in document["series"]:
        steps = len(series["ds"])
        low = max(first - row, 0)
        if low < steps and end == row + low:
            cost, header = _characters(series, low)
            fitting = max(int((room - header) / cost), 0 if shown else 1)
            taken = min(steps - low, fitting if limit is None else first + limit - end)
            if taken > 0:
                shown.append({n: v[low : low + taken] if isinstance(v, list) else v for n, v in series.items()})
                end, room = end + taken, room - header - taken * cost
        row += steps
    cut: dict[str, Any] = {**document, "series": shown, "rows_total": row, "has_more": end < row}
    if cut["has_more"]:
        cut["next_cursor"] = make_cursor(f"forecast {document['run_id']}", end)
    return cut


def _characters(series: dict[str, Any], row: int) -> tuple[float, int]:
    """About how many characters a row of this series takes, and its name and column names once."""
    columns = {name: value for name, value in series.items() if isinstance(value, list)}
    one_row = len(json.dumps([value[row] for value in columns.values()]))
    header = {name: 0 if name in columns else value for name, value in series.items()}
    return one_row * 1.15, len(json.dumps(header))


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
