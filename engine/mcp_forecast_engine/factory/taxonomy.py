"""Why the corridor refuses: a closed list of reasons, each with its category and whether a repeat may cure it.

Source: the failure taxonomy of the model factory's plan, the reasons that apply before there are event rails. On the
wire a reason stands in `details.reason`; the error's code says its category.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from mcp_forecast_engine.errors import RETRYABLE_REASONS

# What helps where a row or a document is not what it was: the same call would find the same run, as it is.
BY_HAND: Final = (
    "something changed this home by hand: restore a backup of it; or ask for another horizon, season_length or budget, "
    "which is another run"
)
Category = Literal["INPUT_ADMISSION", "RESOLUTION", "EVIDENCE", "IMMUTABILITY", "PUBLISH", "POLICY", "LEDGER", "LABELS"]
Disposition = Literal["retryable", "terminal"]


@dataclass(frozen=True)
class Reason:
    """What a reason belongs to, and whether the same call may succeed later."""

    category: Category
    disposition: Disposition = "terminal"


_BY_CATEGORY: Final[dict[Category, tuple[str, ...]]] = {
    "INPUT_ADMISSION": (
        "SCHEMA_INVALID", "REQUEST_INVALID", "INTENT_KIND_UNSUPPORTED", "MANIFEST_REF_MISSING", "CONFIG_REF_MISSING",
        "GOVERNANCE_PROFILE_MISSING", "REQUESTER_MISSING", "TARGET_SCOPE_INVALID", "POLICY_REVISION_MISSING",
        "CONFIG_REVISION_MISSING", "CODE_RELEASE_MISSING", "OWNERSHIP_BOUNDARY_VIOLATION",
    ),
    "RESOLUTION": (
        "MANIFEST_UNRESOLVED", "TRAINING_PROFILE_UNRESOLVED", "GOVERNANCE_PROFILE_UNRESOLVED", "MANIFEST_INVALID",
        "TRAINING_PROFILE_INVALID", "GOVERNANCE_PROFILE_INVALID", "FEATURE_SCHEMA_INCOMPATIBLE",
    ),
    "EVIDENCE": (
        "EVIDENCE_UNRESOLVED", "EVIDENCE_REF_MISSING", "EVAL_REPORT_INVALID", "EVAL_REPORT_MISMATCH", "GATE_INVALID",
        "GATE_DECISION_MISMATCH", "BUNDLE_SIGNATURE_INVALID",
    ),
    "IMMUTABILITY": (
        "MANIFEST_IMMUTABILITY_VIOLATION", "RESOLVED_TRAIN_PLAN_IMMUTABILITY_VIOLATION",
        "EXECUTION_RECORD_IMMUTABILITY_VIOLATION", "TRAIN_ARTIFACT_IMMUTABILITY_VIOLATION",
        "EVAL_REPORT_IMMUTABILITY_VIOLATION", "EVIDENCE_PACK_IMMUTABILITY_VIOLATION",
        "GATE_RECEIPT_IMMUTABILITY_VIOLATION", "BUNDLE_PACKAGE_IMMUTABILITY_VIOLATION",
        "REGISTRY_EVENT_IMMUTABILITY_VIOLATION",
    ),
    "PUBLISH": (
        "PUBLISH_NOT_ELIGIBLE", "BUNDLE_PUBLICATION_INVALID", "REGISTRY_EVENT_INVALID", "PUBLISH_CONFLICT",
        "PUBLISH_RETRY_EXHAUSTED", "RETRY_NOT_PENDING",
    ),
    "POLICY": ("LEAKAGE_GUARD_VIOLATION",),
    "LEDGER": ("RUN_KEY_PAYLOAD_MISMATCH", "INVALID_TRANSITION", "RUN_CONFIG_DIGEST_MISMATCH"),
    "LABELS": (
        "LABEL_ASOF_MISSING", "LABEL_SCOPE_EMPTY", "LABEL_TIMELINE_INCONSISTENT", "LABEL_GATE_UNSATISFIED",
        "COVERAGE_POLICY_VIOLATION",
    ),
}  # fmt: skip
REASONS: Final[dict[str, Reason]] = {
    name: Reason(category, "retryable" if name in RETRYABLE_REASONS else "terminal")
    for category, names in _BY_CATEGORY.items()
    for name in names
}
# Why the policy lets a bundle not become ACTIVE: on record as an event, and told with the answer, no refusals either.
REJECTIONS: Final = (
    "GATE_FAIL", "BUNDLE_RETIRED", "APPROVAL_MISSING", "PROFILE_NOT_ACCEPTED", "ACTIVE_NOT_COMPARED",
)  # fmt: skip
# Why this bundle or none answers in a scope: told with the answer (after a colon, which capability), no refusals.
OUTCOMES: Final = (
    "SCOPE_NOT_FOUND", "ACTIVE_BUNDLE_INCOMPATIBLE", "CAPABILITY_MISMATCH", "FALLBACK_EXPLICIT",
    "FAIL_CLOSED_NO_COMPATIBLE_BUNDLE",
)  # fmt: skip
