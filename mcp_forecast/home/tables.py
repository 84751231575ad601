"""Rows of the server: the home's name, idempotency keys and the processes that have used this home."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class KeyRow(SQLModel, table=True):
    """A key that was used: scope (caller, tool, key), what was asked and what was answered."""

    __tablename__ = "idempotency_key"
    caller: str = Field(primary_key=True)
    tool: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    fingerprint: str
    request_id: str
    answer: str  # JSON {result, warnings}
    created_at: float


class ProcessRow(SQLModel, table=True):
    """A server process; one that never wrote its end may have lost its last group of audit entries (at most 0.1 s)."""

    __tablename__ = "process"
    process_id: str = Field(primary_key=True)
    pid: int
    pid_started: float
    host: str  # "": this machine, whichever it is
    started_at: float
    ended_at: float | None = None


class HomeRow(SQLModel, table=True):
    """The one row that names this home; checkpoints of its log carry the name."""

    __tablename__ = "home"
    home_id: str = Field(primary_key=True)
