"""The audit tables, all append-only: entries in commit order, what they refer to, and the tree sealed over them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

NOT_OK: Final = "code <> 'OK'"


class EntryRow(SQLModel, table=True):
    """One entry. `body` is the canonical JSON that was hashed; the other columns repeat what look-ups need.

    seq counts from 1 without gaps, so an entry's leaf has the index seq - 1 in the tree.
    """

    __tablename__ = "audit_entry"
    # Every index is paid by every call. Entries that are not OK are few, and looked for most.
    __table_args__ = (
        Index("ix_audit_entry_refused", "code", "seq", sqlite_where=text(NOT_OK), postgresql_where=text(NOT_OK)),
    )
    seq: int | None = Field(default=None, primary_key=True)
    request_id: str = Field(index=True)
    at: float
    tool: str
    caller: str
    code: str
    body: bytes
    leaf_hash: bytes


class RefRow(SQLModel, table=True):
    """An id or digest that an entry made or touched, as in its body's `refs`: run_id, dataset_id, …"""

    __tablename__ = "audit_ref"
    __table_args__ = (Index("ix_audit_ref_ref", "ref", "seq"),)
    seq: int = Field(primary_key=True)
    name: str = Field(primary_key=True)
    ref: str


class NodeRow(SQLModel, table=True):
    """The root of a full subtree of 256^level leaves, kept so that a proof reads few rows. position counts from 0."""

    __tablename__ = "audit_node"
    level: int = Field(primary_key=True)
    position: int = Field(primary_key=True)
    hash: bytes


class CheckpointRow(SQLModel, table=True):
    """A signed checkpoint over the first `size` entries; `note` is the text that was signed, with its signature."""

    __tablename__ = "audit_checkpoint"
    size: int = Field(primary_key=True)
    at: float
    note: str


class SigningKeyRow(SQLModel, table=True):
    """A public key that signs checkpoints from `since_size` on; the private one is in no row."""

    __tablename__ = "audit_key"
    key_id: str = Field(primary_key=True)
    public_key: str
    since_size: int
