"""What the program records beyond the task list."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _add_origins()
    _add_missing_rights()
    _add_alarms()
    _add_adaptive_polling()
    _add_projects()
    _add_maintenance()
    _add_doorbell()


def _add_origins() -> None:
    """Add the search for who started each task, and what it found."""
    op.add_column("tasks", sa.Column("started_by", sa.Text(), nullable=True))
    op.create_table(
        "origins",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("lag", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("source", "job_id", name=op.f("pk_origins")),
    )
    is_searched = sa.text("next_at IS NOT NULL")
    op.create_index(
        "ix_origins_next_at", "origins", ["next_at"], sqlite_where=is_searched, postgresql_where=is_searched
    )
    op.create_index("ix_origins_ended_at", "origins", ["ended_at"])


def _add_missing_rights() -> None:
    """Add the rights that parts of sources lack."""
    op.create_table(
        "missing_rights",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("part", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("retry_at", MOMENT, nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("source", "part", name=op.f("pk_missing_rights")),
    )


def _add_alarms() -> None:
    """Add what an alarm has that no task has, and which sources list alarms."""
    op.add_column("sources", sa.Column("feeds", sa.String(), nullable=False, server_default=sa.text("''")))
    op.add_column("tasks", sa.Column("alarm", sa.Text(), nullable=True))


def _add_adaptive_polling() -> None:
    """Add when a source is polled next, and how far a full scan is."""
    for name in ("active_at", "promised_at", "scanned_at"):
        op.add_column("sources", sa.Column(name, MOMENT, nullable=True))
    op.add_column("sources", sa.Column("scanned_by", sa.String(), nullable=True))
    op.add_column("credentials", sa.Column("early_at", MOMENT, nullable=True))


def _add_projects() -> None:
    """Add the accounts whose projects are found, and these projects."""
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=True),
        sa.Column("next_at", MOMENT, nullable=True),
        sa.Column("tried_at", MOMENT, nullable=True),
        sa.Column("read_at", MOMENT, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_accounts")),
    )
    op.create_table(
        "projects",
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("found_at", MOMENT, nullable=False),
        sa.Column("missed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("missing_since", MOMENT, nullable=True),
        sa.Column("gone_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("account", "project_id", name=op.f("pk_projects")),
        sa.UniqueConstraint("source", name=op.f("uq_projects_source")),
    )


def _add_maintenance() -> None:
    """Add what the cloud plans to do to instances, and when the list of each source is read."""
    op.create_table(
        "maintenances",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("over", sa.Boolean(), nullable=False),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("source", "id", name=op.f("pk_maintenances")),
    )
    is_due = sa.text("due_at IS NOT NULL")
    op.create_index("ix_maintenances_due_at", "maintenances", ["due_at"], sqlite_where=is_due, postgresql_where=is_due)
    op.create_index("ix_maintenances_over", "maintenances", ["over", "changed_at"])
    op.create_table(
        "maintenance_lists",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", MOMENT, nullable=True),
        sa.Column("read_at", MOMENT, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("failing_since", MOMENT, nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_maintenance_lists")),
    )


def _add_doorbell() -> None:
    """Add when a source was rung for, and the state of subscriptions to topics that ring."""
    op.add_column("sources", sa.Column("rung_at", MOMENT, nullable=True))
    op.add_column("sources", sa.Column("rung_epoch", SEQUENCE, nullable=True))
    op.create_table(
        "doorbell_topics",
        sa.Column("urn", sa.String(), nullable=False),
        sa.Column("confirmed_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("failed_at", MOMENT, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("urn", name="pk_doorbell_topics"),
    )


def downgrade() -> None:
    op.drop_table("doorbell_topics")
    op.drop_column("sources", "rung_epoch")
    op.drop_column("sources", "rung_at")
    op.drop_table("maintenance_lists")
    op.drop_table("maintenances")
    op.drop_table("projects")
    op.drop_table("accounts")
    op.drop_column("credentials", "early_at")
    for name in ("scanned_by", "scanned_at", "promised_at", "active_at"):
        op.drop_column("sources", name)
    op.drop_column("tasks", "alarm")
    op.drop_column("sources", "feeds")
    op.drop_table("missing_rights")
    op.drop_table("origins")
    op.drop_column("tasks", "started_by")
