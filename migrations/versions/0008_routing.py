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
    _upgrade_mutes()


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
    op.create_index("ix_failures_operation", "failures", ["operation"])
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
    _downgrade_mutes()
    op.drop_index("ix_tasks_source_name_status_changed_at_instance_id_seconds", "tasks")
    op.drop_table("failures")
    op.drop_table("event_subscriptions")
    op.drop_table("schedules")
    op.drop_table("calendars")
    op.drop_index("ix_deliveries_rule_state_channel", "deliveries")
    op.drop_column("deliveries", "rule")


# ---- mutes ----

DIGITS, LETTERS = "23456789", "bcfgjkpqrtvxz23456789"
KEPT = ("instance", "label", "until", "by", "name", "reason", "created_at")


def _upgrade_mutes() -> None:
    """Give each mute an id, and the deliveries that it has suppressed so far the name of its rule."""
    connection = op.get_bind()
    old = sa.table("mutes", *map(_column, KEPT))
    found = [row._asdict() for row in connection.execute(sa.select(old).order_by(old.c.instance))]
    op.drop_table("mutes")
    op.create_table(
        "mutes",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("instance", sa.Text(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("matchers", sa.Text(), nullable=True),
        sa.Column("except_failures", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("cron", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("last", MOMENT, nullable=True),
        sa.Column("configured", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("announce", sa.Boolean(), nullable=True),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("until", MOMENT, nullable=False),
        sa.Column("begun", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("announced", sa.Text(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_mutes"),
    )
    op.create_index("ix_mutes_due_at", "mutes", ["due_at"])
    op.create_index("ix_mutes_until", "mutes", ["until"])
    names = ("id", *KEPT, "since", "begun", "due_at")
    new = sa.table("mutes", *map(_column, names))
    deliveries = sa.table("deliveries", *map(sa.column, ("state", "reason", "rule")), sa.column("created_at", MOMENT))
    for number, row in enumerate(found):
        own = {"id": _id_of(number), "since": row["created_at"], "begun": True, "due_at": row["until"]}
        connection.execute(sa.insert(new).values(**row, **own))
        begins = f"{row['instance']} is muted until "
        suppressed = (
            deliveries.c.state == "suppressed",
            deliveries.c.created_at >= row["created_at"],
            sa.func.substr(deliveries.c.reason, 1, len(begins)) == begins,
        )
        connection.execute(sa.update(deliveries).where(*suppressed).values(rule=f"mute:{own['id']}"))


def _column(name: str) -> sa.ColumnClause[object]:
    types = {"except_failures": sa.Boolean(), "begun": sa.Boolean()}
    times = ("until", "created_at", "since", "due_at")
    return sa.column(name, MOMENT if name in times else types.get(name, sa.Text()))


def _id_of(number: int) -> str:
    """Return the id of the mute with this number: ids of later mutes avoid those that are taken."""
    number, first = divmod(number, len(DIGITS))
    letters = []
    for _ in range(3):
        number, place = divmod(number, len(LETTERS))
        letters.append(LETTERS[place])
    return DIGITS[first] + "".join(letters)


def _downgrade_mutes() -> None:
    """Keep what the earlier version can express: the mutes of instances that are in force without exception."""
    connection = op.get_bind()
    new = sa.table("mutes", *map(_column, (*KEPT, "except_failures", "due_at", "begun")))
    simple = (new.c.instance.is_not(None), new.c.due_at.is_not(None), new.c.begun, sa.not_(new.c.except_failures))
    kept = sa.select(*(new.c[name] for name in KEPT)).where(*simple).order_by(new.c.until)
    latest = {row.instance: row._asdict() for row in connection.execute(kept)}
    op.drop_table("mutes")
    op.create_table(
        "mutes",
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("until", MOMENT, nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("instance", name="pk_mutes"),
    )
    old = sa.table("mutes", *map(_column, KEPT))
    for row in latest.values():
        connection.execute(sa.insert(old).values(**row))
