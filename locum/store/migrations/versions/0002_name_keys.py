"""name keys"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("keys", sa.Column("name", sa.String(length=128), nullable=True))
    op.execute("UPDATE keys SET name = 'LOCUM_API_KEY' WHERE id = 'key_default'")
