"""Replies, facts that health is judged by, how deliveries fared, what people did, and what a credential may do.

Of a source also how its clock agrees with the cloud's, who polled it last and since when its list is empty; of a task
whether its events were pruned. And the time that all who use a SQLite file agree on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("attempts", sa.Column("reply", sa.Text(), nullable=True))
    op.add_column("deliveries", sa.Column("dismissed_at", MOMENT, nullable=True))
    op.add_column("deliveries", sa.Column("retried_at", MOMENT, nullable=True))
    op.add_column("deliveries", sa.Column("begun", sa.Boolean(), nullable=False, server_default=sa.text("true")))
    op.add_column("mutes", sa.Column("label", sa.Text(), nullable=True))
    op.add_column("sources", sa.Column("refused_since", MOMENT, nullable=True))
    op.add_column("sources", sa.Column("refused_rows", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.create_table(
        "replicas",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("roles", sa.String(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.Column("stopped_at", MOMENT, nullable=True),
        sa.Column("chat_down_since", MOMENT, nullable=True),
        sa.Column("chat_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("owner", name="pk_replicas"),
    )
    op.create_table(
        "actions",
        sa.Column("seq", SEQUENCE, sa.Identity(always=True), autoincrement=True, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("verb", sa.String(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_actions"),
    )
    op.create_index("ix_actions_at", "actions", ["at"])
    op.add_column("deliveries", sa.Column("recipients", sa.Text(), nullable=True))
    op.create_table(
        "credentials",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("rate_at", MOMENT, nullable=True),
        sa.Column("paused_until", MOMENT, nullable=True),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("refused_version", sa.String(), nullable=True),
        sa.Column("refusals", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("key", name="pk_credentials"),
    )
    op.add_column("sources", sa.Column("empty_since", MOMENT, nullable=True))
    op.add_column("sources", sa.Column("clock_skew", sa.Float(), nullable=True))
    op.add_column("sources", sa.Column("polled_by", sa.String(), nullable=True))
    op.add_column("sources", sa.Column("retired_at", MOMENT, nullable=True))
    op.add_column("tasks", sa.Column("events_pruned", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.create_table(
        "clock",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("boot", sa.String(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_clock"),
    )


def downgrade() -> None:
    op.drop_table("clock")
    op.drop_column("tasks", "events_pruned")
    op.drop_column("sources", "retired_at")
    op.drop_column("sources", "polled_by")
    op.drop_column("sources", "clock_skew")
    op.drop_column("sources", "empty_since")
    op.drop_table("credentials")
    op.drop_column("deliveries", "recipients")
    op.drop_index("ix_actions_at", table_name="actions")
    op.drop_table("actions")
    op.drop_table("replicas")
    op.drop_column("sources", "refused_rows")
    op.drop_column("sources", "refused_since")
    op.drop_column("mutes", "label")
    op.drop_column("deliveries", "begun")
    op.drop_column("deliveries", "retried_at")
    op.drop_column("deliveries", "dismissed_at")
    op.drop_column("attempts", "reply")
