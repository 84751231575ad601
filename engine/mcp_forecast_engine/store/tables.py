"""Rows of the engine: datasets, preprocessing, runs with steps and attempts, the registry; no foreign keys between."""

from __future__ import annotations

from typing import cast

from sqlalchemy import Index, Table
from sqlmodel import Field, SQLModel


def table_of(row: type[SQLModel]) -> Table:
    """The table that a row class declares; SQLModel adds it when the class is made."""
    return cast(Table, row.__table__)  # type: ignore[attr-defined]  # SQLModel does not declare it


class DatasetRow(SQLModel, table=True):
    """A registered dataset: immutable, named by the digest of its content and schema."""

    __tablename__ = "dataset"
    dataset_id: str = Field(primary_key=True)
    digest: str = Field(unique=True)  # also the name of its artifact
    summary: str  # canonical JSON of the profile, so that describing needs no bytes
    created_at: float


class RunRow(SQLModel, table=True):
    """One run of the ledger. Times are seconds since 1970, UTC; `plan` is canonical JSON, fixed at creation."""

    __tablename__ = "run"
    __table_args__ = (Index("ix_run_claim", "state", "created_at"), Index("ix_run_listing", "created_at", "run_id"))
    run_id: str = Field(primary_key=True)
    run_key: str = Field(unique=True)
    kind: str
    state: str
    plan: str
    caller: str
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    attempt: int = 0  # times asked for: first call 1, each reopening + 1
    losses: int = 0  # workers lost in this attempt
    epoch: int = 0  # fencing token: a write that carries an older epoch is refused
    lease_owner: str | None = None
    lease_until: float | None = None
    worker_pid: int | None = None
    worker_started: float | None = None  # process creation time, so that a reused pid is not mistaken for the worker
    cancel_requested: bool = False
    wall_limit_s: float
    progress_done: int = 0
    progress_total: int = 0
    progress_text: str = ""
    result: str | None = None  # artifact digest of the result document
    error: str | None = None  # canonical JSON {reason, message, ...}


class StepRow(SQLModel, table=True):
    """A finished step of a run and the artifact it left; a resumed run skips what is here and verifies."""

    __tablename__ = "run_step"
    run_id: str = Field(primary_key=True)
    step: str = Field(primary_key=True)
    artifact: str
    epoch: int
    ended_at: float


class AttemptRow(SQLModel, table=True):
    """Each time a run was asked for and had to be worked on: who asked, when; what quotas count.

    seconds: how long it worked, once somebody has asked since it ended; until then the run's row says it.
    """

    __tablename__ = "run_attempt"
    __table_args__ = (Index("ix_run_attempt_caller", "caller", "asked_at", "seconds"),)
    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    caller: str
    asked_at: float
    seconds: float | None = None


class TrainRequestRow(SQLModel, table=True):
    """Who asked for a training and how, apart from the run that does it: several requests may be one run."""

    __tablename__ = "train_request"
    train_request_id: str = Field(primary_key=True)
    run_id: str = Field(index=True)
    requester: str
    trigger: str
    publish_allowed: bool
    asked_at: float


class PreprocessingRow(SQLModel, table=True):
    """Preprocessing steps under a name made from them; `steps` is their canonical JSON."""

    __tablename__ = "preprocessing"
    preprocessing_id: str = Field(primary_key=True)
    steps: str
    created_at: float


class PreprocessingReportRow(SQLModel, table=True):
    """What these steps changed in this dataset, with this season: the artifact that says it."""

    __tablename__ = "preprocessing_report"
    dataset_id: str = Field(primary_key=True)
    preprocessing_id: str = Field(primary_key=True)
    season_length: int = Field(primary_key=True)
    artifact: str
    created_at: float


class BundleRow(SQLModel, table=True):
    """A published bundle, never changed: what it is (its manifest's digest), what it can do, how its gate decided.

    seq: the event that published it, which is its place in listings.
    """

    __tablename__ = "bundle"
    bundle_id: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    seq: int = Field(unique=True)
    kind: str
    run_id: str
    manifest: str  # artifact digest of bundle.json
    compatibility: str  # canonical JSON
    gate_decision: str
    gate_receipt: str  # artifact digest, or empty
    published_at: float


class RegistryEventRow(SQLModel, table=True):
    """One thing that happened in the registry, never changed: seq counts from 1 without gaps and is every token.

    tenant is empty where the scope is everybody's. bundle_id is null where a scope became empty.
    """

    __tablename__ = "registry_event"
    __table_args__ = (
        Index("ix_registry_event_scope", "environment", "mode", "slot", "tenant", "seq"),
        Index("ix_registry_event_bundle", "bundle_id", "version", "seq"),
    )
    seq: int | None = Field(default=None, primary_key=True)
    event_id: str = Field(unique=True)
    event_type: str
    environment: str
    mode: str
    slot: str
    tenant: str
    bundle_id: str | None = None
    version: str | None = None
    from_bundle_id: str | None = None
    from_version: str | None = None
    actor: str
    source_type: str
    reason: str
    evidence: str  # canonical JSON
    policy_rev: str  # canonical JSON
    at: float


class ActiveBundleRow(SQLModel, table=True):
    """The one ACTIVE bundle of a scope, null once it was rolled back to nothing; seq: the event that made it so."""

    __tablename__ = "active_bundle"
    environment: str = Field(primary_key=True)
    mode: str = Field(primary_key=True)
    slot: str = Field(primary_key=True)
    tenant: str = Field(primary_key=True)
    bundle_id: str | None = None
    version: str | None = None
    seq: int
