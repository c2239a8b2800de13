"""Columns and tables by the names of the glossary, and a table of its own for budgets of edits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

RENAMED = (
    ("deliveries", "lane", "subject"),
    ("deliveries", "doubtful", "outcome_unknown"),
    ("attempts", "doubt", "resolution"),
    ("sources", "forgotten_to", "pruned_to"),
)
TIMES = ("good_at", "failing_since", "open_until", "paused_until", "rate_at")
PREFIX = "edits:"
"""How the names of budgets began while they were recorded among the channels."""

deliveries = sa.table("deliveries", sa.column("subject"), sa.column("digest", sa.Boolean()))
channels = sa.table("channels", *(sa.column(name) for name in ("name", "failures", *TIMES)))
edit_budgets = sa.table("edit_budgets", *(sa.column(name) for name in ("name", "failures", *TIMES)))


def upgrade() -> None:
    for table, old, new in RENAMED:
        op.alter_column(table, old, new_column_name=new)
    # A digest has no subject of its own, whatever an earlier version wrote there.
    op.execute(sa.update(deliveries).where(deliveries.c.digest).values(subject=""))
    _replace_table("watches", "subscriptions")
    op.create_table(
        "edit_budgets",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False, server_default=sa.text("0")),
        *(sa.Column(name, MOMENT, nullable=True) for name in TIMES),
        sa.PrimaryKeyConstraint("name", name="pk_edit_budgets"),
    )
    budgets = channels.c.name.startswith(PREFIX)
    name = sa.func.substr(channels.c.name, len(PREFIX) + 1)
    kept = sa.select(name, channels.c.failures, *(channels.c[time] for time in TIMES)).where(budgets)
    op.execute(sa.insert(edit_budgets).from_select(["name", "failures", *TIMES], kept))
    op.execute(sa.delete(channels).where(budgets))


def downgrade() -> None:
    name = sa.literal(PREFIX) + edit_budgets.c.name
    kept = sa.select(name, edit_budgets.c.failures, *(edit_budgets.c[time] for time in TIMES))
    op.execute(sa.insert(channels).from_select(["name", "failures", *TIMES], kept))
    op.drop_table("edit_budgets")
    _replace_table("subscriptions", "watches")
    for table, old, new in reversed(RENAMED):
        op.alter_column(table, new, new_column_name=old)


def _replace_table(old: str, new: str) -> None:
    """Rename the table of subscriptions together with its key, which SQLite cannot rename."""
    names = ("source", "job_id", "person")
    op.create_table(
        new,
        *(sa.Column(name, sa.String(), nullable=False) for name in names),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint(*names, name=f"pk_{new}"),
    )
    columns = (*names, "created_at")
    before, after = (sa.table(table, *(sa.column(name) for name in columns)) for table in (old, new))
    op.execute(sa.insert(after).from_select(columns, sa.select(before)))
    op.drop_table(old)
