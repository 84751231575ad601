"""Contract of the audit trail: read the log, filter it, verify it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from mcp_forecast_contracts.contract import Contract
from mcp_forecast_contracts.schema import Answer, Arguments, Cursor, Int, Name, ResponseFormat

Instant = Annotated[
    str,
    Field(
        min_length=20,
        max_length=35,
        pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?"
        "([Zz]|[+-][0-9]{2}:[0-9]{2})$",
    ),
]


class GetAuditTrailArguments(Arguments):
    """Which entries, newest first, and what is to be verified about them."""

    caller: Annotated[Name | None, Field(description="only calls of this caller, e.g. local:anna")] = None
    tool: Annotated[Name | None, Field(description="only this tool; server: starts and ends of servers")] = None
    code: Annotated[Name | None, Field(description="only this outcome: OK or an error code, e.g. FORBIDDEN")] = None
    ref: Annotated[
        Name | None, Field(description="only entries that made or touched this: run_…, ds_…, pp_…, sha256:…")
    ] = None
    request_id: Annotated[Name | None, Field(description="only this request, as its answer named it: req_…")] = None
    since: Annotated[Instant | None, Field(description="not before this, RFC 3339 with zone: 2026-01-31T00:00:00Z")] = (
        None
    )
    until: Annotated[Instant | None, Field(description="not after this, RFC 3339 with zone: 2026-01-31T23:59:59Z")] = (
        None
    )
    limit: Annotated[Int, Field(ge=1, le=200, description="entries per page")] = 20
    cursor: Cursor | None = None
    verify: Annotated[
        Literal["none", "page", "log"],
        Field(
            description="page: prove each sealed entry shown under the signed checkpoint, and that the one kept "
            "outside the database is its beginning; not that none is hidden (verify=log); log: check every "
            "stored entry, look-up column and signature (up to 200,000), so that none is hidden"
        ),
    ] = "none"
    lineage: Annotated[
        bool,
        Field(
            description="with ref, also of an artifact: what that was made from, back to the data, and the calls that "
            "made it; with verify=page the bytes of each are compared with its digest"
        ),
    ] = False
    response_format: ResponseFormat = "concise"


class AuditEntry(Answer):
    """One call, or one change in the server's life (tool `server`)."""

    seq: Annotated[int, Field(description="place in the log, from 1 without gaps")]
    at: str
    caller: str
    tool: str
    code: str
    refs: Annotated[dict[str, str], Field(description="ids and digests that it made or touched")]
    request_id: str
    sealed: Annotated[bool, Field(description="under a signed checkpoint; the newest few seconds are not yet")]
    body: Annotated[
        str | None, Field(description="detailed: the canonical JSON text (RFC 8785) whose bytes were hashed")
    ] = None
    leaf_hash: Annotated[str | None, Field(description="detailed: SHA-256(0x00 || body), hexadecimal")] = None


class CheckpointAnswer(Answer):
    """The newest signed checkpoint: so many entries, this root."""

    size: Annotated[int, Field(description="entries that it is over")]
    root: Annotated[str, Field(description="RFC 6962 root, base64")]
    at: str
    note: Annotated[str, Field(description="the signed text (C2SP tlog-checkpoint); keep it, it can be compared later")]


class Verification(Answer):
    """What was verified."""

    scope: Literal["page", "log"]
    intact: Annotated[bool | None, Field(description="absent: not verified, next_step says why")] = None
    verified: Annotated[int, Field(description="entries that were verified")]
    outside: Annotated[str, Field(description="what the checkpoint outside the database said")]
    problems: Annotated[list[str], Field(description="the first contradictions: where, found, expected")]
    problem_count: int
    next_step: str | None = None


class LineageNode(Answer):
    """One thing that was made, from others of this lineage."""

    name: str
    id: Annotated[str | None, Field(description="run_id, dataset_id, or bundle_id@version")] = None
    digest: str | None = None
    made_from: Annotated[list[str], Field(description="names of this lineage; empty: it was given")]
    calls: Annotated[list[str], Field(description="entries that made it: `seq tool code caller`")]
    bytes: Annotated[
        Literal["as_named", "missing_or_changed"] | None, Field(description="with verify: what its digest says of them")
    ] = None


class GetAuditTrailAnswer(Answer):
    """A page of the log, newest first, and how it is sealed."""

    entries: Annotated[list[AuditEntry], Field(description="calls, and changes in the server's life: tool `server`")]
    has_more: bool
    next_cursor: str | None = None
    total_entries: Annotated[int, Field(description="entries of the whole log")]
    unsealed: Annotated[int, Field(description="newest entries that no checkpoint covers yet")]
    checkpoint: Annotated[CheckpointAnswer | None, Field(description="the newest signed one")] = None
    sealing: Annotated[dict[str, Any], Field(description="whether sealing works; if not, the reason and what helps")]
    verification: Verification | None = None
    lineage: Annotated[
        list[LineageNode] | None, Field(description="with lineage: what ref names first, the data it rests on last")
    ] = None


GET_AUDIT_TRAIL: Final = Contract(
    name="get_audit_trail",
    version="0.2.0",
    title="Audit trail",
    description=(
        "Who called what, when, with which outcome: the append-only log of every call, newest first, filtered by "
        "caller, tool, code, time, request or by an id that was made or touched. Entries stand in the order they were "
        "stored: commands at once, reads and refusals up to 0.1 s later, so `at` may step back. Quotes the newest "
        "signed checkpoint; with verify it proves the entries against it; with lineage it says what ref was made from. "
        "Arguments are in the log by digest only."
    ),
    arguments=GetAuditTrailArguments,
    result=GetAuditTrailAnswer,
    effect="read",
    errors=("CURSOR_INVALID", "NOT_FOUND"),
    examples=(
        {},
        {"ref": "run_0123456789abcdef01234567", "verify": "page"},
        {"tool": "run_training", "code": "OK", "since": "2026-01-31T00:00:00Z", "response_format": "detailed"},
        {"ref": "run_0123456789abcdef01234567", "lineage": True, "limit": 5},
        {"verify": "log", "limit": 1},
    ),
)
