"""the thread or assistant that a vector store was made for"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("vector_stores", sa.Column("made_for", sa.String(64), nullable=True))
    is_made = sa.text("made_for IS NOT NULL")
    op.create_index(
        "ix_vector_stores_made_for", "vector_stores", ["made_for"], sqlite_where=is_made, postgresql_where=is_made
    )
