"""The audit trail as callers see it: a page of the log, how it is sealed, and what was verified."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from mcp_forecast.errors import Refusal
from mcp_forecast.sealing import checkpoint_file, home_id_of, origin_of
from mcp_forecast.tool import Call, Outcome, Tool
from mcp_forecast.tools.cursor import ROW, make_cursor, read_cursor
from mcp_forecast.tools.length import ROOM, fitting
from mcp_forecast.tools.links import time_text
from mcp_forecast_audit.checkpoint import NoteInvalid, read_note
from mcp_forecast_audit.page import Filter, StoredEntry, entries_page
from mcp_forecast_audit.proof import NoProof, Prover
from mcp_forecast_audit.stored import LogBroken, Standing, standing
from mcp_forecast_audit.verify import verify
from mcp_forecast_contracts.audit import GET_AUDIT_TRAIL, GetAuditTrailArguments

if TYPE_CHECKING:
    from mcp_forecast.app import App

MOST_VERIFIED: Final = 200_000  # entries; some three seconds
MOST_PROBLEMS: Final = 10
REST: Final = 1_500  # characters of an answer besides its entries
_FILTERS: Final = ("caller", "tool", "code", "ref", "request_id")


def trail(app: App, call: Call, request: GetAuditTrailArguments) -> Outcome:
    """One page of the log, newest first."""
    wanted = _filter(request)
    asked = {name: value for name, value in vars(wanted).items() if value is not None}
    listing = f"audit {json.dumps(asked, sort_keys=True)}"
    before = read_cursor(listing, request.cursor, ROW)
    with app.database.read() as connection:
        log, sealing = standing(connection), app.sealer.status(connection)
        found = entries_page(connection, wanted, before=before, limit=request.limit + 1)
    lines = [_line(entry, log, detailed=request.response_format == "detailed") for entry in found[: request.limit]]
    shown = found[: fitting(lines, room=ROOM[request.response_format] - REST)]
    result: dict[str, Any] = {
        "entries": lines[: len(shown)],
        "has_more": len(found) > len(shown),
        "total_entries": log.entries,
        "unsealed": max(0, log.unsealed),
        "sealing": sealing,
    }
    if len(found) > len(shown):
        result["next_cursor"] = make_cursor(listing, shown[-1].seq)
    result |= _checkpoint(log)
    if request.verify == "page":
        result["verification"] = _verified_page(app, shown)
    elif request.verify == "log":
        result["verification"] = _verified_log(app, log)
    return Outcome(result, {name: str(asked[name]) for name in ("ref",) if name in asked})


def _filter(request: GetAuditTrailArguments) -> Filter:
    return Filter(
        **{name: getattr(request, name) for name in _FILTERS},
        since=_seconds("since", request.since),
        until=_seconds("until", request.until),
    )


def _seconds(field: str, text: str | None) -> float | None:
    try:
        return None if text is None else datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError) as error:
        raise Refusal(
            "INVALID_ARGUMENTS", f"{field} is no time: {text}", field=field,
            allowed="RFC 3339 with zone: 2026-01-31T00:00:00Z",
        ) from error  # fmt: skip


def _line(entry: StoredEntry, log: Standing, *, detailed: bool) -> dict[str, Any]:
    """An entry as its body says it: the body is what was hashed."""
    said = _said(entry.body)
    line: dict[str, Any] = {
        "seq": entry.seq,
        "at": time_text(said["at"]) if isinstance(said.get("at"), int | float) else "unreadable",
        **{name: str(said.get(name, "unreadable")) for name in ("caller", "tool", "code", "request_id")},
        "refs": {str(name): str(ref) for name, ref in (said.get("refs") or {}).items()},
        "sealed": entry.seq <= log.sealed,
    }
    if detailed:
        line |= {"body": entry.body.decode("utf-8", "replace"), "leaf_hash": entry.leaf_hash.hex()}
    return line


def _said(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _checkpoint(log: Standing) -> dict[str, Any]:
    if log.note is None:
        return {}
    try:
        newest = read_note(log.note)
    except NoteInvalid:
        return {}  # said by a verification
    root = base64.b64encode(newest.root).decode()
    return {"checkpoint": {"size": newest.size, "root": root, "at": time_text(newest.at), "note": log.note}}


def _verified_page(app: App, shown: Sequence[StoredEntry]) -> dict[str, Any]:
    """Prove each sealed entry shown, and that the checkpoint outside is the beginning of the newest one."""
    with app.database.read() as connection:
        try:
            prover = Prover(connection)
        except (NoProof, LogBroken) as error:
            problems = [str(error)] if isinstance(error, LogBroken) else []
            return _verification("page", 0, str(error), problems, len(problems))
        sealed = [entry for entry in shown if entry.seq <= prover.checkpoint.size]
        problems = [problem for entry in sealed if (problem := _unproved(prover, entry)) is not None]
        outside = _compared(app, connection, prover)
    if not outside.startswith("fits"):
        problems.append(outside)
    return _verification("page", len(sealed), outside, problems[:MOST_PROBLEMS], len(problems))


def _unproved(prover: Prover, entry: StoredEntry) -> str | None:
    try:
        proof = prover.included(entry.seq, entry.body)
    except LogBroken as error:
        return str(error)
    return None if proof.leaf_hash == entry.leaf_hash else f"entry {entry.seq}: leaf_hash is not that of its body"


def _compared(app: App, connection: Connection, prover: Prover) -> str:
    file = checkpoint_file(app.settings.checkpoint_folder, home_id_of(connection))
    try:
        kept = read_note(file.read_text(encoding="utf-8"))
        prover.consistency(kept)
    except (OSError, NoteInvalid, UnicodeDecodeError, LogBroken) as error:
        return f"the checkpoint outside, {file}: {error}"
    return f"fits: {file}, over {kept.size} entries, is the beginning of the newest checkpoint"


def _verified_log(app: App, log: Standing) -> dict[str, Any]:
    if log.entries > MOST_VERIFIED:
        verification = _verification("log", 0, "not compared", [], 0)
        del verification["intact"]
        step = f"{log.entries} entries are too many for a call; ask the operator to run `mcp-forecast audit verify`"
        return verification | {"next_step": step}
    with app.database.read() as connection:
        home_id = home_id_of(connection)
    file = checkpoint_file(app.settings.checkpoint_folder, home_id)
    try:
        note, outside = file.read_text(encoding="utf-8"), f"compared with {file}"
    except (OSError, UnicodeDecodeError) as error:
        note, outside = None, f"the checkpoint outside, {file}: {error}"
    report = verify(app.database.read, origin=origin_of(home_id), outside=note)
    problems = [str(problem) for problem in report.problems]
    if note is None and report.sealed:
        problems.append(outside)
    count = report.problem_count + len(problems) - len(report.problems)
    return _verification("log", report.entries, outside, problems[:MOST_PROBLEMS], count)


def _verification(scope: str, verified: int, outside: str, problems: list[str], count: int) -> dict[str, Any]:
    made = {
        "scope": scope, "intact": count == 0, "verified": verified, "outside": outside, "problems": problems,
        "problem_count": count,
    }  # fmt: skip
    step = "change nothing; ask the operator to run `mcp-forecast audit verify` and to keep a copy of the home"
    return made | ({"next_step": step} if count else {})


AUDIT_TOOLS: Final = (Tool(GET_AUDIT_TRAIL, read=trail, short=False),)
