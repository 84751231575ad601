"""The registry: bundles, what happened to them, and which one is ACTIVE in each scope."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mcp_forecast.migrations.append_only import protect

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SCOPE = ("environment", "mode", "slot", "tenant")


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "bundle",
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("manifest", sa.String(), nullable=False),
        sa.Column("compatibility", sa.String(), nullable=False),
        sa.Column("gate_decision", sa.String(), nullable=False),
        sa.Column("gate_receipt", sa.String(), nullable=False),
        sa.Column("published_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("bundle_id", "version"),
        sa.UniqueConstraint("seq"),
    )
    op.create_table(
        "registry_event",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("event_type", sa.String(), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in _SCOPE),
        sa.Column("bundle_id", sa.String(), nullable=True),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("from_bundle_id", sa.String(), nullable=True),
        sa.Column("from_version", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("source_type", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("evidence", sa.String(), nullable=False),
        sa.Column("policy_rev", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("event_id"),
    )
    op.create_index("ix_registry_event_scope", "registry_event", [*_SCOPE, "seq"])
    op.create_index("ix_registry_event_bundle", "registry_event", ["bundle_id", "version", "seq"])
    op.create_table(
        "active_bundle",
        *(sa.Column(name, sa.String(), nullable=False) for name in _SCOPE),
        sa.Column("bundle_id", sa.String(), nullable=True),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(*_SCOPE),
    )
    protect("bundle", "bundle_id", "version", also=("seq",))
    protect("registry_event", "seq", also=("event_id",))


def downgrade() -> None:
    """Take this revision back; what was published and promoted is lost."""
    for table in ("active_bundle", "registry_event", "bundle"):
        op.drop_table(table)
