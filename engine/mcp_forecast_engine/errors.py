"""What the engine refuses, one class per reason; each message says what was found, what is allowed and what to do.

EngineError
├── DataInvalid            a file, its rows or its columns cannot become a dataset
│   ├── FileUnreadable     the bytes are no CSV or Parquet, or cannot be read
│   ├── ColumnMissing      a named column does not exist
│   └── FrequencyUnclear   the time column has no regular step
├── NotFound               no dataset, run or artifact has this id
│   └── PretrainedUnavailable  the operator's folder has no such model, or what loads it is not installed
├── HistoryTooShort        fewer rows than the horizon and its evaluation need
├── CovariatesMismatch     covariates differ from what the model was trained with
├── RunNotReady            the run has no result yet, or none to come
├── RunFailed              the run ended without a result
├── ModelUntranslatable    the model has operations that another format lacks
│   └── NotExportable      the model cannot be written as a file at all
├── CorridorRefused        a request or a document of the model factory breaks a rule, named by its reason
├── RegistryConflict       the registry holds something else than the caller believes
├── BundleIncompatible     no ACTIVE bundle, or not the named one, can do what is needed
├── ArtifactCorrupt        stored bytes do not hash to their digest
├── StaleEpoch             another worker took this run over; this one may write nothing
└── StoreUnavailable       the database or the artifact folder does not answer
    ├── OutcomeUnknown     it went away while a commit was under way, which may stand
    ├── HomeMismatch       the folder and the database belong to different homes
    └── HomeNewer          the home was written by a newer version
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final


class EngineError(Exception):
    """Base of all engine refusals.

    `field` is the argument at fault (JSON path, no leading dot), `allowed` what would have been accepted,
    `next_step` the call or edit that helps, `reason` the fine code where there is one, `details` what else a program
    may want of it, as JSON values; all five travel to the caller.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        allowed: Any = None,
        next_step: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.field, self.allowed, self.next_step = message, field, allowed, next_step
        self.reason, self.details = reason, dict(details or {})


class DataInvalid(EngineError):
    """A file, its rows or its columns cannot become a dataset."""


class FileUnreadable(DataInvalid):
    """The bytes are no CSV or Parquet file, or cannot be read."""


class ColumnMissing(DataInvalid):
    """A named column does not exist."""


class FrequencyUnclear(DataInvalid):
    """The time column has no regular step."""


class NotFound(EngineError):
    """No dataset, run or artifact has this id."""


class PretrainedUnavailable(NotFound):
    """The operator's folder has no such pretrained model, or what loads it is not installed."""


class HistoryTooShort(EngineError):
    """Fewer rows than the horizon and its evaluation need."""


class CovariatesMismatch(EngineError):
    """The covariates differ from what the model was trained with."""


class RunNotReady(EngineError):
    """The run has no result yet, or none to come."""


class RunFailed(EngineError):
    """The run ended without a result."""


class ModelUntranslatable(EngineError):
    """The model has operations that the other format, or our translation to it, lacks."""


class NotExportable(ModelUntranslatable):
    """The model cannot be written as a file: its weights stay where they are."""


# What a repeat of the same call may find again: a store that answers, or a document that was restored.
RETRYABLE_REASONS: Final = frozenset({
    "MANIFEST_UNRESOLVED", "TRAINING_PROFILE_UNRESOLVED", "GOVERNANCE_PROFILE_UNRESOLVED", "EVIDENCE_UNRESOLVED",
})  # fmt: skip


class CorridorRefused(EngineError):
    """A request or a document of the model factory breaks a rule; `reason` is one of `factory.taxonomy.REASONS`.

    terminal: a repeat cures nothing, whatever its reason says: a name that nobody knows is no document that is gone.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str | None = None,
        allowed: Any = None,
        next_step: str | None = None,
        details: Mapping[str, Any] | None = None,
        terminal: bool = False,
    ) -> None:
        super().__init__(message, field=field, allowed=allowed, next_step=next_step, reason=reason, details=details)
        self.disposition = "retryable" if reason in RETRYABLE_REASONS and not terminal else "terminal"


class RegistryConflict(EngineError):
    """The registry holds something else than the caller believes; `allowed` is what it holds."""


class BundleIncompatible(EngineError):
    """No ACTIVE bundle, or not the one that was named, can do what is needed."""


class ArtifactCorrupt(EngineError):
    """Stored bytes do not hash to their digest."""


class StaleEpoch(EngineError):
    """Another worker took this run over; this one may write nothing."""


class StoreUnavailable(EngineError):
    """The database or the artifact folder does not answer."""


class OutcomeUnknown(StoreUnavailable):
    """The database went away while a commit was under way: it stands whole, or it was never made."""


class HomeMismatch(StoreUnavailable):
    """The folder and the database belong to different homes."""


class HomeNewer(StoreUnavailable):
    """The home was written by a newer version of this software."""
