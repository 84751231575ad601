"""The closed list of error codes (at most 40), each with its category, disposition and standing advice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Code = Literal[
    "UNKNOWN_TOOL",
    "INVALID_ARGUMENTS",
    "CURSOR_INVALID",
    "RATE_LIMITED",
    "QUOTA_EXCEEDED",
    "FORBIDDEN",
    "IDEMPOTENCY_CONFLICT",
    "NOT_FOUND",
    "PATH_NOT_ALLOWED",
    "FILE_UNREADABLE",
    "DATA_INVALID",
    "COVARIATES_MISMATCH",
    "HISTORY_TOO_SHORT",
    "RUN_NOT_READY",
    "RUN_FAILED",
    "TIME_LIMIT",
    "WORKER_LOST",
    "REQUEST_REFUSED",
    "LEAKAGE_FOUND",
    "EVIDENCE_INVALID",
    "PUBLISH_REFUSED",
    "REGISTRY_CONFLICT",
    "BUNDLE_INCOMPATIBLE",
    "ARTIFACT_CORRUPT",
    "STORE_UNAVAILABLE",
    "OUTCOME_UNKNOWN",
    "HOME_MISMATCH",
    "HOME_NEWER",
    "INTERNAL",
]
Category = Literal["input", "permission", "limit", "conflict", "not_found", "data", "state", "unavailable", "internal"]
Disposition = Literal["retryable", "terminal", "outcome_unknown"]
CODES: Final = get_args(Code)


@dataclass(frozen=True)
class Meaning:
    """What a code says. next_step: advice when the place that raised it has none better."""

    category: Category
    disposition: Disposition
    meaning: str
    next_step: str


ERRORS: Final[dict[Code, Meaning]] = {
    "UNKNOWN_TOOL": Meaning("input", "terminal", "no tool has this name", "call tools/list and use a name from it"),
    "INVALID_ARGUMENTS": Meaning(
        "input", "terminal", "the arguments do not fit the tool's contract", "correct the named field and call again"
    ),
    "CURSOR_INVALID": Meaning(
        "input", "terminal", "the cursor was not made by this tool", "leave the cursor out to start from the first page"
    ),
    "RATE_LIMITED": Meaning("limit", "retryable", "too many calls at once", "wait retry_after_s, then call again"),
    "QUOTA_EXCEEDED": Meaning(
        "limit", "retryable", "the caller's share of runs is used up", "wait retry_after_s, then make the same call"
    ),
    "FORBIDDEN": Meaning(
        "permission", "terminal", "the caller lacks the scope", "ask the operator for the scope, or use another tool"
    ),
    "IDEMPOTENCY_CONFLICT": Meaning(
        "conflict", "terminal", "the key was used with other arguments", "use a new key for a new request"
    ),
    "NOT_FOUND": Meaning("not_found", "terminal", "nothing has this id", "list_runs shows the runs of this home"),
    "PATH_NOT_ALLOWED": Meaning(
        "permission", "terminal", "the file lies outside the allowed folders", "move the file, or send the data as rows"
    ),
    "FILE_UNREADABLE": Meaning("data", "terminal", "the file cannot be read", "send CSV or Parquet"),
    "DATA_INVALID": Meaning(
        "data", "terminal", "the data cannot become a dataset", "correct the data or name its columns"
    ),
    "COVARIATES_MISMATCH": Meaning(
        "data", "terminal", "covariates differ from the trained ones", "send the named columns for every step"
    ),
    "HISTORY_TOO_SHORT": Meaning(
        "data", "terminal", "too few rows for this horizon", "send more history or shorten horizon"
    ),
    "RUN_NOT_READY": Meaning("state", "retryable", "the run has no result yet", "wait with get_run_status"),
    "RUN_FAILED": Meaning("state", "terminal", "the run ended without a result", "get_run_status says why"),
    "TIME_LIMIT": Meaning("limit", "terminal", "the run passed its time limit", "send less data or raise the limit"),
    "WORKER_LOST": Meaning("unavailable", "retryable", "the worker died twice", "make the same call again"),
    "REQUEST_REFUSED": Meaning(
        "input", "terminal", "a training request breaks a rule of the model factory", "correct what the reason names"
    ),
    "LEAKAGE_FOUND": Meaning(
        "data",
        "terminal",
        "the future was let into the training: nothing that it found counts",
        "leave out the column that guard columns names and train again; report what another guard found",
    ),
    "EVIDENCE_INVALID": Meaning(
        "data", "terminal", "the evidence of a run does not hold together", "make the same training call again"
    ),
    "PUBLISH_REFUSED": Meaning(
        "state", "terminal", "the run may not be published", "read its gate: which rule failed, and what to try"
    ),
    "REGISTRY_CONFLICT": Meaning(
        "conflict",
        "terminal",
        "the registry holds something else than the call believes",
        "list_bundles shows what is ACTIVE and its token; decide again with that",
    ),
    "BUNDLE_INCOMPATIBLE": Meaning(
        "state",
        "terminal",
        "no bundle that may answer can do what is needed",
        "ask for what the bundle can do, or promote one that can",
    ),
    "ARTIFACT_CORRUPT": Meaning(
        "data", "terminal", "stored bytes were changed", "restore from a backup or run the work again in a new home"
    ),
    "STORE_UNAVAILABLE": Meaning(
        "unavailable", "retryable", "the store does not answer", "make the same call with the same key"
    ),
    "OUTCOME_UNKNOWN": Meaning(
        "unavailable",
        "outcome_unknown",
        "the store went away while it committed",
        "make the same call with the same key: it is done once, whatever happened",
    ),
    "HOME_MISMATCH": Meaning(
        "unavailable",
        "terminal",
        "the home's folder and its database do not belong together",
        "ask the operator to name the folder and the database that do",
    ),
    "HOME_NEWER": Meaning(
        "unavailable", "terminal", "the home was written by a newer version", "upgrade mcp-forecast or use another home"
    ),
    "INTERNAL": Meaning(
        "internal",
        "outcome_unknown",
        "an unexpected fault of the server",
        "retry with the same key; report correlation_id",
    ),
}
