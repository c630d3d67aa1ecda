"""notes of the threads whose rows are to be removed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "thread_remains",
        sa.Column("thread_id", sa.String(64), primary_key=True),
        sa.Column("resource", sa.String(64), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
    )
