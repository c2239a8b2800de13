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


def downgrade() -> None:
    op.drop_column("deliveries", "rule")
