"""Exception → error body: the one table, for every door; a code is raised where it is known, never read out of text."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from mcp_forecast_contracts.errors import ERRORS, Code
from mcp_forecast_engine import errors as engine
from mcp_forecast_engine.factory.taxonomy import REASONS, Category

log = logging.getLogger(__name__)


MOST_ALLOWED: Final = 40  # values that an error lists
RETRY_AFTER_S: Final = 1.0  # where nobody knows better; who used up a share is told when it comes back
MOST_MESSAGE: Final = 1000  # characters


class Refusal(Exception):
    """The server itself refuses a call: code and message, and what helps."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        field: str | None = None,
        allowed: Any = None,
        next_step: str | None = None,
        retry_after_s: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.field, self.allowed = code, message, field, allowed
        self.next_step, self.retry_after_s, self.details = next_step, retry_after_s, details


CODE_OF: Final[dict[type[engine.EngineError], Code]] = {
    engine.DataInvalid: "DATA_INVALID",
    engine.FileUnreadable: "FILE_UNREADABLE",
    engine.ColumnMissing: "DATA_INVALID",
    engine.FrequencyUnclear: "DATA_INVALID",
    engine.NotFound: "NOT_FOUND",
    engine.PretrainedUnavailable: "NOT_FOUND",
    engine.HistoryTooShort: "HISTORY_TOO_SHORT",
    engine.CovariatesMismatch: "COVARIATES_MISMATCH",
    engine.RunNotReady: "RUN_NOT_READY",
    engine.RunFailed: "RUN_FAILED",
    engine.ModelUntranslatable: "DATA_INVALID",
    engine.NotExportable: "DATA_INVALID",
    engine.CorridorRefused: "REQUEST_REFUSED",
    engine.RegistryConflict: "REGISTRY_CONFLICT",
    engine.BundleIncompatible: "BUNDLE_INCOMPATIBLE",
    engine.ArtifactCorrupt: "ARTIFACT_CORRUPT",
    engine.StaleEpoch: "WORKER_LOST",
    engine.StoreUnavailable: "STORE_UNAVAILABLE",
    engine.OutcomeUnknown: "OUTCOME_UNKNOWN",
    engine.HomeMismatch: "HOME_MISMATCH",
    engine.HomeNewer: "HOME_NEWER",
}
# A rule of the model factory that was broken: the code says where on the way, `details.reason` which one.
CODE_OF_CATEGORY: Final[dict[Category, Code]] = {
    "INPUT_ADMISSION": "REQUEST_REFUSED",
    "RESOLUTION": "REQUEST_REFUSED",
    "LEDGER": "REQUEST_REFUSED",
    "EVIDENCE": "EVIDENCE_INVALID",
    "IMMUTABILITY": "ARTIFACT_CORRUPT",
    "PUBLISH": "PUBLISH_REFUSED",
    "POLICY": "LEAKAGE_FOUND",
    "LABELS": "DATA_INVALID",
}
# What a run's row says about its end; the names of engine errors, the factory's reasons and the runtime's own.
CODE_OF_REASON: Final[dict[str, Code]] = {
    **{cls.__name__: code for cls, code in CODE_OF.items()},
    **{name: CODE_OF_CATEGORY[reason.category] for name, reason in REASONS.items()},
    "WORKER_LOST": "WORKER_LOST",
    "TIME_LIMIT": "TIME_LIMIT",
    "INTERNAL": "INTERNAL",
}


def error_body(error: Exception, *, correlation_id: str, effect: bool = True) -> dict[str, Any]:
    """The body of any exception. An unexpected one keeps its text in the log, under the correlation id.

    effect: whether the call could have changed something; if not, even an unexpected fault is safe to retry.
    """
    if isinstance(error, Refusal):
        return body(
            error.code, error.message, field=error.field, allowed=error.allowed, next_step=error.next_step,
            retry_after_s=error.retry_after_s, details=error.details,
        )  # fmt: skip
    if isinstance(error, engine.EngineError):
        reason = error.reason or type(error).__name__
        code = next(CODE_OF[cls] for cls in type(error).__mro__ if cls in CODE_OF)
        made = body(
            CODE_OF_REASON.get(reason, code), error.message, field=error.field, allowed=error.allowed,
            next_step=error.next_step, details={"reason": reason, **error.details},
        )  # fmt: skip
        return made | ({"disposition": error.disposition} if isinstance(error, engine.CorridorRefused) else {})
    log.error("unexpected fault %s", correlation_id, exc_info=error)
    made = body("INTERNAL", "an unexpected fault of the server", details={"correlation_id": correlation_id})
    advice = "call again; if it fails again, report correlation_id"
    return made if effect else {**made, "disposition": "retryable", "next_step": advice}


def run_error(stored: dict[str, Any]) -> dict[str, Any]:
    """The body of the error a run ended with, from its row."""
    reason = str(stored.get("reason", "INTERNAL"))
    details = {"reason": reason} | (
        {"correlation_id": stored["correlation_id"]} if stored.get("correlation_id") else {}
    )
    made = body(
        CODE_OF_REASON.get(reason, "INTERNAL"), str(stored.get("message", "")), field=stored.get("field"),
        allowed=stored.get("allowed"), next_step=stored.get("next_step"), details=details,
    )  # fmt: skip
    return made | {"disposition": stored.get("disposition", made["disposition"])}


def body(
    code: Code,
    message: str,
    *,
    field: str | None = None,
    allowed: Any = None,
    next_step: str | None = None,
    retry_after_s: float | None = None,
    details: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An error body as it goes over the wire; what is absent is left out."""
    meaning = ERRORS[code]
    if retry_after_s is None and meaning.disposition == "retryable" and meaning.category != "limit":
        retry_after_s = RETRY_AFTER_S
    texts = None if allowed is None else texts_of(allowed)
    if texts is not None and len(texts) > MOST_ALLOWED:
        texts = [*texts[:MOST_ALLOWED], f"… and {len(texts) - MOST_ALLOWED} more"]
    made = {
        "code": code,
        "category": meaning.category,
        "disposition": meaning.disposition,
        "retry_after_s": retry_after_s,
        "message": message if len(message) <= MOST_MESSAGE else f"{message[:MOST_MESSAGE]}…",
        "field": field,
        "allowed": texts,
        "next_step": next_step or meaning.next_step,
        "details": details,
    }
    return {name: value for name, value in made.items() if value is not None}


def texts_of(allowed: Any) -> list[str]:
    """What is allowed as a list of texts: clients want one type, and whoever reads it wants words."""
    if isinstance(allowed, Mapping):
        if {"minimum", "maximum"} <= allowed.keys():
            return [f"{allowed['minimum']} to {allowed['maximum']}"]
        return [f"{name}: {_text(value)}" for name, value in allowed.items()]
    if isinstance(allowed, list | tuple | set | frozenset):
        return [_text(value) for value in allowed]
    return [_text(allowed)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
