"""the identity of the database, and the blobs that no row refers to"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "database_identity",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(64), nullable=False),
    )
    op.create_table(
        "staged_blobs",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("staged_at", sa.Float(), nullable=False),
        sa.Column("is_garbage", sa.Boolean(), nullable=False),
    )
