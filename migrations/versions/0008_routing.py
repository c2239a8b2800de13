"""Rules that hold or suppress deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("rule", sa.Text(), nullable=True))
    op.create_index(
        "ix_deliveries_rule_state_channel",
        "deliveries",
        ["rule", "state", "channel"],
        sqlite_where=sa.text("rule IS NOT NULL"),
        postgresql_where=sa.text("rule IS NOT NULL"),
    )
    _add_schedules()
    _add_event_subscriptions()
    _add_failures()
    _add_durations()


def _add_schedules() -> None:
    """Add calendars that are read from elsewhere, and what is due when."""
    op.create_table(
        "calendars",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=True),
        sa.Column("entries", sa.LargeBinary(), nullable=True),
        sa.Column("fetched_at", MOMENT, nullable=True),
        sa.Column("tried_at", MOMENT, nullable=True),
        sa.Column("next_at", MOMENT, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_calendars")),
    )
    op.create_table(
        "schedules",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("expression", sa.Text(), nullable=True),
        sa.Column("next_at", MOMENT, nullable=True),
        sa.Column("last_at", MOMENT, nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_schedules")),
    )


def _add_event_subscriptions() -> None:
    """Add the subscriptions of people and of channels of a chat to events."""
    op.create_table(
        "event_subscriptions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("matchers", sa.Text(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event_subscriptions"),
    )


def _add_failures() -> None:
    """Add open failures."""
    op.create_table(
        "failures",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("latest_event_id", sa.String(), nullable=False),
        sa.Column("opened_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_failures"),
    )
    unresolved, due = sa.text("state <> 'resolved'"), sa.text("due_at IS NOT NULL")
    op.create_index(
        "ix_failures_operation_job_id",
        "failures",
        ["operation", "job_id"],
        unique=True,
        sqlite_where=unresolved,
        postgresql_where=unresolved,
    )
    op.create_index("ix_failures_due_at", "failures", ["due_at"], sqlite_where=due, postgresql_where=due)
    op.create_index(
        "ix_failures_latest_event_id",
        "failures",
        ["latest_event_id"],
        sqlite_where=unresolved,
        postgresql_where=unresolved,
    )
    op.create_index("ix_failures_state_changed_at", "failures", ["state", "changed_at"])


def _add_durations() -> None:
    """Add an index that holds all that usual durations are measured on."""
    op.create_index(
        "ix_tasks_source_name_status_changed_at_instance_id_seconds",
        "tasks",
        ["source", "name", "status", "changed_at", "instance_id", "seconds"],
        sqlite_where=sa.text("seconds IS NOT NULL"),
        postgresql_where=sa.text("seconds IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_tasks_source_name_status_changed_at_instance_id_seconds", "tasks")
    op.drop_table("failures")
    op.drop_table("event_subscriptions")
    op.drop_table("schedules")
    op.drop_table("calendars")
    op.drop_index("ix_deliveries_rule_state_channel", "deliveries")
    op.drop_column("deliveries", "rule")
