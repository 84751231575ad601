"""Requests for trainings, apart from their runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "train_request",
        sa.Column("train_request_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("requester", sa.String(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("publish_allowed", sa.Boolean(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("train_request_id"),
    )
    op.create_index("ix_train_request_run_id", "train_request", ["run_id"])


def downgrade() -> None:
    """Take it back."""
    op.drop_index("ix_train_request_run_id", "train_request")
    op.drop_table("train_request")
