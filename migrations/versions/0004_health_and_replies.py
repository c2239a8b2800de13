"""What the other side replied in an attempt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("reply", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("attempts", "reply")
