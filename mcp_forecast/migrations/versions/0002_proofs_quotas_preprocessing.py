"""The sealed tree of the log, attempts for quotas, preprocessing by reference, and the home's own name."""

from __future__ import annotations

import json
import secrets

import sqlalchemy as sa
from alembic import op

from mcp_forecast.migrations.append_only import protect, release

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_KEYS = {
    "audit_ref": ("seq", "name"), "audit_node": ("level", "position"), "audit_checkpoint": ("size",),
    "audit_key": ("key_id",),
}  # fmt: skip


def upgrade() -> None:
    """Bring the schema to this revision."""
    _create_audit()
    _create_rest()
    _fill_from_before()
    for table, key in _KEYS.items():
        protect(table, *key)


def _create_audit() -> None:
    op.create_table(
        "audit_ref",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("ref", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq", "name"),
    )
    op.create_index("ix_audit_ref_ref", "audit_ref", ["ref", "seq"])
    op.create_table(
        "audit_node",
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "position"),
    )
    op.create_table(
        "audit_checkpoint",
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("size"),
    )
    op.create_table(
        "audit_key",
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("public_key", sa.String(), nullable=False),
        sa.Column("since_size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
    )


def _create_rest() -> None:
    home = op.create_table(
        "home",
        sa.Column("home_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("home_id"),
    )
    op.bulk_insert(home, [{"home_id": f"home_{secrets.token_hex(12)}"}])
    op.add_column("process", sa.Column("host", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "preprocessing",
        sa.Column("preprocessing_id", sa.String(), nullable=False),
        sa.Column("steps", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("preprocessing_id"),
    )
    op.create_table(
        "preprocessing_report",
        sa.Column("dataset_id", sa.String(), nullable=False),
        sa.Column("preprocessing_id", sa.String(), nullable=False),
        sa.Column("season_length", sa.Integer(), nullable=False),
        sa.Column("artifact", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "preprocessing_id", "season_length"),
    )
    op.create_table(
        "run_attempt",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("caller", sa.String(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "attempt"),
    )
    op.create_index("ix_run_attempt_caller", "run_attempt", ["caller", "asked_at", "seconds"])


def _fill_from_before() -> None:
    """What the new columns and tables say about entries and runs of the revision before."""
    bind = op.get_bind()
    release("audit_entry")
    op.add_column("audit_entry", sa.Column("at", sa.Float(), nullable=False, server_default="0"))
    for seq, body in bind.execute(sa.text("SELECT seq, body FROM audit_entry")).all():
        entry = json.loads(bytes(body))
        bind.execute(sa.text("UPDATE audit_entry SET at = :at WHERE seq = :seq"), {"at": entry["at"], "seq": seq})
        for name, ref in entry["refs"].items():
            row = {"seq": seq, "name": name, "ref": ref}
            bind.execute(sa.text("INSERT INTO audit_ref (seq, name, ref) VALUES (:seq, :name, :ref)"), row)
    not_ok = sa.text("code <> 'OK'")
    op.create_index(
        "ix_audit_entry_refused", "audit_entry", ["code", "seq"], sqlite_where=not_ok, postgresql_where=not_ok
    )
    protect("audit_entry", "seq")
    bind.execute(
        sa.text(
            "INSERT INTO run_attempt (run_id, attempt, caller, asked_at) "
            "SELECT run_id, attempt, caller, created_at FROM run"
        )
    )


def downgrade() -> None:
    """Take this revision back; the entries stay, their tree is lost."""
    for table in ("run_attempt", "preprocessing_report", "preprocessing", "home", *_KEYS):
        op.drop_table(table)
    release("audit_entry")
    op.drop_index("ix_audit_entry_refused", "audit_entry")
    with op.batch_alter_table("process") as processes:
        processes.drop_column("host")
    with op.batch_alter_table("audit_entry") as entries:
        entries.drop_column("at")
    protect("audit_entry", "seq")
