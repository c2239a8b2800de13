"""What routes want of a message, ranks, storms, copies of messages, history, and announcements of sources."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("rank", sa.Integer(), nullable=False, server_default=sa.text("1")))
    op.add_column("deliveries", sa.Column("routing", sa.Text(), nullable=True))
    op.add_column("deliveries", sa.Column("storm", sa.String(), nullable=True))
    op.create_index("ix_deliveries_channel_state_rank_seq", "deliveries", ["channel", "state", "rank", "seq"])
    op.drop_index("ix_deliveries_channel_state_seq", "deliveries")
    in_storm = sa.text("storm IS NOT NULL")
    op.create_index(
        "ix_deliveries_storm_seq", "deliveries", ["storm", "seq"], sqlite_where=in_storm, postgresql_where=in_storm
    )
    op.create_index("ix_tasks_instance_id_status_changed_at", "tasks", ["instance_id", "status", "changed_at"])
    op.drop_index("ix_tasks_instance_id", "tasks")
    by_name = ["name", "status", "changed_at", "seconds"]
    op.create_index("ix_tasks_name_status_changed_at_seconds_source", "tasks", [*by_name, "source"])
    op.drop_index("ix_tasks_name_status_changed_at_seconds", "tasks")
    op.add_column("threads", sa.Column("copies", sa.Text(), nullable=True))
    op.add_column("threads", sa.Column("routing", sa.Text(), nullable=True))
    op.add_column("threads", sa.Column("loud", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.add_column("sources", sa.Column("introduced_at", MOMENT, nullable=True))
    # Sources that were monitored before this version are known to everybody.
    sources = sa.table("sources", sa.column("introduced_at"), sa.column("baseline_at"))
    op.execute(sa.update(sources).values(introduced_at=sources.c.baseline_at))
    op.create_table(
        "storms",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_storms"),
    )
    op.create_index("ix_storms_source_ended_at", "storms", ["source", "ended_at"])


def downgrade() -> None:
    op.drop_table("storms")
    op.drop_column("sources", "introduced_at")
    op.drop_column("threads", "loud")
    op.drop_column("threads", "routing")
    op.drop_column("threads", "copies")
    by_name = ["name", "status", "changed_at", "seconds"]
    op.create_index("ix_tasks_name_status_changed_at_seconds", "tasks", by_name)
    op.drop_index("ix_tasks_name_status_changed_at_seconds_source", "tasks")
    op.create_index("ix_tasks_instance_id", "tasks", ["instance_id"])
    op.drop_index("ix_tasks_instance_id_status_changed_at", "tasks")
    op.drop_index("ix_deliveries_storm_seq", "deliveries")
    op.create_index("ix_deliveries_channel_state_seq", "deliveries", ["channel", "state", "seq"])
    op.drop_index("ix_deliveries_channel_state_rank_seq", "deliveries")
    op.drop_column("deliveries", "storm")
    op.drop_column("deliveries", "routing")
    op.drop_column("deliveries", "rank")
