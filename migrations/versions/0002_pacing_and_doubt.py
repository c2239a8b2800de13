"""Pacing and breakers of channels, deliveries in doubt, what has been announced, and what has been forgotten."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIMES = ("failing_since", "announced_since", "given_up_until", "good_at", "open_until", "paused_until", "rate_at")


def upgrade() -> None:
    op.add_column("sources", sa.Column("announced_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("sources", sa.Column("forgotten_to", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_tasks_source_changed_at", "tasks", ["source", "changed_at"], unique=False)
    op.drop_index("ix_events_observed_at", "events")
    op.create_index("ix_events_observed_at_seq", "events", ["observed_at", "seq"], unique=False)
    op.add_column("deliveries", sa.Column("doubtful", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    # Without the time that every claim changes: a claim then leaves all indices as they are.
    op.drop_index("ix_deliveries_channel_state_seq", "deliveries")
    op.create_index("ix_deliveries_channel_state_seq", "deliveries", ["channel", "state", "seq"], unique=False)
    op.add_column("attempts", sa.Column("doubt", sa.String(), nullable=True))
    op.add_column("channels", sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False))
    for name in _TIMES:
        op.add_column("channels", sa.Column(name, sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for name in (*_TIMES, "failures"):
        op.drop_column("channels", name)
    op.drop_column("attempts", "doubt")
    op.drop_index("ix_deliveries_channel_state_seq", "deliveries")
    op.create_index(
        "ix_deliveries_channel_state_seq", "deliveries", ["channel", "state", "seq", "available_at"], unique=False
    )
    op.drop_column("deliveries", "doubtful")
    op.drop_index("ix_events_observed_at_seq", "events")
    op.create_index("ix_events_observed_at", "events", ["observed_at"], unique=False)
    op.drop_index("ix_tasks_source_changed_at", "tasks")
    op.drop_column("sources", "forgotten_to")
    op.drop_column("sources", "announced_since")
