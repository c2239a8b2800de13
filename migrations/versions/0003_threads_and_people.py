"""Live messages, and what people do about tasks: acknowledgements, mutes, watches, and the requests that did it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_index("ix_tasks_instance_name", "tasks", ["instance_name"], unique=False)
    op.add_column("tasks", sa.Column("seconds", sa.Float(), nullable=True))
    tasks = sa.table("tasks", sa.column("created_at"), sa.column("ended_at"), sa.column("seconds"))
    length = sa.extract("epoch", tasks.c.ended_at) - sa.extract("epoch", tasks.c.created_at)
    op.execute(sa.update(tasks).where(tasks.c.ended_at >= tasks.c.created_at).values(seconds=length))
    op.create_index(
        "ix_tasks_name_status_changed_at_seconds", "tasks", ["name", "status", "changed_at", "seconds"], unique=False
    )
    op.create_table(
        "threads",
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("event_seq", SEQUENCE, nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=True),
        sa.Column("instance_name", sa.Text(), nullable=True),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.Column("revision", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("shown", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("shown_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("urgency", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("channel", "subject", name="pk_threads"),
    )
    op.create_index("ix_threads_channel_due_at", "threads", ["channel", "due_at"], unique=False)
    op.create_index("ix_threads_event_id", "threads", ["event_id"], unique=False)
    op.create_index("ix_threads_ref", "threads", ["ref"], unique=False)
    op.create_index("ix_threads_subject", "threads", ["subject"], unique=False)
    op.create_table(
        "acknowledgements",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_acknowledgements"),
    )
    op.create_table(
        "mutes",
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("instance", name="pk_mutes"),
    )
    op.create_table(
        "watches",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source", "job_id", "person", name="pk_watches"),
    )
    op.create_table(
        "requests",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_requests"),
    )
    op.create_index("ix_requests_seen_at", "requests", ["seen_at"], unique=False)


def downgrade() -> None:
    for name in ("requests", "watches", "mutes", "acknowledgements", "threads"):
        op.drop_table(name)
    op.drop_index("ix_tasks_name_status_changed_at_seconds", "tasks")
    op.drop_column("tasks", "seconds")
    op.drop_index("ix_tasks_instance_name", "tasks")
