"""The audit trail as callers see it: a page of the log, how it is sealed, and what was verified."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from mcp_forecast.calls.tool import Call, Outcome, Tool
from mcp_forecast.errors import Refusal
from mcp_forecast.home.sealing import WRITTEN_S, checkpoint_file, home_id_of, origin_of
from mcp_forecast.home.signing_key import KeyUnsafe, public_keys
from mcp_forecast.tools.cursor import ROW, read_cursor
from mcp_forecast.tools.length import ROOM, length
from mcp_forecast.tools.lineage import lineage_of
from mcp_forecast.tools.links import is_here, time_text
from mcp_forecast.tools.page import page_of
from mcp_forecast_audit import log as audit_log
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
_UNREADABLE: Final = "unreadable"  # its body is not as an entry is made
_NOT_SEALED: Final = "a server seals what it enters within 5 seconds: ask again; if it stays, see `sealing`"
_FILTERS: Final = ("caller", "tool", "code", "ref", "request_id")


def trail(app: App, call: Call, request: GetAuditTrailArguments) -> Outcome:
    """One page of the log, newest first; with `lineage` also what its `ref` was made from."""
    wanted = _filter(request)
    asked = {name: value for name, value in vars(wanted).items() if value is not None}
    listing = f"audit {json.dumps(asked, sort_keys=True)}"
    before = read_cursor(listing, request.cursor, ROW)
    here = is_here(call.caller)
    with app.database.read() as connection:
        log, sealing = _standing(connection), app.sealer.status(connection, paths=here)
        found = entries_page(connection, wanted, before=before, limit=request.limit + 1)
    lines = [_line(entry, log, detailed=request.response_format == "detailed") for entry in found[: request.limit]]
    made: dict[str, Any] = {}
    if request.lineage:
        made = {"lineage": lineage_of(app, request.ref, checked=request.verify != "none")}
    positions, room = [entry.seq for entry in found], ROOM[request.response_format] - REST - length(made)
    page = page_of("entries", lines, listing=listing, positions=positions, room=room)
    shown = found[: len(page["entries"])]
    result = {**page, "total_entries": log.entries, "unsealed": max(0, log.unsealed), "sealing": sealing}
    result |= _checkpoint(log) | made
    if request.verify == "page":
        result["verification"] = _verified_page(app, shown, here=here)
    elif request.verify == "log":
        result["verification"] = _verified_log(app, log, here=here)
    return Outcome(result, {name: str(asked[name]) for name in ("ref",) if name in asked})


def _standing(connection: Connection) -> Standing:
    """How far the log is sealed; of one whose cells were changed, as little as can be said."""
    try:
        return standing(connection)
    except LogBroken:
        return Standing(entries=audit_log.count(connection), sealed=0, at=None, oldest_at=None, note=None)


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
    said = _said(entry.body or b"")
    refs = said.get("refs")
    line: dict[str, Any] = {
        "seq": entry.seq,
        "at": _at(said.get("at")),
        **{name: str(said.get(name, _UNREADABLE)) for name in ("caller", "tool", "code", "request_id")},
        "refs": {str(name): str(ref) for name, ref in refs.items()} if isinstance(refs, dict) else {},
        "sealed": entry.seq <= log.sealed,
    }
    if detailed:
        line["body"] = _UNREADABLE if entry.body is None else entry.body.decode("utf-8", "replace")
        line["leaf_hash"] = _UNREADABLE if entry.leaf_hash is None else entry.leaf_hash.hex()
    return line


def _at(value: object) -> str:
    try:
        return time_text(value) if isinstance(value, int | float) else _UNREADABLE
    except (ValueError, OverflowError, OSError):
        return _UNREADABLE


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
    return {"checkpoint": {"size": newest.size, "root": root, "at": _at(newest.at), "note": log.note}}


@dataclass(frozen=True)
class _Kept:
    """The checkpoint outside, as it was read before the database: a server writes it after its commit."""

    file: Path
    name: str
    note: str | None
    trouble: str

    def young(self, log: Standing, now: float) -> bool:
        """Whether the file may be missing only because the first checkpoint has just been made."""
        return not self.file.exists() and log.at is not None and 0 <= now - log.at < WRITTEN_S


def _kept(app: App, *, here: bool) -> _Kept:
    with app.database.read() as connection:
        file = checkpoint_file(app.settings.checkpoint_folder, home_id_of(connection))
    name = str(file) if here else file.name
    try:
        return _Kept(file, name, file.read_text(encoding="utf-8"), "")
    except OSError as error:
        return _Kept(file, name, None, f"the checkpoint outside, {name}: {error.strerror}")
    except UnicodeDecodeError as error:
        return _Kept(file, name, None, f"the checkpoint outside, {name}: {error}")


def _verified_page(app: App, shown: Sequence[StoredEntry], *, here: bool) -> dict[str, Any]:
    """Prove each sealed entry shown, and that the checkpoint outside is the beginning of the newest one."""
    kept = _kept(app, here=here)
    with app.database.read() as connection:
        try:
            # The keys of the home's folder are in nobody's reach who can write the database alone.
            prover = Prover(connection, public_keys(app.settings.home) or None)
        except NoProof as error:
            if not kept.file.exists():
                return _unverified("page", str(error), _NOT_SEALED)
            found = f"{kept.name} is there, and no stored checkpoint: all of them were removed"
            return _verification("page", 0, found, [found], 1)
        except (LogBroken, KeyUnsafe) as error:
            return _verification("page", 0, "not compared", [str(error)], 1)
        sealed = [entry for entry in shown if entry.seq <= prover.checkpoint.size]
        problems = [problem for entry in sealed if (problem := _unproved(prover, entry)) is not None]
        outside, fits = _compared(kept, prover)
        if not fits and not kept.young(standing(connection), app.clock()):
            problems.append(outside)
    return _verification("page", len(sealed), outside, problems[:MOST_PROBLEMS], len(problems))


def _unproved(prover: Prover, entry: StoredEntry) -> str | None:
    if entry.body is None:
        return f"entry {entry.seq}: its body is no bytes"
    try:
        proof = prover.included(entry.seq, entry.body)
    except LogBroken as error:
        return str(error)
    return None if proof.leaf_hash == entry.leaf_hash else f"entry {entry.seq}: leaf_hash is not that of its body"


def _compared(kept: _Kept, prover: Prover) -> tuple[str, bool]:
    if kept.note is None:
        return kept.trouble, False
    try:
        checkpoint = read_note(kept.note)
        prover.consistency(checkpoint)
    except (NoteInvalid, LogBroken) as error:
        return f"the checkpoint outside, {kept.name}: {error}", False
    return f"fits: {kept.name}, over {checkpoint.size} entries, is the beginning of the newest checkpoint", True


def _verified_log(app: App, log: Standing, *, here: bool) -> dict[str, Any]:
    if log.entries > MOST_VERIFIED:
        step = f"{log.entries} entries are too many for a call; ask the operator to run `mcp-forecast audit verify`"
        return _unverified("log", "not compared", step)
    kept = _kept(app, here=here)
    with app.database.read() as connection:
        origin = origin_of(home_id_of(connection))
    report = verify(app.database.read, origin=origin, outside=kept.note)
    problems = [str(problem) for problem in report.problems]
    if not report.is_signed and not problems:
        return _unverified("log", "nothing is sealed yet", _NOT_SEALED)
    outside = f"compared with {kept.name}" if kept.note is not None else kept.trouble
    if kept.note is None:
        with app.database.read() as connection:
            if not kept.young(_standing(connection), app.clock()) and _kept(app, here=here).note is None:
                problems.append(outside)
    count = report.problem_count + len(problems) - len(report.problems)
    return _verification("log", report.sealed, outside, problems[:MOST_PROBLEMS], count)


def _verification(scope: str, verified: int, outside: str, problems: list[str], count: int) -> dict[str, Any]:
    made = {
        "scope": scope, "intact": count == 0, "verified": verified, "outside": outside, "problems": problems,
        "problem_count": count,
    }  # fmt: skip
    step = "change nothing; ask the operator to run `mcp-forecast audit verify` and to keep a copy of the home"
    return made | ({"next_step": step} if count else {})


def _unverified(scope: str, outside: str, next_step: str) -> dict[str, Any]:
    """What is said where nothing could be verified: neither intact nor not."""
    made = _verification(scope, 0, outside, [], 0)
    del made["intact"]
    return made | {"next_step": next_step}


AUDIT_TOOLS: Final = (Tool(GET_AUDIT_TRAIL, read=trail, short=False),)
