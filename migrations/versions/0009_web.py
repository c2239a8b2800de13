"""What the page and its API record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _add_idempotency_keys()
    _add_access()
    _add_index_of_blind_times()
    _add_index_of_failed_tasks()
    _add_task_changes()
    _index_what_is_not_through()
    _search_job_ids_by_their_beginning()


def _add_idempotency_keys() -> None:
    """Add the answers of the API that a repeated request gets again."""
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def _add_access() -> None:
    """Add the sessions of browsers, and tokens of the API."""
    op.create_table(
        "web_sessions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("how", sa.String(), nullable=False),
        sa.Column("groups", sa.Text(), nullable=False),
        sa.Column("proof", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.Column("ends_at", MOMENT, nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("browser", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_web_sessions"),
    )
    op.create_index("ix_web_sessions_seen_at", "web_sessions", ["seen_at"])
    op.create_index("ix_web_sessions_address", "web_sessions", ["address"])
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("by_name", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column("used_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_tokens"),
        sa.UniqueConstraint("digest", name="uq_api_tokens_digest"),
    )


def _add_index_of_blind_times() -> None:
    """Add the index by which timelines find the times that were not observed."""
    is_blind = sa.text("type IN ('source.gap', 'source.recovered')")
    op.create_index("ix_events_blind", "events", ["observed_at"], sqlite_where=is_blind, postgresql_where=is_blind)


def _add_index_of_failed_tasks() -> None:
    """Add the index that holds all that timelines read of failures."""
    columns = ["status", "changed_at", "source", "name", "instance_id", "instance_name"]
    is_failed = sa.text("status = 'failed'")
    op.create_index("ix_tasks_failed", "tasks", columns, sqlite_where=is_failed, postgresql_where=is_failed)


def _add_task_changes() -> None:
    """Add the marks by which statistics read again only what changed, and find acknowledgements by time."""
    op.create_table(
        "task_changes",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("slot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "slot", name=op.f("pk_task_changes")),
    )
    op.create_index("ix_task_changes_source_revision", "task_changes", ["source", "revision"])
    op.create_index("ix_acknowledgements_at", "acknowledgements", ["at"])


def _index_what_is_not_through() -> None:
    """Index the deliveries that somebody has to do something about: every page counts them."""
    not_through = sa.text("state IN ('parked', 'dead') AND dismissed_at IS NULL")
    for name, columns in (
        ("ix_deliveries_not_through", ["state", "seq"]),
        ("ix_deliveries_not_through_of_channel", ["channel", "state", "seq"]),
    ):
        op.create_index(name, "deliveries", columns, sqlite_where=not_through, postgresql_where=not_through)


def _search_job_ids_by_their_beginning() -> None:
    """Let PostgreSQL, which may order texts by the rules of a language, find the ids that begin with a text."""
    if op.get_context().dialect.name == "postgresql":
        op.drop_index("ix_tasks_job_id", "tasks")
        op.create_index("ix_tasks_job_id", "tasks", ["job_id"], postgresql_ops={"job_id": "text_pattern_ops"})


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.drop_index("ix_tasks_job_id", "tasks")
        op.create_index("ix_tasks_job_id", "tasks", ["job_id"])
    op.drop_index("ix_acknowledgements_at", "acknowledgements")
    op.drop_table("task_changes")
    op.drop_index("ix_tasks_failed", "tasks")
    op.drop_index("ix_events_blind", "events")
    op.drop_table("api_tokens")
    op.drop_table("web_sessions")
    op.drop_index("ix_deliveries_not_through_of_channel", table_name="deliveries")
    op.drop_index("ix_deliveries_not_through", table_name="deliveries")
    op.drop_table("idempotency_keys")
