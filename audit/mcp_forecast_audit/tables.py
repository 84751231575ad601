"""The audit table: canonical bytes and their leaf hash, in commit order; triggers forbid update and delete."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class EntryRow(SQLModel, table=True):
    """One entry. `body` is the canonical JSON that was hashed; the other columns repeat what look-ups need."""

    __tablename__ = "audit_entry"
    seq: int | None = Field(default=None, primary_key=True)
    request_id: str = Field(index=True)
    tool: str
    caller: str
    code: str
    body: bytes
    leaf_hash: bytes
